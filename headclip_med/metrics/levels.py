"""Metrics of a class in one call: of images, and of pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from headclip_med.metrics.pooled import Protocol, pool_images, pool_pixels, require_protocol

__all__ = ["Protocol", "image_metrics", "pixel_metrics"]


def image_metrics(
    scores: Float[np.ndarray, "images"], labels: Shaped[np.ndarray, "images"]
) -> dict[str, float]:
    """Judge one score per image; the same by both protocols.

    Args:
        scores: Higher is more abnormal, in any unit.
        labels: 1 abnormal, 0 normal.

    Returns:
        ``AUROC``, ``AP``, ``F1-max`` and their mean ``mAD``, fractions of 1; NaN with one class.

    Raises:
        HeadClipError: A score is not a number.
        InvalidSettings: The scores are in half precision.
        ValueError: A label is neither 0 nor 1.
    """
    return pool_images(scores, labels).metrics()


def pixel_metrics(
    maps: Float[np.ndarray, "images rows columns"],
    masks: Bool[np.ndarray, "images rows columns"],
    protocol: Protocol = "exact",
    *,
    inside: Bool[np.ndarray, "images rows columns"] | None = None,
) -> dict[str, float]:
    """Judge maps against masks, all pixels of all images of a class pooled.

    Args:
        maps: How abnormal each pixel looks, in any unit, float32 or float64; never scaled image
            by image. Scores that saturate (many equal to 1) have lost their order: give the margin
            before the softmax instead.
        masks: True where abnormal; all False for normal images, whose pixels count as well.
        protocol: ``exact``: every distinct value is a threshold. ``paper``: the threshold grids of
            the published code, whose AUPRO, F1-max and IoU-max follow the scale of the scores.
        inside: Only pixels where this is True count; all by default.

    Returns:
        ``AUROC``, ``AUPRO``, ``AP``, ``F1-max``, ``IoU-max`` and their mean ``mAD``, fractions of
        1; NaN with one class, and where the published code fails.

    Raises:
        HeadClipError: A map's value is not a number.
        InvalidSettings: The protocol is unknown, or the maps are in half precision.
    """
    require_protocol(protocol)
    return pool_pixels(maps, masks, inside=inside).metrics(protocol)
