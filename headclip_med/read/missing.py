"""Voxels that were not measured, given a value; a block of slices at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32

from headclip_med.mapped import blocks_of, release


def fill_missing(
    voxels: Float32[np.ndarray, "slices *rest"],
    is_missing: Callable[[np.ndarray], Bool[np.ndarray, "*shape"]],
    value: float | None = None,
) -> int:
    """Give every voxel that is missing one value.

    Args:
        voxels: Changed in place.
        is_missing: Marks those that are.
        value: What they are given; by default the lowest of the others, 0 where there is none.

    Returns:
        How many there were.
    """
    count, lowest = 0, []
    for _, block in blocks_of(voxels):
        missing = is_missing(block)
        count += int(np.count_nonzero(missing))
        if not missing.all():
            lowest.append(block[~missing].min())
    if not count:
        return 0
    if value is None:
        value = float(np.min(lowest)) if lowest else 0.0
    for part, block in blocks_of(voxels):
        voxels[part] = np.where(is_missing(block), np.float32(value), block)
        release(voxels)
    return count
