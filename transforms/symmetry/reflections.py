"""Slices of a volume mirrored in its plane of symmetry, each where the slice itself lies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from headclip_med.findings import Box, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.transforms.symmetry.mirrors import MirrorPlane
from headclip_med.transforms.symmetry.planes import indices_of
from headclip_med.transforms.window import apply_window
from headclip_med.volume import Volume


def mirrored_slices(
    volume: Volume, window: WindowUsed, plane: MirrorPlane, span: slice, box: Box
) -> Float[np.ndarray, "block rows columns"]:
    """Sample the mirrored volume where some slices lie, linearly between voxels.

    Args:
        volume: Of one grey level a voxel, with patient geometry.
        window: What makes its values grey levels.
        plane: The plane of symmetry.
        span: Which slices.
        box: The part of each that is wanted.

    Returns:
        Grey levels in [0, 1]; 0 where a mirror image lies outside the volume.
    """
    numbers = range(*span.indices(len(volume.voxels)))
    places = [_mirrored_indices(volume.grid, plane, number, box) for number in numbers]
    deepest = len(volume.voxels) - 1
    low = max(0, min(int(np.floor(one[0].min())) for one in places))
    high = min(deepest, max(int(np.ceil(one[0].max())) for one in places))
    rows, columns = box.end_row - box.first_row, box.end_column - box.first_column
    found = np.zeros((len(numbers), rows, columns), dtype=np.float32)
    if low > high:
        return found
    grey = np.asarray(apply_window(volume.voxels[low : high + 1], window), dtype=np.float32)
    for one, at in zip(found, places, strict=True):
        at[0] -= low
        ndimage.map_coordinates(grey, at, order=1, mode="grid-constant", output=one)
    return found


def _mirrored_indices(
    grid: Grid, plane: MirrorPlane, number: int, box: Box
) -> Float[np.ndarray, "3 rows columns"]:
    """Give the (slice, row, column) that is the mirror image of each pixel of a slice."""
    rows = np.arange(box.first_row, box.end_row, dtype=float)
    columns = np.arange(box.first_column, box.end_column, dtype=float)
    if not grid.is_even:
        down, across = np.meshgrid(rows, columns, indexing="ij")
        own = np.column_stack([np.full(down.size, float(number)), down.ravel(), across.ravel()])
        found = indices_of(grid, plane.mirrored(grid.to_lps_mm(own)))
        return np.ascontiguousarray(found.T.reshape(3, *down.shape))
    # In an even stack it follows from three pixels.
    corners = np.array([[number, 0, 0], [number, 1, 0], [number, 0, 1]], dtype=float)
    first, below, beside = indices_of(grid, plane.mirrored(grid.to_lps_mm(corners)))
    down, across = (below - first)[:, None, None], (beside - first)[:, None, None]
    found = first[:, None, None] + down * rows[None, :, None] + across * columns[None, None, :]
    return np.asarray(found)
