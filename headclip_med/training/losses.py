"""The parts of a loss: a term of the image, and focal and two dice terms of the maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.prediction import Maps, PairMaps

FOCAL_GAMMA = 2.0
FOCAL_SMOOTHING = 1e-5
"""The one-hot target is kept this far from 0 and 1, as in the focal loss that AnomalyCLIP uses."""

DICE_SMOOTHING = 1.0


@dataclass(frozen=True, eq=False)
class LossTerms:
    """The parts of the loss, unweighted.

    Attributes:
        image: Of the image's own score (HeadCLIP eq. 9).
        focal: Over both maps (eq. 10).
        dice_normal: Of the map of normality against the healthy pixels (eq. 10).
        dice_abnormal: Of the map of abnormality against the lesion (eq. 10).
    """

    image: Float[Tensor, ""]
    focal: Float[Tensor, ""]
    dice_normal: Float[Tensor, ""]
    dice_abnormal: Float[Tensor, ""]

    def total(self, local_weight: float = 1.0) -> Float[Tensor, ""]:
        """Sum of all (eq. 11), the local terms weighted (lambda; the paper has none, so 1)."""
        return self.image + local_weight * (self.focal + self.dice_normal + self.dice_abnormal)


def focal_loss(maps: PairMaps, masks: Maps) -> Float[Tensor, ""]:
    """Average -(1 - p)^2 log p over pixels, p the probability given to the true class.

    The target is smoothed and p lifted by 1e-5, as in the published code of AnomalyCLIP.
    """
    target = torch.stack([1 - masks, masks], dim=1).clamp(FOCAL_SMOOTHING, 1 - FOCAL_SMOOTHING)
    true_class = (target * maps).sum(dim=1) + FOCAL_SMOOTHING
    return (-((1 - true_class) ** FOCAL_GAMMA) * true_class.log()).mean()


def dice_loss(probability: Maps, target: Maps) -> Float[Tensor, ""]:
    """Average 1 - (2 |P T| + 1) / (|P| + |T| + 1) over images."""
    both = (probability * target).flatten(1).sum(dim=1)
    either = probability.flatten(1).sum(dim=1) + target.flatten(1).sum(dim=1)
    return (1 - (2 * both + DICE_SMOOTHING) / (either + DICE_SMOOTHING)).mean()


def summed_terms(
    image: Float[Tensor, ""], maps: Iterable[PairMaps], masks: Maps, *, squeezed: bool
) -> LossTerms:
    """Put the term of the image beside ``level_terms``, summed over feature layers."""
    levels = torch.stack([level_terms(one, masks, squeezed=squeezed) for one in maps]).sum(dim=0)
    return LossTerms(image, *levels.unbind())


def level_terms(maps: PairMaps, masks: Maps, *, squeezed: bool = False) -> Float[Tensor, "3"]:
    """Compute focal, dice of N and dice of A for the map of one feature layer.

    Args:
        maps: Upsampled probabilities N and A.
        masks: 1 on abnormal pixels.
        squeezed: Average the dice terms of a batch of one over image rows, as the published code
            of AnomalyCLIP and AdaCLIP does, which squeezes the batch axis of its mask away.
    """
    rows = squeezed and len(masks) == 1
    normal, abnormal = (one[0, :, None] if rows else one for one in maps.unbind(1))
    target = masks[0, :, None] if rows else masks
    return torch.stack(
        [focal_loss(maps, masks), dice_loss(normal, 1 - target), dice_loss(abnormal, target)]
    )
