"""What is read (a volume and where its slices came from) and what is found on it (a heatmap)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Float32, Shaped

from headclip_med.exchange import libraries, plain_voxels, spaced_grid
from headclip_med.geometry import Grid
from headclip_med.mapped import BLOCK_SLICES, blocks_of
from headclip_med.reading import ORDINARY, Reading

if TYPE_CHECKING:
    from headclip_med.exchange.libraries import Image, MetaTensor, Nifti1Image

Origin = Literal["dicom", "nifti", "volume", "image", "array"]

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


class OnGrid:
    """Values that lie on a grid, which other libraries' objects can be made of."""

    grid: Grid

    def _values(self) -> Shaped[np.ndarray, "slices rows columns *colour"]:
        raise NotImplementedError

    def to_nibabel(self) -> Nifti1Image:
        """Make a NIfTI image of nibabel's, by ``(column, row, slice)``.

        Raises:
            UnusableGeometry: The slices are unevenly spaced.
        """
        return libraries.to_nibabel(self._values(), self.grid)

    def to_sitk(self) -> Image:
        """Make a SimpleITK image.

        Raises:
            UnusableGeometry: The slices are unevenly spaced, or sheared against each other.
        """
        return libraries.to_sitk(self._values(), self.grid)

    def to_metatensor(self) -> MetaTensor:
        """Make MONAI's tensor, by ``(channel, column, row, slice)`` with an affine to RAS mm.

        Raises:
            UnusableGeometry: The slices are unevenly spaced.
        """
        return libraries.to_metatensor(self._values(), self.grid)


@dataclass(frozen=True, eq=False, repr=False)
class Volume(OnGrid):
    """A stack of slices in physical units, on the patient's grid.

    Attributes:
        voxels: float32; Hounsfield units for CT, the stored (rescaled) unit otherwise, [0, 255]
            for photographs. Colour images have a last axis of three. Those of a long series lie
            in a file (see ``mapped.allocate``): go through them by ``blocks``.
        grid: Where the voxels lie.
        sources: What each slice came from, one per slice.
        origin: The kind of file it was read from; ``array`` of what was made in Python.
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

    def __repr__(self) -> str:
        """Say in a line what it is; no voxels, no identifiers."""
        kind, sides = self.modality or self.origin, " x ".join(map(str, self.voxels.shape))
        if not self.grid.is_patient:
            return f"Volume({kind}, {sides}, no patient geometry)"
        steps = np.linalg.norm(self.grid.mean_step_lps_mm), *self.grid.pixel_spacing_mm
        return f"Volume({kind}, {sides}, {' x '.join(f'{step:.3g}' for step in steps)} mm)"

    @classmethod
    def from_array(
        cls,
        voxels: Shaped[np.ndarray, "..."],
        *,
        spacing_mm: Sequence[float | int] | None = None,
        modality: str | None = None,
        body_part: str | None = None,
        is_colour: bool = False,
    ) -> Volume:
        """Make a volume of an array: slices from foot to head, rows from front to back.

        Args:
            voxels: ``(rows, columns)``, or ``(slices, rows, columns)`` of numbers, in Hounsfield
                units for a CT. Of colours, from 0 to 255, with a last axis of three.
            spacing_mm: Between slices, rows and columns; without it there is no patient geometry.
            modality: As in DICOM: ``"CT"``, ``"MR"``; it chooses the grey levels.
            body_part: As in DICOM: ``"HEAD"``, ``"CHEST"``.
            is_colour: Whether the last axis is red, green, blue.

        Raises:
            InvalidSettings: It is no such array, or a spacing is not above 0.
        """
        values = plain_voxels(voxels, is_colour=is_colour)
        return cls._made(values, spaced_grid(values.shape[:3], spacing_mm), modality, body_part)

    @classmethod
    def from_nibabel(
        cls, image: object, *, modality: str | None = None, body_part: str | None = None
    ) -> Volume:
        """Make a volume of a nibabel image of three dimensions, where its affine puts it.

        Raises:
            InvalidSettings: It is no such image.
            UnusableGeometry: Its affine is singular or not finite.
        """
        voxels, grid = libraries.of_nibabel(image)
        return cls._made(plain_voxels(voxels), grid, modality, body_part)

    @classmethod
    def from_sitk(
        cls, image: object, *, modality: str | None = None, body_part: str | None = None
    ) -> Volume:
        """Make a volume of a SimpleITK image of three dimensions.

        Raises:
            InvalidSettings: It is no such image.
            UnusableGeometry: Its axes are not independent.
        """
        voxels, grid = libraries.of_sitk(image)
        return cls._made(
            plain_voxels(voxels, is_colour=voxels.ndim == 4), grid, modality, body_part
        )

    @classmethod
    def _made(
        cls, voxels: np.ndarray, grid: Grid, modality: str | None, body_part: str | None
    ) -> Volume:
        return cls(
            voxels=voxels,
            grid=grid,
            sources=(SliceSource(Path()),) * len(voxels),
            origin="array",
            modality=None if modality is None else modality.upper(),
            body_part=None if body_part is None else body_part.upper(),
            reading=Reading(lacks_geometry=not grid.is_patient, label_values=count_labels(voxels)),
        )

    def _values(self) -> Shaped[np.ndarray, "slices rows columns *colour"]:
        return self.voxels

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


@dataclass(frozen=True, eq=False, repr=False)
class Heatmap(OnGrid):
    """How abnormal each voxel of a volume looks.

    Attributes:
        values: float32 in [0, 1], aligned voxel for voxel with the volume.
        grid: The volume's own grid.
    """

    values: Float[np.ndarray, "slices rows columns"]
    grid: Grid

    def __repr__(self) -> str:
        """Say in a line how large it is, and how high it goes."""
        sides = " x ".join(map(str, self.values.shape))
        return f"Heatmap({sides}, highest {self.values.max(initial=0):.3f})"

    def _values(self) -> Float[np.ndarray, "slices rows columns"]:
        return self.values
