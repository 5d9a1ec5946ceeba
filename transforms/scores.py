"""From maps to scores: a slice's local and joint score, and the study's (HeadCLIP, JAS)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from headclip_med.settings import ScreenSettings, top_count


def local_score(
    maps: Float[np.ndarray, "slices rows columns"], top_percent: float
) -> Float[np.ndarray, "slices"]:
    """Average the largest pixels of each map (HeadCLIP eq. 7).

    Args:
        maps: How abnormal each pixel (or patch) looks, in [0, 1].
        top_percent: k; this percentage of the pixels counts, rounded down, at least one pixel.

    Returns:
        S_local of each slice.
    """
    pixels = maps.shape[1] * maps.shape[2]
    counted = top_count(pixels, top_percent)
    # One slice at a time: a partition of the whole volume would copy it.
    tops = [np.partition(one, pixels - counted, axis=None)[pixels - counted :] for one in maps]
    return np.array([top.mean(dtype=np.float64) for top in tops], dtype=np.float64)


def joint_score(
    global_scores: Float[np.ndarray, "slices"],
    local_scores: Float[np.ndarray, "slices"],
    joint_weight: float,
) -> Float[np.ndarray, "slices"]:
    """Blend global and local scores (HeadCLIP eq. 8): r S_global + (1 - r) S_local."""
    return np.asarray(joint_weight * global_scores + (1 - joint_weight) * local_scores)


def joined_scores(
    own: Float[np.ndarray, "images"], sides: Float[np.ndarray, "images"]
) -> Float[np.ndarray, "images"]:
    """Join a method's scores with those of both sides' difference: (S_own + S_sides) / 2.

    Both are on one scale: equal values are equally rare among healthy heads, and so is their mean.

    Args:
        own: In [0, 1].
        sides: In [0, 1]; NaN where no sides were compared, which leaves the method's score.
    """
    return np.asarray(np.where(np.isnan(sides), own, (own + sides) / 2))


def joined_maps(
    own: Float[np.ndarray, "*any"], sides: Float[np.ndarray, "*any"]
) -> Float[np.ndarray, "*any"]:
    """Join a method's maps with those of both sides' difference: the higher of both.

    What the method found is never lowered; where sides are alike it stays as it is, to the bit.
    """
    return np.asarray(np.maximum(own, sides))


def pool_slices(slice_scores: Float[np.ndarray, "slices"], settings: ScreenSettings) -> float:
    """Pool slice scores into the study's, as ``settings.pooling`` says.

    With fewer slices than ``pooled_slices`` all of them are averaged.
    """
    if settings.pooling == "mean":
        return float(slice_scores.mean())
    counted = settings.pooled_slices if settings.pooling == "top-slices" else 1
    return float(np.sort(slice_scores)[-counted:].mean())
