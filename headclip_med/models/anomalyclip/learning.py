"""Learning AnomalyCLIP's prompts with its published loss; the backbone never changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.inference import Precision
from headclip_med.models.maps import upsample
from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Batch, Example
from headclip_med.training.handlers import EpochReport, StepReport
from headclip_med.training.loop import learn
from headclip_med.training.losses import LossTerms, level_terms
from headclip_med.training.network import Judged, LearningNetwork, mixed


def train_anomalyclip(  # noqa: PLR0913 - as train_* of every method
    model: AnomalyClip,
    examples: Dataset[Example],
    settings: TrainSettings,
    *,
    folder: Path,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
    report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
) -> list[float]:
    """Train AnomalyCLIP; see ``training.loop.learn``.

    ``PUBLISHED_TRAINING["anomalyclip"]`` has the published optimiser and weight of local terms.

    Args:
        model: Changed in place.
        examples: The auxiliary images, equally sized.
        settings: Optimiser and schedule.
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
    network = anomalyclip_network(model, precision=settings.precision)

    def terms_of(judged: Judged, batch: Batch) -> LossTerms:
        squeezed = settings.squeezed_dice and batch.whole == 1
        return anomalyclip_loss(
            judged.image, list(judged.maps), batch.labels, batch.masks, squeezed=squeezed
        )

    return learn(
        network, examples, settings, terms_of,
        folder=folder, resume=resume, report=report, report_epoch=report_epoch,
    )  # fmt: skip


def anomalyclip_network(model: AnomalyClip, *, precision: Precision = "fp32") -> LearningNetwork:
    """Give AnomalyCLIP as the trainer runs it: image logits, and maps N and A per layer.

    Args:
        model: Changed in place.
        precision: ``bf16`` runs the frozen tower's products in bfloat16.
    """

    def judge(batch: Batch) -> Judged:
        with mixed(precision, batch.images.device):
            frozen = model.freeze_features(batch.images)
        logits = model(frozen)
        size = batch.masks.shape[-2:]
        maps = [upsample(level.softmax(dim=1), *size) for level in logits.levels]
        return Judged(logits.image, torch.stack(maps))

    return LearningNetwork(model, judge)


def anomalyclip_loss(
    image_logits: Float[Tensor, "batch 2"],
    maps: Sequence[Float[Tensor, "batch 2 height width"]],
    labels: Int[Tensor, "batch"],
    masks: Float[Tensor, "batch height width"],
    *,
    squeezed: bool = True,
) -> LossTerms:
    """Compute cross-entropy of the image, and focal and dice terms summed over feature layers.

    Args:
        image_logits: Cosine over temperature of the class token; normal, abnormal.
        maps: Per feature layer, upsampled probabilities N and A.
        labels: 1 for abnormal images.
        masks: 1 on abnormal pixels.
        squeezed: Average the dice terms of a batch of one over image rows, as published.
    """
    image = functional.cross_entropy(image_logits, labels)
    levels = torch.stack([level_terms(one, masks, squeezed=squeezed) for one in maps]).sum(dim=0)
    return LossTerms(image, *levels.unbind())
