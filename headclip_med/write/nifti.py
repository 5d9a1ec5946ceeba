"""A heatmap and its candidates as NIfTI."""

from __future__ import annotations

import shutil
import zlib
from dataclasses import dataclass
from typing import IO

import nibabel
import numpy as np
from jaxtyping import Num

from headclip_med.geometry import Grid
from headclip_med.write.outputs import SkippedOutput, Writer, WrittenOutput

SCANNER_SPACE, UNKNOWN_SPACE = 1, 0
"""The codes of sform and qform in the NIfTI-1 header: patient millimetres, or nothing known."""

FASTEST = 1
"""Of gzip's levels: the slower ones take three times as long and gain a quarter of little."""

GZIP_FORMAT = zlib.MAX_WBITS + 16
"""Of zlib's containers; its header holds no time."""

VOXELS_AT = 352
"""Bytes before the voxels: the header, and that no extension follows."""

AFFINE_TOLERANCE_MM = 0.01
"""Slices that the heatmap's affine misplaces by more are reported."""

MOSTLY_EMPTY = (
    "mostly-empty",
    "The stack leans so far that an orthogonal, even grid around it would have more than 16 times "
    "its voxels, nearly all of them empty.",
    "Software built on ITK cannot show this heatmap; the pictures and the segmentation are exact.",
)
"""Why a heatmap has no resampled twin, and what to do."""


@dataclass(frozen=True)
class Encoding:
    """How a value is held.

    Attributes:
        name: Of the voxels' type.
        steps: Of the whole numbers that stand for 0 to 1; 0 where values are held as they are.
        what: Is held, in a word.
        highest: Value to show; 0 leaves that to the viewer.
    """

    name: str
    steps: int = 0
    what: str = "heatmap"
    highest: float = 1.0

    @property
    def largest_error(self) -> float:
        """How far a value in the file may be off."""
        return 0.5 / self.steps if self.steps else 0.0

    def encode(self, values: Num[np.ndarray, "..."]) -> bytes:
        """Give the bytes of values, in [0, 1] where they are held in steps, in their order."""
        numbers = values * np.float32(self.steps) + np.float32(0.5) if self.steps else values
        return numbers.astype(np.dtype(self.name).newbyteorder("<")).tobytes()


COMPACT, EXACT = Encoding("uint8", 255), Encoding("float32")
MASK = Encoding("int32", what="mask", highest=0.0)


class HeatmapWriter(Writer):
    """``heatmap.nii.gz``: every voxel's value, in 255 steps.

    Where its grid is one that software built on ITK does not know (it leans, or its slices are
    unevenly spaced), ``heatmap_resampled.nii.gz`` holds the same on one that it does.
    """

    name, encoding = "heatmap", COMPACT

    def begin(self) -> None:
        """Write the header, or what was made while the model worked."""
        self._stream = (self.folder / self._path(self.name)).open("wb")
        if self.made is None:
            self._file = HeatmapFile(self._stream, self.screening.heatmap.grid, self.encoding)
        else:
            shutil.copyfileobj(self.made, self._stream)

    def add(self, slices: range) -> None:
        """Write their values."""
        if self.made is None:
            self._file.add(self.screening.heatmap.values[slices.start : slices.stop])

    def end(self) -> WrittenOutput:
        """Close the file, and say how far its affine is off."""
        from headclip_med.transforms.even import even_grid, is_too_large

        if self.made is None:
            self._file.close()
        self._stream.close()
        grid = self.screening.volume.grid
        error_mm = affine_error_mm(grid)
        native: dict[str, object] = {
            "encoding": self.encoding.name,
            "largest_error": round(self.encoding.largest_error, 6),
            "is_resampled": False,
            "affine_error_mm": round(error_mm, 6) if grid.is_patient else None,
        }
        files, heatmaps = {self.name: self._path(self.name)}, {self.name: native}
        skipped: tuple[SkippedOutput, ...] = ()
        name = f"{self.name}-resampled"
        target = even_grid(grid) if grid.is_patient else None
        if target is not None and is_too_large(target, grid):
            skipped = (SkippedOutput(name, *MOSTLY_EMPTY),)
        elif target is not None:
            self._resample(name, grid, target)
            files[name] = self._path(name)
            heatmaps[name] = {**native, "is_resampled": True, "affine_error_mm": 0.0}
        return WrittenOutput(
            files, heatmaps=heatmaps, notes=_misplaced(files[self.name], error_mm), skipped=skipped
        )

    def _resample(self, name: str, grid: Grid, target: Grid) -> None:
        """Write the heatmap on another grid as well."""
        from headclip_med.transforms.even import resample_evenly

        with (self.folder / self._path(name)).open("wb") as stream:
            file = HeatmapFile(stream, target, self.encoding)
            for values in resample_evenly(self.screening.heatmap.values, grid, target):
                file.add(values[None])
            file.close()

    @staticmethod
    def _path(name: str) -> str:
        return f"{name.replace('-', '_')}.nii.gz"


