"""How a segmentation's slices are spaced: readers of single images lay them out by this number."""

from __future__ import annotations

import numpy as np
import pydicom
from highdicom.spatial import get_volume_positions
from pydicom.valuerep import format_number_as_ds

from headclip_med.geometry import Grid

TOLERANCE_MM = 0.005
"""A slice this near to a whole number of steps lies there."""

MOST_STEPS = 1024
"""From the first slice to the last: a reader that lays them all out takes memory for each."""


def keep_spacing(built: pydicom.Dataset, headers: list[pydicom.Dataset], grid: Grid) -> None:
    """Say how the whole stack is spaced, which the slices with candidates alone may not show.

    Of uneven stacks that is the step of which all slices lie whole numbers apart: dcmqi, and with
    it 3D Slicer, takes the thickness else, which puts them elsewhere.

    Args:
        built: The segmentation.
        headers: Of all slices.
        grid: Of the stack.
    """
    if "ImagePositionPatient" not in headers[0]:
        return
    measures = built.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    spacing_mm, _ = get_volume_positions(
        [header.ImagePositionPatient for header in headers], headers[0].ImageOrientationPatient
    )
    if len(headers) == 1:
        spacing_mm = float(grid.slice_thicknesses_mm[0])
    if spacing_mm is None:
        spacing_mm = common_step_mm(grid)
    measures.pop("SpacingBetweenSlices", None)
    if spacing_mm is not None:
        measures.SpacingBetweenSlices = format_number_as_ds(spacing_mm)


def common_step_mm(grid: Grid) -> float | None:
    """Give the largest step of which all slices of a stack lie whole numbers apart.

    Returns:
        Along the normal; None where the slices lean, or where more than ``MOST_STEPS`` (or four
        times the slices) of it would lie between the first and the last.
    """
    offsets = grid.origins_lps_mm - grid.origins_lps_mm[np.argmin(grid.slice_positions_mm)]
    places_mm = np.sort(offsets @ grid.normal_lps)
    sideways_mm = offsets - np.outer(offsets @ grid.normal_lps, grid.normal_lps)
    if np.abs(sideways_mm).max() > 2 * TOLERANCE_MM or len(places_mm) < 2:
        return None
    smallest_mm, whole_mm = float(np.diff(places_mm).min()), float(places_mm[-1])
    if smallest_mm < 2 * TOLERANCE_MM:
        return None
    fewest, most = round(whole_mm / smallest_mm), max(MOST_STEPS, 4 * len(places_mm))
    for parts in range(1, most // fewest + 1):
        step_mm = whole_mm / round(whole_mm / smallest_mm * parts)
        off_mm = np.abs(places_mm - np.rint(places_mm / step_mm) * step_mm)
        if off_mm.max() <= TOLERANCE_MM:
            return step_mm
    return None
