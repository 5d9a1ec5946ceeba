"""What belongs to the head in a grey picture, and how large that is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from headclip_med.transforms.symmetry.mirrors import Picture

GREY = 0.1
"""Brighter pixels may be body: the level of the left-right difference that has learnt nothing."""

_THIN = 0.01
"""Share of the picture's longer side; what is thinner is a letter, a frame or a table."""


def find_head(grey: Picture) -> Bool[np.ndarray, "rows columns"]:
    """Mark the largest bright thing with all that it encloses: no letters at the border.

    Args:
        grey: Values in [0, 1].
    """
    thick = max(1, round(_THIN * max(grey.shape)))
    solid = ndimage.binary_opening(grey > GREY, iterations=thick)
    pieces, count = ndimage.label(solid)
    if not count:
        return np.zeros(grey.shape, dtype=bool)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(pieces == sizes.argmax()))


def overlap(
    first: Bool[np.ndarray, "rows columns"], other: Bool[np.ndarray, "rows columns"]
) -> float:
    """Give Dice's coefficient of two shapes, 0 where both are empty."""
    total = int(first.sum()) + int(other.sum())
    return 2 * int((first & other).sum()) / total if total else 0.0
