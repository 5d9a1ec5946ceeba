"""The plane of symmetry of a volume, by the smallest difference to its mirror image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage, optimize

from headclip_med.findings import WindowUsed
from headclip_med.geometry import Grid
from headclip_med.mapped import blocks_of
from headclip_med.transforms.slices import resize_maps
from headclip_med.transforms.symmetry.heads import GREY, find_head
from headclip_med.transforms.symmetry.lines import ALIKE
from headclip_med.transforms.symmetry.mirrors import MirrorPlane
from headclip_med.transforms.window import apply_window
from headclip_med.volume import Volume

COARSE_MM = 4.0
"""Voxels of the volume that a plane is fitted in are about as large."""

LEAST_MM = 40.0
"""A stack that covers less along its normal says little of a tilt: its slices get a line each."""

POINTS = 20_000
"""Places of the head that are compared, evenly spread over it."""

SEEN_TWICE = 0.6
"""Share of them whose mirror image must lie in the volume."""

_ANGLES_DEG = (-20.0, -10.0, 0.0, 10.0, 20.0)
_STEPS_MM = (-8.0, 0.0, 8.0)
_MM_PER_DEG = 1.0
"""So that a step of the search means as much for the offset as for the angles."""


@dataclass(frozen=True)
class PlaneFit:
    """A volume's plane of symmetry.

    Attributes:
        plane: In the patient's millimetres.
        alike: Share of the bright places whose mirror images are bright.
        head_share: Size of the largest slice of the head (the root of its area), as a share of a
            slice's size.
    """

    plane: MirrorPlane
    alike: float
    head_share: float

    @property
    def is_symmetric(self) -> bool:
        """Whether what is seen has two sides."""
        return self.alike >= ALIKE


def indices_of(
    grid: Grid, points_lps_mm: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Map the patient's millimetres to (slice, row, column), the way back of ``to_lps_mm``.

    Between two slices the origin is interpolated; beyond the stack the outermost step goes on.
    """
    normal, origins = grid.normal_lps, grid.origins_lps_mm
    heights, numbers = grid.slice_positions_mm, np.arange(len(origins), dtype=float)
    if heights[-1] < heights[0]:
        heights, numbers = heights[::-1], numbers[::-1]
    at = points_lps_mm @ normal
    slices = np.interp(at, heights, numbers)
    step = grid.mean_step_lps_mm
    beyond = (at - np.clip(at, heights[0], heights[-1])) / float(step @ normal)
    places = np.stack(
        [np.interp(slices, np.arange(len(origins)), origins[:, axis]) for axis in range(3)], axis=1
    )
    rest = points_lps_mm - places - beyond[:, None] * step
    steps = np.stack([grid.row_step_lps_mm, grid.column_step_lps_mm], axis=1)
    return np.column_stack([slices + beyond, rest @ np.linalg.pinv(steps).T])


def spans_enough(grid: Grid) -> bool:
    """Tell whether a stack is a volume to fit a plane in, and no handful of slices."""
    positions = grid.slice_positions_mm
    return grid.is_patient and len(positions) > 2 and float(np.ptp(positions)) >= LEAST_MM


