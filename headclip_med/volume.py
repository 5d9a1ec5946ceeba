"""What is read (a volume and where its slices came from) and what is found on it (a heatmap)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from headclip_med.geometry import Grid

Origin = Literal["dicom", "nifti", "image"]


@dataclass(frozen=True)
class SliceSource:
    """The object and frame behind one slice.

    Attributes:
        path: The file; needed by writers, never shown to anyone.
        sop_instance_uid: DICOM only.
        frame: One-based frame number; None for single-frame objects.
    """

    path: Path = field(repr=False)
    sop_instance_uid: str | None = None
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """A stack of slices in physical units, on the patient's grid.

    Attributes:
        voxels: float32; Hounsfield units for CT, the stored (rescaled) unit otherwise, [0, 255]
            for photographs. Colour images have a last axis of three.
        grid: Where the voxels lie.
        sources: What each slice came from, one per slice.
        origin: The kind of file it was read from.
        modality: DICOM modality (``"CT"``, ``"MR"``, ...); ``"CT"``-like NIfTI stays ``None``.
        body_part: DICOM body part examined, upper case, only where it is a defined term.
        window: (centre, width) stored in the file, if any.
        name: File name without folder, only where nothing else identifies the input (NIfTI,
            images). It goes into results, never into logs, errors or names of files.
        study_instance_uid: DICOM only.
        series_instance_uid: DICOM only.
        part: Which stack of its series this is, from 1; two phases of a series are two volumes.
        notes: Sentences on how the stack was read (tilted, gap after slice 9, ...); no patient
            values.
    """

    voxels: Shaped[np.ndarray, "slices rows columns *colour"]
    grid: Grid
    sources: tuple[SliceSource, ...]
    origin: Origin
    modality: str | None = None
    body_part: str | None = None
    window: tuple[float, float] | None = None
    name: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    part: int = 1
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that voxels, grid and sources agree."""
        if self.voxels.shape[:3] != self.grid.shape or len(self.sources) != len(self.voxels):
            raise ValueError(
                f"voxels {self.voxels.shape}, grid {self.grid.shape} and "
                f"{len(self.sources)} sources must describe the same slices"
            )

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 over geometry, voxels and SOP instances, wherever the files lay."""
        digest = hashlib.sha256(repr((self.voxels.shape, self.voxels.dtype.str)).encode())
        grid = self.grid
        for array in (grid.origins_lps_mm, grid.row_step_lps_mm, grid.column_step_lps_mm):
            digest.update(array.tobytes())
        digest.update(self.voxels.tobytes())
        digest.update(repr([(s.sop_instance_uid, s.frame) for s in self.sources]).encode())
        return digest.hexdigest()

    @property
    def is_colour(self) -> bool:
        """Whether the voxels are red, green, blue."""
        return self.voxels.ndim == 4


@dataclass(frozen=True, eq=False)
class Heatmap:
    """How abnormal each voxel of a volume looks.

    Attributes:
        values: float32 in [0, 1], aligned voxel for voxel with the volume.
        grid: The volume's own grid.
    """

    values: Float[np.ndarray, "slices rows columns"]
    grid: Grid
