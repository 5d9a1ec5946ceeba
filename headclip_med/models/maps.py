"""From features to probabilities, their log-odds and maps: HeadCLIP eq. 9 and 12."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional

from headclip_med.prediction import AnyEmbeddings, GridMaps, GridPairs, Maps, TextPair

TEMPERATURE = 0.07
"""Softmax temperature of the published code this line of work shares (AnomalyCLIP, CLIP)."""


def unit(features: AnyEmbeddings) -> AnyEmbeddings:
    """Scale feature vectors to length one, in float32."""
    return functional.normalize(features.float(), dim=-1)


def similarity_logits(
    features: AnyEmbeddings, text: TextPair, temperature: float = TEMPERATURE
) -> Float[Tensor, "*batch 2"]:
    """Compare unit features with the unit text features of normal and abnormal (eq. 9).

    Returns:
        Cosine over temperature; a softmax over the last axis gives P(normal), P(abnormal).
    """
    return features @ text.T / temperature


def upsample(
    maps: Float[Tensor, "batch channels rows columns"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """Stretch maps from the grid of patches to pixels, bilinearly (Up of eq. 12)."""
    return functional.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def patches_of(maps: Maps, patch_px: int) -> GridMaps:
    """Read the grid of patches that ``upsample`` stretched to pixels back from them, exactly.

    Stretched bilinearly, the map is a straight line from one patch's centre to the next, and level
    beyond the last. An odd patch has a pixel at its centre; of an even one the two behind it lie on
    such a line, half a pixel and one and a half away.

    Args:
        maps: Of a stretched grid, not smoothed, in [0, 1].
        patch_px: Rows and columns of a patch: 1, 3, or anything from 4.
    """
    for _ in range(2):
        middle = maps[..., patch_px // 2 :: patch_px]
        if patch_px % 2 == 0:
            middle = 1.5 * middle - 0.5 * maps[..., patch_px // 2 + 1 :: patch_px]
        maps = middle.transpose(1, 2)
    return maps.clamp(0, 1)


def in_double(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Take values to float64, or to float32 on devices that have no better.

    A graph that is exported stays float32 too: ONNX Runtime stretches no float64.
    """
    only_single = values.device.type == "mps" or torch.compiler.is_compiling()
    return values.float() if only_single else values.double()


def log_odds(
    abnormal: Float[Tensor, "*any"], normal: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Compare two complementary probabilities: log A - log N, in float32.

    Both are wanted because each is accurate near its own zero only: 1 - A is 0 long before N is.

    Args:
        abnormal: A, in [0, 1].
        normal: N = 1 - A.

    Returns:
        Finite values, whose sigmoid is A.
    """
    least = torch.finfo(abnormal.dtype).tiny
    return (abnormal.clamp_min(least).log() - normal.clamp_min(least).log()).float()


def mean_logits(levels: Iterable[GridPairs], height: int, width: int) -> Maps:
    """Turn logits of patches into the log-odds of Up((1 - N + A) / 2) (eq. 12).

    N + A is 1 for every patch, and stays so between patches: the bracket is A. Of several feature
    layers it is the mean; AnomalyCLIP's published code sums.

    Args:
        levels: Of normal and abnormal, for each feature layer.
        height: Rows of the image.
        width: Columns of the image.
    """
    probabilities = torch.stack([in_double(one).softmax(dim=1) for one in levels])
    return stretched_logits(probabilities.mean(dim=0), height, width)


def stretched_logits(probabilities: GridPairs, height: int, width: int) -> Maps:
    """Stretch P(normal) and P(abnormal) of patches to pixels, and give their log-odds."""
    normal, abnormal = upsample(probabilities, height, width).unbind(1)
    return log_odds(abnormal, normal)


def averaged_logits(first: Maps, second: Maps) -> Maps:
    """Give the log-odds of the mean of two maps that are given by their log-odds."""
    pair = in_double(torch.stack([first, second]))
    return log_odds(pair.sigmoid().mean(dim=0), (-pair).sigmoid().mean(dim=0))


def smooth_logits_and_map(logits: Maps, sigma_px: float) -> tuple[Maps, Maps]:
    """Smooth a map in its log-odds: log G(sigmoid(m)) - log G(sigmoid(-m)).

    They order pixels as the smoothed map G(sigmoid(m)) does, also where float32 rounds that to 1.

    Args:
        logits: Log-odds of a map.
        sigma_px: As for ``smooth``.

    Returns:
        The smoothed log-odds, and the smoothed map in float64.
    """
    exact = in_double(logits)
    abnormal, normal = (smooth(one.sigmoid(), sigma_px) for one in (exact, -exact))
    return log_odds(abnormal, normal), abnormal


def smooth(maps: Maps, sigma_px: float) -> Maps:
    """Blur with a Gaussian as ``scipy.ndimage.gaussian_filter`` does: reflected, cut at 4 sigma."""
    if sigma_px == 0:
        return maps
    down, across = (
        torch.from_numpy(_blur_matrix(int(size), sigma_px)).to(maps.dtype).to(maps.device)
        for size in maps.shape[-2:]
    )
    return down @ maps @ across.T


@lru_cache(maxsize=16)
def _blur_matrix(size: int, sigma_px: float) -> Float[np.ndarray, "size size"]:
    """The filter along one axis as a matrix: any border rule is exact, on any device."""
    return np.asarray(gaussian_filter1d(np.eye(size), sigma_px, axis=0))
