"""The regions of masks, each of which counts the same for AUPRO however large it is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from scipy.ndimage import label

_TOUCHING = np.ones((3, 3), dtype=bool)  # eight neighbours, as in the definition of AUPRO


def region_shares(
    masks: Bool[np.ndarray, "images rows columns"],
) -> tuple[Float64[np.ndarray, "abnormal"], int]:
    """Give each abnormal pixel its share of the area of its 8-connected region.

    Returns:
        The shares of abnormal pixels only, in the order of ``maps[masks]``; those of a region add
        up to 1. And how many regions there are.
    """
    shares, regions = [np.zeros(0)], 0
    for index in np.flatnonzero(masks.any(axis=(1, 2))):
        part = _cropped(masks[index])
        labels, found = label(part, structure=_TOUCHING)
        of_pixel = labels[part]
        areas = np.bincount(of_pixel, minlength=1)
        shares.append((1.0 / np.maximum(areas, 1))[of_pixel])
        regions += found
    return np.concatenate(shares), regions


def _cropped(
    mask: Bool[np.ndarray, "rows columns"],
) -> Bool[np.ndarray, "inner_rows inner_columns"]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
