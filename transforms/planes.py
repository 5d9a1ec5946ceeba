"""A volume as slices of an anatomical plane, however it is stored, and the way back.

What a model sees, and so what it says, shall depend on the patient and not on the order in which a
file keeps its axes. Slices are cut along the stored axes that lie nearest to the patient's, so that
nothing is resampled to an upright stack, and each is turned as a radiologist expects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from headclip_med.findings import Box, PlaneLeftOut
from headclip_med.geometry import Grid
from headclip_med.mapped import BLOCK_SLICES, allocate, blocks_of, release
from headclip_med.settings import Plane
from headclip_med.transforms.pixels import EvenPixels
from headclip_med.volume import Volume

AXES_LPS: Mapping[Plane, tuple[tuple[int, int], ...]] = {
    "axial": ((2, 1), (1, 1), (0, 1)),
    "coronal": ((1, 1), (2, -1), (0, 1)),
    "sagittal": ((0, -1), (2, -1), (1, 1)),
}
"""Of a plane's slices, rows and columns: which of the patient's axes (to the left, to the back, to
the head) they run along, and whether with it (1) or against it (-1). Slices follow the normal."""

MOST_UNEVEN = 3.0
"""A plane is not cut where one side of its pixels is longer than the other by more: what lies
between slices so far apart nobody saw."""

LEAST_SIDE_PX = 16
"""A plane is not cut where it has fewer rows or columns: nothing of an organ would be seen."""


@dataclass(frozen=True)
class Arrangement:
    """Another order of a stack's axes, which are slices, rows and columns.

    Attributes:
        axes: Which axis of the stack each of the new ones is.
        is_reversed: Which of the new ones run the other way.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    is_reversed: tuple[bool, bool, bool] = (False, False, False)

    @property
    def keeps_slices(self) -> bool:
        """Whether the new slices are the stack's own."""
        return self.axes[0] == 0

    @property
    def inverse(self) -> Arrangement:
        """The way back."""
        first, second, third = (self.axes.index(axis) for axis in range(3))
        back = self.is_reversed
        return Arrangement((first, second, third), (back[first], back[second], back[third]))

    def seen(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """See an array in the new order, without copying it."""
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return turned[tuple(slice(None, None, -1 if back else None) for back in self.is_reversed)]

    def arranged(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """Put an array in the new order, without copying it where slices stay slices.

        A copy is mapped where it is large, and is made in the memory of a few blocks.
        """
        if self == AS_STORED:
            return array
        if self.keeps_slices:
            return self.seen(array)
        along, whole = self.axes[0], (slice(None),) * (self.axes[0] - 1)
        found = allocate(self.seen(array).shape, array.dtype)
        filled = self.inverse.seen(found)
        for span, block in blocks_of(array):
            for start in range(0, block.shape[along], BLOCK_SLICES):
                part = slice(start, start + BLOCK_SLICES)
                filled[(span, *whole, part)] = block[(slice(None), *whole, part)]
                release(found)
        return found

    def grid_of(self, grid: Grid) -> Grid:
        """Give the place of voxels in the new order; slices are even where they are no more."""
        if self == AS_STORED:
            return grid
        steps, shape = _steps_lps_mm(grid), grid.shape
        origins = grid.origins_lps_mm
        if not self.keeps_slices:
            origins = origins[0] + np.arange(shape[self.axes[0]])[:, None] * steps[self.axes[0]]
        signs = []
        for axis, back in zip(self.axes, self.is_reversed, strict=True):
            signs.append(-1 if back else 1)
            if back and len(signs) > 1:
                origins = origins + (shape[axis] - 1) * steps[axis]
        _, row_axis, column_axis = self.axes
        return Grid(
            np.ascontiguousarray(origins[:: signs[0]]),
            signs[1] * steps[row_axis],
            signs[2] * steps[column_axis],
            shape[row_axis],
            shape[column_axis],
            grid.is_patient,
            signs[0] * steps[self.axes[0]],
        )

    def stored_box(self, box: Box, grid: Grid) -> Box:
        """Give the rows and columns of the stack that hold what a box of new slices holds."""
        ends: list[tuple[int, int]] = [(0, length) for length in grid.shape]
        spans = (box.first_row, box.end_row), (box.first_column, box.end_column)
        for axis, back, span in zip(self.axes[1:], self.is_reversed[1:], spans, strict=True):
            length = grid.shape[axis]
            ends[axis] = (length - span[1], length - span[0]) if back else span
        return Box(*ends[1], *ends[2])


AS_STORED = Arrangement()
"""The stack's own order."""


@dataclass(frozen=True, eq=False)
class View:
    """A volume as a model shall see it.

    Attributes:
        stored: As it was read.
        plane: The patient's plane that its slices are nearest to; None without patient geometry.
        arrangement: How its slices, rows and columns come from the stored ones.
        even: How its pixels are made square and upright; None where they are left as they are.
    """

    stored: Volume
    plane: Plane | None = None
    arrangement: Arrangement = AS_STORED
    even: EvenPixels | None = None

    @property
    def grid(self) -> Grid:
        """Of the stored voxels in the view's order."""
        return self.arrangement.grid_of(self.stored.grid)

    @property
    def slices(self) -> int:
        """How many there are."""
        return self.stored.grid.shape[self.arrangement.axes[0]]

    @cached_property
    def shown(self) -> Volume:
        """What the model sees; the stored volume itself where nothing is to be done to it."""
        if self.arrangement == AS_STORED and self.even is None:
            return self.stored
        voxels, grid = self.arrangement.arranged(self.stored.voxels), self.grid
        if self.even is not None:
            voxels, grid = self.even.spread(voxels), self.even.even
        sources = self.stored.sources[:1] * len(voxels)
        return replace(self.stored, voxels=voxels, grid=grid, sources=sources)

    def settled(
        self, maps: Float[np.ndarray, "slices shown_rows shown_columns"]
    ) -> Float[np.ndarray, "slices rows columns"]:
        """Take maps of what was shown to the pixels of ``grid``."""
        return maps if self.even is None else self.even.gathered(maps)

    def stored_box(self, box: Box) -> Box:
        """Give the stored rows and columns outside of which nothing of a shown box lies."""
        own = box if self.even is None else self.even.gathered_box(box)
        return self.arrangement.stored_box(own, self.stored.grid)


def choose_views(
    volume: Volume, asked: Plane | Literal["all"]
) -> tuple[tuple[View, ...], tuple[PlaneLeftOut, ...]]:
    """Cut a volume into slices of the planes that are asked for.

    Which slices these are follows from the voxels' places alone, not from how they are stored.
    Where a plane cannot be cut well, it is left out; where none is left, the slices are those of
    the acquisition, whose normal is the axis of the largest voxels.

    Args:
        volume: One without patient geometry is seen as it is stored.
        asked: A plane, or all three.

    Returns:
        A view for each plane, at least one; those that were left out, and why.
    """
    grid = volume.grid
    if not grid.is_patient:
        return (View(volume),), ()
    arrangements = arrangements_of(grid)
    names = tuple(AXES_LPS) if asked == "all" else (asked,)
    acquired = max(
        arrangements, key=lambda name: (*_coarseness(grid, arrangements[name]), name in names)
    )
    reasons = {name: _hindrance(grid, arrangements[name]) for name in names if name != acquired}
    left_out = [PlaneLeftOut(name, why) for name, why in reasons.items() if why]
    kept = [name for name in names if not reasons.get(name)] or [acquired]
    views = [
        View(
            volume,
            name,
            arrangements[name],
            None if name == acquired else EvenPixels.of(arrangements[name].grid_of(grid)),
        )
        for name in kept
    ]
    return tuple(views), tuple(left_out)


def _steps_lps_mm(grid: Grid) -> Float[np.ndarray, "3 3"]:
    """Give the steps from a slice, a row and a column to the next, one a row."""
    return np.asarray(grid.mean_affine_lps[:3, :3].T)


def arrangements_of(grid: Grid) -> dict[Plane, Arrangement]:
    """Pair each axis of a stack with the patient's nearest, and say what each plane takes."""
    steps = _steps_lps_mm(grid)
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)

    def nearness(order: tuple[int, ...]) -> tuple[float, ...]:
        """How near all three are, then each; of axes half way between two those to one side."""
        own = directions[list(order)]
        own = own * np.sign(np.diagonal(own))[:, None]  # whichever way they are stored
        return tuple(np.round([np.trace(own), *np.diagonal(own), *own.ravel()], 6).tolist())

    nearest = max(permutations(range(3)), key=nearness)
    along = [directions[axis, lps] > 0 for lps, axis in enumerate(nearest)]
    found: dict[Plane, Arrangement] = {}
    for name, axes in AXES_LPS.items():
        first, second, third = (nearest[lps] for lps, _ in axes)
        backs = [bool(along[lps]) != (sign > 0) for lps, sign in axes]
        found[name] = Arrangement((first, second, third), (backs[0], backs[1], backs[2]))
    return found


def _coarseness(grid: Grid, arrangement: Arrangement) -> tuple[bool, bool, float, int]:
    """How much speaks for slices having been acquired in a plane."""
    normal = arrangement.axes[0]
    step_mm = float(np.linalg.norm(_steps_lps_mm(grid)[normal]))
    count = grid.shape[normal]
    is_only = not grid.is_even and normal == 0  # slices that no affine describes stay slices
    return is_only, count == 1, round(step_mm, 3), -count


def _hindrance(
    grid: Grid, arrangement: Arrangement
) -> Literal["uneven-spacing", "too-few-pixels", "uneven-pixels"] | None:
    """Say why a plane other than that of the acquisition is not cut; None where it is."""
    in_plane = list(arrangement.axes[1:])
    if not grid.is_even:
        return "uneven-spacing"
    if min(grid.shape[axis] for axis in in_plane) < LEAST_SIDE_PX:
        return "too-few-pixels"
    sides_mm = np.linalg.norm(_steps_lps_mm(grid)[in_plane], axis=1)
    if sides_mm.max() > (MOST_UNEVEN + 1e-3) * sides_mm.min():
        return "uneven-pixels"
    return None
