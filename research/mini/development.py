"""The development volumes that the learning curve looks at."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from headclip_med.synthetic.development import DevelopmentVolume, development_volume

KINDS = ("bleeding", "infarct", "collection", "mass", "many", "large", "ring", "calcified")
"""Kinds of lesion."""

CORONAL_EVERY = 8
"""Of so many pairs of a healthy and a lesioned volume, one is cut upright."""


def development_volumes(seed: int, count: int) -> list[DevelopmentVolume]:
    """Draw volumes, healthy and lesioned in turn, the kinds of lesion one after another."""
    kinds = [KINDS[index // 2 % len(KINDS)] if index % 2 else "healthy" for index in range(count)]
    return [
        development_volume(seed + index, kind, coronal=index // 2 % CORONAL_EVERY == 3)
        for index, kind in enumerate(kinds)
    ]


def windowed(
    volume: DevelopmentVolume, centre_hu: float | int = 40, width_hu: float | int = 80
) -> UInt8[np.ndarray, "slices rows columns"]:
    """Grey values of a window, 0 to 255."""
    grey = (volume.voxels_hu - centre_hu) / width_hu + 0.5
    return np.asarray((grey.clip(0, 1) * 255 + 0.5).astype(np.uint8))
