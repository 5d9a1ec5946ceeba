"""Learning AdaCLIP's prompts and projections with its published loss; the backbone stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from headclip_med.models.adaclip import AdaClip
from headclip_med.settings import TrainSettings
from headclip_med.training.loop import Batch, Example, StepReport, learn
from headclip_med.training.losses import LossTerms, focal_loss, level_terms


def train_adaclip(
    model: AdaClip,
    examples: Dataset[Example],
    settings: TrainSettings,
    *,
    folder: Path,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
) -> list[float]:
    """Train AdaCLIP; see ``training.loop.learn``. Its sentences name each example's category.

    ``PUBLISHED_TRAINING["adaclip"]`` has the published optimiser. Two things of the published
    protocol are left out: mosaics of four images (a fifth of the time, on MVTec AD only), and
    choosing the epoch by a score on the set it is tested on.

    Args:
        model: Changed in place.
        examples: The auxiliary images, equally sized.
        settings: Optimiser and schedule; the published batch is one image.
        folder: Gets ``training-state.pt`` and ``log.jsonl``; it must exist.
        resume: Go on from the state in ``folder``.
        report: Called after every step.

    Returns:
        Mean loss of each epoch.

    Raises:
        InvalidSettings: There is nothing to train on.
        UnusableWeights: There is no usable state to resume from.
    """

    def terms_of(batch: Batch) -> LossTerms:
        features = model(model.backbone.normalise(batch.images), batch.categories)
        maps = model.level_maps(features, *batch.masks.shape[-2:]).softmax(dim=2)
        probabilities = model.image_probabilities(features)
        return adaclip_loss(
            probabilities, maps, batch.labels, batch.masks, squeezed=settings.squeezed_dice
        )

    return learn(
        model, examples, settings, terms_of, folder=folder, resume=resume, report=report
    )  # fmt: skip


def adaclip_loss(
    probabilities: Float[Tensor, "batch 2"],
    maps: Float[Tensor, "levels batch 2 height width"],
    labels: Int[Tensor, "batch"],
    masks: Float[Tensor, "batch height width"],
    *,
    squeezed: bool = True,
) -> LossTerms:
    """Compute the focal term of the image, and focal and dice terms summed over feature layers.

    Args:
        probabilities: P(normal) and P(abnormal) of each image.
        maps: Per feature layer, upsampled probabilities N and A.
        labels: 1 for abnormal images.
        masks: 1 on abnormal pixels.
        squeezed: Average the dice terms of a batch of one over image rows, as published.
    """
    # An image is a map of one pixel.
    image = focal_loss(probabilities[..., None, None], labels[:, None, None].to(probabilities))
    levels = torch.stack([level_terms(one, masks, squeezed=squeezed) for one in maps]).sum(dim=0)
    return LossTerms(image, *levels.unbind())
