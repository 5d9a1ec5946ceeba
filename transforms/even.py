"""A stack of any kind as an orthogonal, evenly spaced one, for software that knows no other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32

from headclip_med.geometry import Grid
from headclip_med.mapped import release

TOLERANCE_MM = 0.01
"""A voxel that lies this near the place that an orthogonal, even stack would give it is there."""

MOST_SLICES = 4
"""Times as many as there were, at most: a few that are close together need not set the step."""

MOST_VOXELS = 16
"""Times as many as there were, at most: a stack lying on its side fills a room with nothing."""

_SHARE = 1e-6
"""A slice that counts for less than this counts for nothing."""


def even_grid(grid: Grid) -> Grid | None:
    """Lay an orthogonal, even stack around another, with its rows, columns and smallest steps.

    Returns:
        A grid whose slices lie where the others do, wherever these are an even step apart; None
        where that is what the grid is already.
    """
    axes = _axes(grid)
    down_mm = float(grid.row_step_lps_mm @ axes[1])
    if _is_orthogonal(grid, axes, down_mm):
        return None
    corners = np.array(
        [(0, 0), (0, grid.columns - 1), (grid.rows - 1, 0), (grid.rows - 1, grid.columns - 1)]
    )
    in_plane = corners @ np.stack([grid.row_step_lps_mm, grid.column_step_lps_mm])
    places_mm = (grid.origins_lps_mm[:, None] + in_plane) @ axes.T
    low, high = places_mm.min((0, 1)), places_mm.max((0, 1))
    steps_mm = np.array([_step_mm(grid), down_mm, grid.pixel_spacing_mm[1]])
    slices, rows, columns = (np.ceil((high - low) / steps_mm - 1e-6) + 1).astype(int).tolist()
    affine = np.eye(4)
    affine[:3] = np.column_stack([*(axes * steps_mm[:, None]), low @ axes])
    return Grid.from_affine_lps(affine, shape=(slices, rows, columns))


def is_too_large(target: Grid, grid: Grid) -> bool:
    """Tell whether a grid of ``even_grid`` is mostly empty."""
    return bool(np.prod(target.shape, dtype=float) > MOST_VOXELS * np.prod(grid.shape, dtype=float))


def resample_evenly(
    values: Float[np.ndarray, "slices rows columns"], grid: Grid, target: Grid
) -> Iterator[Float32[np.ndarray, "target_rows target_columns"]]:
    """Take a stack's values at the voxels of a grid of ``even_grid``, slice by slice.

    They are interpolated linearly, in the slices and between the two beside; 0 lies around them.

    Args:
        values: Gone through once, two slices at a time.
        grid: Where they lie.
        target: Where they are wanted.
    """
    normal = grid.normal_lps
    across = np.stack([grid.column_step_lps_mm, grid.row_step_lps_mm, normal], axis=1)
    to_pixels = np.linalg.inv(across)[:2]  # from millimetres to column and row
    order = np.argsort(grid.slice_positions_mm, kind="stable")
    sorted_mm = grid.slice_positions_mm[order]
    turn = to_pixels @ np.stack([target.column_step_lps_mm, target.row_step_lps_mm], axis=1)
    for origin in target.origins_lps_mm:
        mixed = np.zeros(target.shape[1:], dtype=np.float32)
        for place, share in _shares(sorted_mm, float(origin @ normal)):
            index = order[place]
            shift = to_pixels @ (origin - grid.origins_lps_mm[index])
            mixed += np.float32(share) * _taken(values[index], turn, shift, mixed.shape)
        release(values)
        yield mixed


def _shares(sorted_mm: Float[np.ndarray, "slices"], at_mm: float) -> list[tuple[int, float]]:
    """List the slices that a place lies between, and how much each counts."""
    last = len(sorted_mm) - 1
    share = float(np.interp(at_mm, sorted_mm, np.arange(last + 1)))
    lower = min(int(share), last)
    shares = [(lower, 1 - (share - lower)), (min(lower + 1, last), share - lower)]
    return [(place, part) for place, part in shares if part > _SHARE]


def _taken(
    image: Float[np.ndarray, "rows columns"],
    turn: Float[np.ndarray, "2 2"],
    shift_px: Float[np.ndarray, "2"],
    shape: tuple[int, int],
) -> Float32[np.ndarray, "target_rows target_columns"]:
    import SimpleITK as sitk  # noqa: N813 - as everybody calls it

    transform = sitk.AffineTransform(2)
    transform.SetMatrix(turn.ravel().tolist())
    transform.SetTranslation(shift_px.tolist())
    source = sitk.GetImageFromArray(np.ascontiguousarray(image, dtype=np.float32))
    size, no_place, unit, straight = shape[::-1], (0.0, 0.0), (1.0, 1.0), (1.0, 0.0, 0.0, 1.0)
    taken = sitk.Resample(
        source, size, transform, sitk.sitkLinear, no_place, unit, straight, 0.0, sitk.sitkFloat32
    )
    return np.asarray(sitk.GetArrayFromImage(taken))


def _axes(grid: Grid) -> Float[np.ndarray, "3 3"]:
    """The directions of slices, rows and columns, at right angles to each other."""
    columns = grid.column_step_lps_mm / np.linalg.norm(grid.column_step_lps_mm)
    return np.stack([grid.normal_lps, np.cross(grid.normal_lps, columns), columns])


def _is_orthogonal(grid: Grid, axes: Float[np.ndarray, "3 3"], down_mm: float) -> bool:
    step = axes[0] * float(grid.mean_step_lps_mm @ axes[0])
    numbers = np.arange(len(grid.origins_lps_mm))[:, None]
    off_mm = np.linalg.norm(grid.origins_lps_mm - grid.origins_lps_mm[0] - numbers * step, axis=1)
    lean_mm = float(np.linalg.norm(grid.row_step_lps_mm - down_mm * axes[1])) * (grid.rows - 1)
    return bool(off_mm.max() + lean_mm <= TOLERANCE_MM)


def _step_mm(grid: Grid) -> float:
    """Choose the smallest step between slices, of those alike the mean; it ends with the last."""
    positions = np.sort(grid.slice_positions_mm)
    if len(positions) < 2:
        return abs(float(grid.mean_step_lps_mm @ grid.normal_lps))
    steps = np.diff(positions)
    least = max(float(steps.min()), float(np.ptp(positions)) / (MOST_SLICES * len(steps)))
    alike = steps[(steps >= least) & (steps <= 1.5 * least)]
    wanted = float(alike.mean()) if len(alike) else least
    extent = float(np.ptp(positions))
    return extent / float(np.ceil(extent / wanted - 1e-6))
