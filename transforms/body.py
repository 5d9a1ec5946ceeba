"""The part of a volume's slices that holds the body: models see it larger, and less air."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from headclip_med.findings import Box, WindowUsed
from headclip_med.mapped import blocks_of
from headclip_med.transforms.window import apply_window
from headclip_med.volume import Volume

_DARK = 0.05
"""Grey levels up to this are air, or clipped by the window."""

_THINNEST = 0.02
"""Structures thinner than this share of the slice (a table, letters, noise) are no body."""

_MARGIN = 0.05
"""Share of the body's extent that is left around it, so that no edge is cut."""


def find_crop_box(volume: Volume, window: WindowUsed, crop: Literal["body", "none"]) -> Box:
    """Find the part of every slice that a model is shown: the body, or all rows and columns."""
    if crop == "body":
        return find_body(volume, window)
    _, rows, columns = volume.grid.shape
    return Box(0, rows, 0, columns)


def find_body(volume: Volume, window: WindowUsed) -> Box:
    """Find the square that holds everything bright enough to be body, on any slice.

    One box serves all slices, so a small slice near the vertex stays small beside the others. Air
    fills up to two thirds of a head CT's slices, and a model resizes what it is given: without it
    a lesion covers two or three times as many of the model's pixels.

    Args:
        volume: Pictures without patient geometry, and colour ones, are kept whole, as the
            published protocols take them.
        window: What makes its values grey levels.

    Returns:
        Rows and columns, as square as the slice allows; the whole slice where nothing, or nearly
        everything, is bright.
    """
    whole = find_crop_box(volume, window, "none")
    rows, columns = whole.end_row, whole.end_column
    if volume.is_colour or not volume.grid.is_patient:
        return whole
    seen = np.zeros((rows, columns), dtype=bool)
    for _, voxels in blocks_of(volume.voxels):
        seen |= (apply_window(voxels, window) > _DARK).any(axis=0)
    thick = max(1, round(_THINNEST * max(rows, columns)))
    solid = ndimage.binary_opening(seen, np.ones((thick, thick)))
    if not solid.any():
        return whole
    across = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    side = round(max(np.ptp(places) + 1 for places in across) * (1 + 2 * _MARGIN))
    first, end = _centred(across[0], side, rows)
    left, right = _centred(across[1], side, columns)
    return Box(first, end, left, right)


def _centred(places: np.ndarray, side: int, limit: int) -> tuple[int, int]:
    """A stretch of ``side`` around the middle of the places, moved to lie within the slice."""
    if side >= limit:
        return 0, limit
    start = round((places[0] + places[-1] + 1 - side) / 2)
    start = min(max(start, 0), limit - side)
    return start, start + side
