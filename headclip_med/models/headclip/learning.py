"""Learning HeadCLIP's prompts and head weights; the backbone never changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch.utils.data import Dataset

from headclip_med.models.headclip.features import Features, Remembered
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.inference import Precision
from headclip_med.models.maps import upsample
from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Batch, Example
from headclip_med.training.handlers import EpochReport, StepReport
from headclip_med.training.loop import learn
from headclip_med.training.losses import LossTerms, headclip_loss
from headclip_med.training.network import Judged, LearningNetwork, TermsOf, mixed


def train_headclip(  # noqa: PLR0913 - as train_* of every method, and where features are kept
    model: HeadClip,
    examples: Dataset[Example],
    settings: TrainSettings,
    *,
    folder: Path,
    features: Features | None = None,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
    report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
) -> list[float]:
    """Train HeadCLIP; see ``training.loop.learn``.

    Args:
        model: Changed in place.
        examples: The auxiliary images, equally sized.
        settings: Optimiser and schedule.
        folder: Gets ``training-state.pt`` and ``log.jsonl``; it must exist.
        features: Keeps what the trunk makes of each image, so that it runs once per image; it
            runs in every epoch by default.
        resume: Go on from the state in ``folder``.
        report: Called after every step.
        report_epoch: Called after every epoch.

    Returns:
        Mean loss of each epoch.

    Raises:
        InvalidSettings: There is nothing to train on.
        UnusableWeights: There is no usable state to resume from.
    """
    network = headclip_network(model, features=features, precision=settings.precision)
    if features:
        examples = Remembered(examples, features)
    return learn(
        network, examples, settings, headclip_terms(settings),
        folder=folder, resume=resume, report=report, report_epoch=report_epoch,
    )  # fmt: skip


def headclip_network(
    model: HeadClip, *, features: Features | None = None, precision: Precision = "fp32"
) -> LearningNetwork:
    """Give HeadCLIP as the trainer runs it: image logits, and maps N and A.

    Args:
        model: Changed in place.
        features: Keeps what the trunk makes of each image.
        precision: ``bf16`` runs the towers' products in bfloat16; the comparison stays float32.
    """

    def judge(batch: Batch) -> Judged:
        with mixed(precision, batch.masks.device):
            frozen = features.of(batch) if features else model.freeze_features(batch.images)
            logits = model(frozen)
        maps = upsample(logits.patches.softmax(dim=1), *batch.masks.shape[-2:])
        return Judged(logits.image, maps)

    return LearningNetwork(model, judge)


def headclip_terms(settings: TrainSettings) -> TermsOf:
    """Give HeadCLIP's loss of a judged batch; see ``headclip_loss``."""

    def terms_of(judged: Judged, batch: Batch) -> LossTerms:
        squeezed = settings.squeezed_dice and batch.whole == 1
        return headclip_loss(
            judged.image, judged.maps, batch.labels, batch.masks, squeezed=squeezed
        )

    return terms_of
