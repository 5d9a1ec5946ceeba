"""A stack cut across its slices: coronal and sagittal pictures of an axial one, in true lengths.

What is collected is small: grey levels, heat and candidates at ``MOST_PX`` a side. Slices are laid
where they belong, so a tilted stack stands upright and where slices are missing nothing is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from headclip_med.geometry import Grid
from headclip_med.mapped import BLOCK_SLICES, allocate, release
from headclip_med.transforms.planes import Arrangement
from headclip_med.write.pictures.layers import step_to

MOST_PX = 256
"""Longer side of a slice among them."""

MOST_PLANES = 64
"""Of each direction; their distance is a few millimetres."""

MOST_FILLED = 4
"""Times as many steps as slices: a few that are close together need not set the step."""

WIDEST_STEP = 1.9
"""Times the usual one: in a wider step a slice is missing, in others each neighbour fills half."""

Small = UInt8[np.ndarray, "rows columns"]


@dataclass(frozen=True, eq=False)
class Reslice:
    """One picture across the slices.

    Attributes:
        at: Where along its axis it was cut, from 0 to 1.
        centre_lps_mm: The patient's place in its middle.
        grey: Levels from black to white.
        heat: Levels from 0 to 1, the highest of what a pixel covers.
        marked: Which pixels hold a candidate, as 0 and 1.
    """

    at: float
    centre_lps_mm: Float[np.ndarray, "3"]
    grey: Small
    heat: Small
    marked: Small


class Reslices:
    """Takes the slices one after the other, then gives the pictures across them.

    Args:
        grid: Of the slices; there are several, and they lie in the patient.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.step_px = step_to((grid.rows, grid.columns), MOST_PX)
        places_mm = np.abs(grid.slice_positions_mm - grid.slice_positions_mm[0])
        extent_mm = float(places_mm.max())
        steps_mm = np.diff(np.sort(places_mm))
        typical_mm, least_mm = float(np.median(steps_mm)), float(steps_mm.min())
        if grid.is_even:
            least_mm = typical_mm
        self._step_mm = max(least_mm, extent_mm / (MOST_FILLED * len(places_mm)))
        count = round(extent_mm / self._step_mm) + 1
        self.at = (places_mm / self._step_mm + 0.5) / count
        self._slices = _nearest(places_mm, np.arange(count) * self._step_mm, typical_mm)
        self._lean = _lean_px(grid) / self.step_px
        self._shifts = np.rint(self._lean - self._lean.min(axis=0)).astype(int)
        small = -(-np.array([grid.rows, grid.columns]) // self.step_px)
        shape = (count, *(small + self._shifts.max(axis=0)).tolist())
        self._layers = tuple(allocate(shape, np.uint8) for _ in range(3))

    @property
    def is_upright(self) -> bool:
        """Whether no slice had to be moved against another."""
        return not self._shifts.any()

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many steps, rows and columns there are of what was collected."""
        steps, rows, columns = self._layers[0].shape
        return steps, rows, columns

    @property
    def lengths_mm(self) -> tuple[float, float, float]:
        """Extent along the stack, down the slices' rows and across their columns."""
        steps_mm = self._step_mm, *(self.step_px * mm for mm in self._grid.pixel_spacing_mm)
        along, down, across = np.multiply(self.shape, steps_mm).tolist()
        return along, down, across

    def add(self, index: int, grey: Small, heat: Small, marked: Small) -> None:
        """Take a slice.

        Args:
            index: Which.
            grey: Its levels, reduced by ``step_px``.
            heat: Likewise.
            marked: Likewise, 0 or 1.
        """
        top, left = self._shifts[index]
        rows, columns = slice(top, top + grey.shape[0]), slice(left, left + grey.shape[1])
        for place in np.flatnonzero(self._slices == index):
            for layer, values in zip(self._layers, (grey, heat, marked), strict=True):
                layer[place, rows, columns] = values

    def place_of(self, index: int, down: float, across: float) -> tuple[float, ...]:
        """Say where a place of a slice lies along the stack's three axes, from 0 to 1.

        Args:
            index: Of the slice.
            down: From its top, as a share of its height.
            across: From its left, as a share of its width.
        """
        own = np.array([down * self._grid.rows, across * self._grid.columns]) / self.step_px
        shares = (own + self._shifts[index]) / self.shape[1:]
        return float(self.at[index]), *shares.tolist()

    def release(self) -> None:
        """Let what was taken leave this process's memory, where it is much."""
        for layer in self._layers:
            release(layer)

    def across(self, arrangement: Arrangement) -> Iterator[Reslice]:
        """Give pictures whose slices, rows and columns are other axes of the stack.

        Args:
            arrangement: One that does not keep the slices.
        """
        axis, is_back = arrangement.axes[0], arrangement.is_reversed[0]
        count = self.shape[axis]
        step = -(-count // MOST_PLANES)
        layers = [arrangement.seen(layer) for layer in self._layers]
        for first in range(step // 2, count, step * BLOCK_SLICES):
            part = slice(first, first + step * BLOCK_SLICES, step)
            blocks = [np.ascontiguousarray(layer[part]) for layer in layers]
            self.release()
            for place, cut in enumerate(zip(*blocks, strict=True)):
                seen = first + place * step
                own = count - 1 - seen if is_back else seen
                yield Reslice((own + 0.5) / count, self._centre(axis, own), *cut)

    def _centre(self, axis: int, place: int) -> Float[np.ndarray, "3"]:
        """Find the patient's place in the middle of a picture, of the slices' middle."""
        middle = (np.array(self._grid.shape) - 1) / 2
        lean = (self._lean - self._lean.min(axis=0))[len(self._lean) // 2, axis - 1]
        middle[axis] = (place - lean + 0.5) * self.step_px - 0.5
        return np.asarray(self._grid.to_lps_mm(middle[None])[0])


def _nearest(
    places_mm: Float[np.ndarray, "slices"],
    wanted_mm: Float[np.ndarray, "places"],
    typical_mm: float,
) -> Int[np.ndarray, "places"]:
    """Find the slice that is shown at each place; -1 where one is missing."""
    nearest = np.abs(places_mm[:, None] - wanted_mm).argmin(axis=0)
    ordered_mm = np.sort(places_mm)
    above = np.clip(np.searchsorted(ordered_mm, wanted_mm), 1, len(ordered_mm) - 1)
    steps_mm = ordered_mm[above] - ordered_mm[above - 1]
    is_wide = steps_mm > WIDEST_STEP * typical_mm
    reach_mm = 0.51 * np.where(is_wide, typical_mm, np.maximum(steps_mm, typical_mm))
    return np.where(np.abs(places_mm[nearest] - wanted_mm) <= reach_mm, nearest, -1)


def _lean_px(grid: Grid) -> Float[np.ndarray, "slices 2"]:
    """Say how far each slice lies from under the first, in rows and columns."""
    axes = np.stack([grid.row_step_lps_mm, grid.column_step_lps_mm, grid.normal_lps], axis=1)
    apart_mm = grid.origins_lps_mm - grid.origins_lps_mm[0]
    return np.asarray(np.linalg.solve(axes, apart_mm.T)[:2].T)