def fit_plane(volume: Volume, window: WindowUsed) -> PlaneFit | None:
    """Find the plane in which a volume differs least from its mirror image.

    As for a picture: sum |V - mirror(V)| / sum (V + mirror(V)) over places of the head, in a copy
    of a few millimetres a voxel, over two angles and the offset; coarsely on a grid around the
    patient's own left and right and the centroid, then by Nelder and Mead.

    Args:
        volume: Of one grey level a voxel, with patient geometry.
        window: What makes its values grey levels.

    Returns:
        None where nothing is bright.
    """
    grey, grid, head_share = _coarse(volume, window)
    bright = np.argwhere(grey > GREY)
    if not len(bright):
        return None
    chosen = bright[:: max(1, len(bright) // POINTS)].astype(float)
    places = grid.to_lps_mm(chosen)
    centre, own = places.mean(axis=0), _values(grey, chosen)[0]

    def unlike(yaw_deg: float, roll_deg: float, shift_mm: float) -> float:
        plane = _through(centre, yaw_deg, roll_deg, shift_mm)
        other, is_seen = _values(grey, indices_of(grid, plane.mirrored(places)))
        if is_seen.mean() < SEEN_TWICE:
            return 1.0
        seen, its = own[is_seen], other[is_seen]
        return float(np.abs(seen - its).sum() / (seen + its).sum())

    starts = [
        (yaw, roll, shift) for yaw in _ANGLES_DEG for roll in _ANGLES_DEG for shift in _STEPS_MM
    ]
    at = np.array(min(starts, key=lambda start: unlike(*start)))
    simplex = at + np.vstack([np.zeros(3), np.diag([4.0, 4.0, 3.0])])
    found = optimize.minimize(
        lambda place: unlike(*place), at, method="Nelder-Mead",
        options={"xatol": 0.02, "fatol": 1e-6, "maxfev": 250, "initial_simplex": simplex},
    ).x  # fmt: skip
    plane = _through(centre, *(float(one) for one in found))
    other, is_seen = _values(grey, indices_of(grid, plane.mirrored(places)))
    alike = float((other[is_seen] > GREY / 2).mean())
    return PlaneFit(plane, alike, head_share)


def _through(
    centre: Float[np.ndarray, "3"], yaw_deg: float, roll_deg: float, shift_mm: float
) -> MirrorPlane:
    turned = MirrorPlane(yaw_deg, roll_deg, 0.0)
    return MirrorPlane(yaw_deg, roll_deg, float(centre @ turned.normal_lps) + shift_mm)


def _values(
    grey: Float[np.ndarray, "slices rows columns"], places: Float[np.ndarray, "points 3"]
) -> tuple[Float[np.ndarray, "points"], np.ndarray]:
    """Interpolate linearly, and say which places lie in the volume."""
    ends = np.array(grey.shape) - 0.5
    is_seen = np.asarray(((places >= -0.5) & (places <= ends)).all(axis=1))
    found = ndimage.map_coordinates(grey, places.T, order=1, mode="nearest", output=np.float32)
    return found, is_seen


def _coarse(
    volume: Volume, window: WindowUsed
) -> tuple[Float[np.ndarray, "slices rows columns"], Grid, float]:
    """Average a volume's grey levels over voxels of a few millimetres; the largest head's share."""
    grid = volume.grid
    row_mm, column_mm = grid.pixel_spacing_mm
    rows = max(8, round(grid.rows * row_mm / COARSE_MM))
    columns = max(8, round(grid.columns * column_mm / COARSE_MM))
    slices, largest = [], 0.0
    for _, voxels in blocks_of(volume.voxels):
        levels = torch.from_numpy(np.ascontiguousarray(apply_window(voxels, window), np.float32))
        shrunk = resize_maps(levels, min(rows, grid.rows), min(columns, grid.columns)).numpy()
        for one in shrunk:
            head = find_head(one)
            largest = max(largest, head.mean())
            slices.append(np.where(head, one, 0))
    stack = np.stack(slices)
    step_mm = float(np.ptp(grid.slice_positions_mm)) / (len(stack) - 1)
    group = max(1, round(COARSE_MM / step_mm))
    starts = range(0, len(stack), group)
    thick = np.stack([stack[start : start + group].mean(axis=0) for start in starts])
    origins = np.stack(
        [grid.origins_lps_mm[start : start + group].mean(axis=0) for start in starts]
    )
    down, across = grid.rows / stack.shape[1], grid.columns / stack.shape[2]
    row_step, column_step = grid.row_step_lps_mm * down, grid.column_step_lps_mm * across
    more = row_step - grid.row_step_lps_mm + column_step - grid.column_step_lps_mm
    origins = origins + more / 2  # the first pixel's centre moves by half of what it grew
    coarse = Grid(origins, row_step, column_step, stack.shape[1], stack.shape[2])
    soft = ndimage.gaussian_filter(thick, (0.5, 1, 1)).astype(np.float32)
    return soft, coarse, math.sqrt(largest)
