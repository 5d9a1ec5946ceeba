"""Learning AdaCLIP's prompts and projections with its published loss; the backbone stays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.inference import Precision
from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Batch, Example
from headclip_med.training.handlers import EpochReport, StepReport
from headclip_med.training.loop import learn
from headclip_med.training.losses import LossTerms, focal_loss, level_terms
from headclip_med.training.network import Judged, LearningNetwork, mixed


def train_adaclip(  # noqa: PLR0913 - as train_* of every method
    model: AdaClip,
    examples: Dataset[Example],
    settings: TrainSettings,
    *,
    folder: Path,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
    report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
) -> list[float]:
    """Train AdaCLIP; see ``training.loop.learn``. Its sentences name each example's category.

    ``PUBLISHED_TRAINING["adaclip"]`` has the published optimiser. One thing of the published
    protocol is left out: choosing the epoch by a score on the set it is tested on.

    Args:
        model: Changed in place.
        examples: The auxiliary images, equally sized.
        settings: Optimiser and schedule; the published batch is one image.
        folder: Gets ``training-state.pt`` and ``log.jsonl``; it must exist.
        resume: Go on from the state in ``folder``.
        report: Called after every step.
        report_epoch: Called after every epoch.

    Returns:
        Mean loss of each epoch.

    Raises:
        InvalidSettings: There is nothing to train on.
        UnusableWeights: There is no usable state to resume from.
    """
    network = adaclip_network(model, precision=settings.precision)

    def terms_of(judged: Judged, batch: Batch) -> LossTerms:
        squeezed = settings.squeezed_dice and batch.whole == 1
        return adaclip_loss(judged.image, judged.maps, batch.labels, batch.masks, squeezed=squeezed)

    return learn(
        network, examples, settings, terms_of,
        folder=folder, resume=resume, report=report, report_epoch=report_epoch,
    )  # fmt: skip


def adaclip_network(model: AdaClip, *, precision: Precision = "fp32") -> LearningNetwork:
    """Give AdaCLIP as the trainer runs it: image probabilities, and maps N and A per layer.

    Args:
        model: Changed in place.
        precision: ``bf16`` runs the image tower's products in bfloat16.
    """

    def judge(batch: Batch) -> Judged:
        images, trunk = model.backbone.normalise(batch.images), partial(mixed, precision)
        with trunk(images.device):
            plain = model.plain_feature(images) if model.needs_plain else None
        features = model(images, batch.categories, plain=plain, trunk=lambda: trunk(images.device))
        maps = model.level_maps(features, *batch.masks.shape[-2:]).softmax(dim=2)
        return Judged(model.image_probabilities(features), maps)

    return LearningNetwork(model, judge)


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
