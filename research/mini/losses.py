"""What the embedded backbone's pretraining minimises."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

_LEAST = 1e-4
"""Probabilities are kept this far from 0 and 1 before a logarithm."""

Map = Float[Tensor, "batch rows columns"]


def plain_focal_loss(probability: Map, mask: Map, power: float = 2.0) -> Float[Tensor, ""]:
    """Focal loss (Lin et al. 2017) of the map, without class weights."""
    right = torch.where(mask > 0.5, probability, 1 - probability).clamp(_LEAST, 1)
    return (-((1 - right) ** power) * right.log()).mean()


def pixel_loss(probability: Map, mask: Map, emphasis: Map, positives: float) -> Float[Tensor, ""]:
    """Cross-entropy of the map; a defective pixel counts ``positives`` times its emphasis."""
    weight = 1 + (positives * emphasis - 1).clamp(min=0) * mask
    safe = probability.clamp(_LEAST, 1 - _LEAST)
    return functional.binary_cross_entropy(safe, mask, weight=weight)


def pixel_logit_loss(logit: Map, mask: Map, emphasis: Map, positives: float) -> Float[Tensor, ""]:
    """``pixel_loss`` of a map of logits."""
    weight = 1 + (positives * emphasis - 1).clamp(min=0) * mask
    return functional.binary_cross_entropy_with_logits(logit, mask, weight=weight)


def top_loss(
    probability: Map, mask: Map, labels: Bool[Tensor, "batch"], percent: float
) -> Float[Tensor, ""]:
    """Cross-entropy between a picture's label and the mean of its map's highest pixels.

    A healthy picture is judged by its highest ``percent`` and by a third of that; an abnormal one
    by as many pixels as its defect has, within the same two limits, since a small defect cannot
    fill the larger share.
    """
    pixels = probability.shape[1] * probability.shape[2]
    most = max(1, round(pixels * percent / 100))
    least = max(1, most // 3)
    highest = probability.flatten(1).topk(most, dim=1).values
    means = highest.cumsum(1) / torch.arange(1, most + 1, device=probability.device)
    area = mask.flatten(1).sum(1).long().clamp(least, most)
    abnormal = means.gather(1, area[:, None] - 1)[:, 0].clamp(_LEAST, 1)
    healthy = ((1 - means[:, most - 1]).clamp(min=_LEAST).log()) / 2
    healthy = healthy + (1 - means[:, least - 1]).clamp(min=_LEAST).log() / 2
    return -torch.where(labels, abnormal.log(), healthy).mean()


def caption_loss(
    images: Float[Tensor, "batch joint"],
    texts: Float[Tensor, "batch joint"],
    tokens: Int[Tensor, "batch context"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """CLIP's symmetric contrast; pictures with equal captions share the target."""
    logits = scale * images @ texts.T
    equal = (tokens[:, None] == tokens[None]).all(-1).float()
    target = equal / equal.sum(1, keepdim=True)
    rows = -(target * logits.log_softmax(1)).sum(1).mean()
    columns = -(target.T * logits.T.log_softmax(1)).sum(1).mean()
    return (rows + columns) / 2
