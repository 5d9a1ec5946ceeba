"""A heatmap as NIfTI: the one place where results leave LPS for NIfTI's RAS."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float

from headclip_med.geometry import Grid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's x grows to the patient's left and y to the back; NIfTI's to the right and the front."""

SCANNER_SPACE, UNKNOWN_SPACE = 1, 0
"""The codes of sform and qform in the NIfTI-1 header: patient millimetres, or nothing known."""

FASTEST = 1
"""Of gzip's levels: a heatmap's floats are nearly noise, and the slower ones gain 2 %."""

GZIP_FORMAT = zlib.MAX_WBITS + 16
"""Of zlib's containers; its header holds no time."""

VOXELS_AT = 352
"""Bytes before the voxels: the header, and that no extension follows."""

SHEAR_TOLERANCE = 1e-4
"""Cosine between two axes from which a grid counts as sheared; the quaternion cannot hold shear."""


class HeatmapFile:
    """A gzipped float32 NIfTI-1 file, written by blocks of slices.

    Voxels are stored in the order (column, row, slice). World coordinates are exact for every even
    stack, tilted ones included: their shear stands in the sform, and the qform, which cannot hold
    it, is marked unknown. Unevenly spaced stacks have no exact affine; theirs is that of
    ``best_affine_lps``. Images without patient geometry get no affine. Equal heatmaps give equal
    bytes, whatever the blocks.

    Args:
        path: Of the file; its header is written at once.
        grid: Of the heatmap.
    """

    def __init__(self, path: Path, grid: Grid) -> None:
        self._path = path
        self._gzip = zlib.compressobj(FASTEST, wbits=GZIP_FORMAT)
        self._path.write_bytes(self._gzip.compress(_header(grid)))

    def add(self, values: Float[np.ndarray, "slices rows columns"]) -> None:
        """Write the next slices."""
        self._append(self._gzip.compress(np.asarray(values, dtype="<f4").tobytes()))

    def close(self) -> None:
        """Write what is left."""
        self._append(self._gzip.flush())

    def _append(self, content: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(content)


def _header(grid: Grid) -> bytes:
    """Build what stands before the voxels."""
    # The image is asked for its header only; its voxels are one zero, seen everywhere.
    zeros = np.broadcast_to(np.float32(0), grid.shape[::-1])
    affine = ras_affine(grid) if grid.is_patient else None
    header = nibabel.Nifti1Image(zeros, affine).header  # type: ignore[no-untyped-call]
    if affine is not None:
        header.set_qform(affine, code=UNKNOWN_SPACE if _is_sheared(affine) else SCANNER_SPACE)  # type: ignore[no-untyped-call]
        header.set_sform(affine, code=SCANNER_SPACE)  # type: ignore[no-untyped-call]
        header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    header["cal_min"], header["cal_max"] = 0.0, 1.0
    header["descrip"] = b"headclip_med heatmap - research use only"
    header["magic"], header["vox_offset"] = b"n+1", VOXELS_AT
    header.set_slope_inter(1, 0)  # type: ignore[no-untyped-call]
    return bytes(header.binaryblock).ljust(VOXELS_AT, b"\0")


def ras_affine(grid: Grid) -> Float[np.ndarray, "4 4"]:
    """Map ``(column, row, slice, 1)`` to RAS millimetres."""
    return np.asarray(LPS_TO_RAS @ best_affine_lps(grid)[:, [2, 1, 0, 3]])


def best_affine_lps(grid: Grid) -> Float[np.ndarray, "4 4"]:
    """Map ``(slice, row, column, 1)`` to LPS mm, with even steps from the first slice to the last.

    Exact for even stacks; for others the first and the last slice are where they should be and
    those between are off by up to ``affine_error_mm``.
    """
    return grid.mean_affine_lps


def affine_error_mm(grid: Grid) -> float:
    """Tell how far the affine puts the worst slice from its true place; 0 for a perfect stack."""
    affine = best_affine_lps(grid)
    steps = np.arange(len(grid.origins_lps_mm))[:, None] * affine[:3, 0]
    off = np.linalg.norm(affine[:3, 3] + steps - grid.origins_lps_mm, axis=1)
    return float(off.max(initial=0.0))


def _is_sheared(affine: Float[np.ndarray, "4 4"]) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE)