class FloatHeatmapWriter(HeatmapWriter):
    """``heatmap_float.nii.gz``: every voxel's value as it was computed."""

    name, encoding = "heatmap-float", EXACT


class MaskWriter(Writer):
    """``mask.nii.gz``: 0, or the id of the candidate, on the heatmap's own grid."""

    def begin(self) -> None:
        """Write the header."""
        self._stream = (self.folder / "mask.nii.gz").open("wb")
        self._file = HeatmapFile(self._stream, self.screening.heatmap.grid, MASK)

    def add(self, slices: range) -> None:
        """Write their candidates."""
        self._file.add(self.screening.labels[slices.start : slices.stop])

    def end(self) -> WrittenOutput:
        """Close the file, and say how far its affine is off."""
        self._file.close()
        self._stream.close()
        error_mm = affine_error_mm(self.screening.volume.grid)
        notes = _misplaced("mask.nii.gz", error_mm)
        return WrittenOutput({"mask": "mask.nii.gz"}, notes=notes)


class HeatmapFile:
    """A gzipped NIfTI-1 file, written by blocks of slices.

    Voxels are stored in the order (column, row, slice). World coordinates are exact for every even
    stack, tilted ones included: their shear stands in the sform, and the qform, which cannot hold
    it, is marked unknown. Unevenly spaced stacks have no exact affine; theirs is the grid's mean
    one. Images without patient geometry get no affine. Equal heatmaps give equal bytes, whatever
    the blocks.

    Args:
        stream: Takes the bytes; the header's at once.
        grid: Of the heatmap.
        encoding: How values are held.
    """

    def __init__(self, stream: IO[bytes], grid: Grid, encoding: Encoding = COMPACT) -> None:
        self._stream, self._encoding = stream, encoding
        self._gzip = zlib.compressobj(FASTEST, wbits=GZIP_FORMAT)
        stream.write(self._gzip.compress(_header(grid, encoding)))

    def add(self, values: Num[np.ndarray, "slices rows columns"]) -> None:
        """Write the next slices."""
        self._stream.write(self._gzip.compress(self._encoding.encode(values)))

    def close(self) -> None:
        """Write what is left; the stream stays open."""
        self._stream.write(self._gzip.flush())


def _header(grid: Grid, encoding: Encoding) -> bytes:
    """Build what stands before the voxels."""
    # The image is asked for its header only; its voxels are one zero, seen everywhere.
    zeros = np.broadcast_to(np.zeros((), encoding.name), grid.shape[::-1])
    affine = grid.affine_ras if grid.is_patient else None
    header = nibabel.Nifti1Image(zeros, affine).header  # type: ignore[no-untyped-call]
    if affine is not None:  # the qform's quaternion cannot hold shear
        header.set_qform(affine, code=UNKNOWN_SPACE if grid.is_sheared else SCANNER_SPACE)  # type: ignore[no-untyped-call]
        header.set_sform(affine, code=SCANNER_SPACE)  # type: ignore[no-untyped-call]
        header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    header["cal_min"], header["cal_max"] = 0.0, encoding.highest
    header["descrip"] = f"headclip_med {encoding.what} - research use only".encode()
    header["magic"], header["vox_offset"] = b"n+1", VOXELS_AT
    header.set_slope_inter(1 / (encoding.steps or 1), 0)  # type: ignore[no-untyped-call]
    return bytes(header.binaryblock).ljust(VOXELS_AT, b"\0")


def _misplaced(file: str, error_mm: float) -> tuple[str, ...]:
    """Say how far an affine is off, where it is."""
    if error_mm <= AFFINE_TOLERANCE_MM:
        return ()
    return (
        f"The slices are unevenly spaced, so no NIfTI affine is exact: {file} has "
        f"even steps from the first slice to the last and misplaces slices by up to "
        f"{error_mm:.2f} mm. The true positions stand under slices, origin_lps_mm; the "
        "DICOM segmentation is exact.",
    )


def affine_error_mm(grid: Grid) -> float:
    """Tell how far the affine puts the worst slice from its true place; 0 for a perfect stack."""
    affine = grid.mean_affine_lps
    steps = np.arange(len(grid.origins_lps_mm))[:, None] * affine[:3, 0]
    off = np.linalg.norm(affine[:3, 3] + steps - grid.origins_lps_mm, axis=1)
    return float(off.max(initial=0.0))
