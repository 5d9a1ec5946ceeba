"""What is read (a volume and where its slices came from) and what is found on it (a heatmap)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Shaped

from headclip_med.geometry import Grid
from headclip_med.mapped import BLOCK_SLICES, blocks_of
from headclip_med.reading import ORDINARY, Reading

Origin = Literal["dicom", "nifti", "volume", "image"]

USUAL_BITS = (8, 10, 12, 14, 16)
"""Of cameras and converters; what they give is often kept in sixteen."""

FEW_VALUES, MANY_VALUES, LARGEST_VALUE = 4, 256, 65535
REGION_SHARE = 0.7
"""Of neighbours, background aside, that have one value: images stay below by their noise."""

ROWS_APART = 4
"""Every so many rows of pixels are enough to see that."""


def significant_bits(highest: float) -> int:
    """Tell how many bits a picture uses: the fewest usual ones that hold its highest value."""
    return next((bits for bits in USUAL_BITS if highest < 2**bits), USUAL_BITS[-1])


def count_labels(voxels: Float32[np.ndarray, "slices rows columns *colour"]) -> int:
    """Count the values of a volume that looks like a mask or a label map.

    Its values are whole numbers, none below 0, and a handful; or at most 256, in regions: most
    neighbours have the same one. Gone through by blocks, and left where the first ones look unlike.

    Returns:
        How many different values there are; 0 where it looks like an image, or is one value.
    """
    if voxels.ndim != 3:
        return 0
    seen = np.zeros(LARGEST_VALUE + 1, dtype=bool)
    alike = pairs = 0
    for _, block in blocks_of(voxels):
        rows = block[:, ::ROWS_APART]
        if not _is_whole(rows) or not _is_whole(block):
            return 0
        seen |= np.bincount(block.ravel().astype(np.uint16), minlength=len(seen)) > 0
        left, right = rows[..., :-1], rows[..., 1:]
        is_inside = (left != 0) | (right != 0)
        pairs += int(is_inside.sum())
        alike += int((is_inside & (left == right)).sum())
        count = int(seen.sum())
        if count > MANY_VALUES or (count > FEW_VALUES and alike < REGION_SHARE * pairs):
            return 0
    return count if count > 1 else 0


def _is_whole(values: Float32[np.ndarray, "..."]) -> bool:
    is_in_range = bool(values.min() >= 0 and values.max() <= LARGEST_VALUE)
    return is_in_range and bool((values == np.rint(values)).all())


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
            for photographs. Colour images have a last axis of three. Those of a long series lie
            in a file (see ``mapped.allocate``): go through them by ``blocks``.
        grid: Where the voxels lie.
        sources: What each slice came from, one per slice.
        origin: The kind of file it was read from.
        modality: DICOM modality (``"CT"``, ``"MR"``, ...); ``"CT"``-like NIfTI stays ``None``.
        body_part: DICOM body part examined, upper case, only where it is a defined term.
        window: (centre, width) stored in the file, in the voxels' unit, if any.
        name: File name without folder, only where nothing else identifies the input (NIfTI,
            images). It goes into results, never into logs, errors or names of files.
        study_instance_uid: DICOM only.
        series_instance_uid: DICOM only.
        part: Which stack of its series this is, from 1; two phases of a series are two volumes.
        reading: How it was read: tilted, with a gap after slice 9, inverted, ...
        patient_key: Equal for the volumes of one patient; a digest, empty where nothing is said.
        place: Where it was found; it tells equal volumes apart, and is never written.
        read_s: Seconds that reading took.
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
    reading: Reading = ORDINARY
    patient_key: str = field(default="", repr=False)
    place: str = field(default="", repr=False)
    read_s: float = 0.0

    def __post_init__(self) -> None:
        """Check that voxels, grid and sources agree."""
        if self.voxels.shape[:3] != self.grid.shape or len(self.sources) != len(self.voxels):
            raise ValueError(
                f"voxels {self.voxels.shape}, grid {self.grid.shape} and "
                f"{len(self.sources)} sources must describe the same slices"
            )

    def __setstate__(self, state: dict[str, object]) -> None:
        """Take what another process sent, and check it as well."""
        vars(self).update(state)
        self.__post_init__()

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 over geometry, voxels, patient and SOP instances, wherever the files lay."""
        digest = hashlib.sha256(repr((self.voxels.shape, self.voxels.dtype.str)).encode())
        grid = self.grid
        for array in (grid.origins_lps_mm, grid.row_step_lps_mm, grid.column_step_lps_mm):
            digest.update(array.tobytes())
        for _, block in self.blocks():
            digest.update(block.data)
        digest.update(repr([(s.sop_instance_uid, s.frame) for s in self.sources]).encode())
        if len(self.sources) == 1:
            digest.update(grid.mean_step_lps_mm.tobytes())
        digest.update(self.patient_key.encode())
        return digest.hexdigest()

    @property
    def place_digest(self) -> str:
        """SHA-256 over content and place: two files never share it, however equal they are."""
        # A file's name may be no UTF-8.
        named = f"{self.content_digest}\x1f{self.place}".encode(errors="surrogateescape")
        return hashlib.sha256(named).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was read, in sentences without any patient value."""
        return self.reading.sentences()

    def blocks(
        self, size: int = BLOCK_SLICES
    ) -> Iterator[tuple[slice, Shaped[np.ndarray, "slices rows columns *colour"]]]:
        """Go through the voxels in memory that one block takes; see ``mapped.blocks_of``."""
        return blocks_of(self.voxels, size)

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
