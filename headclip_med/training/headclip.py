"""Learning HeadCLIP's prompts and head weights; the backbone never changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch.utils.data import Dataset

from headclip_med.models.headclip import HeadClip
from headclip_med.models.similarity import upsample
from headclip_med.settings import TrainSettings
from headclip_med.training.features import Features, Remembered
from headclip_med.training.loop import Batch, Example, StepReport, learn
from headclip_med.training.losses import LossTerms, headclip_loss


def train_headclip(  # noqa: PLR0913 - as train_* of every method, and where features are kept
    model: HeadClip,
    examples: Dataset[Example],
    settings: TrainSettings,
    *,
    folder: Path,
    features: Features | None = None,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
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

    Returns:
        Mean loss of each epoch.

    Raises:
        InvalidSettings: There is nothing to train on.
        UnusableWeights: There is no usable state to resume from.
    """

    def terms_of(batch: Batch) -> LossTerms:
        logits = model(features.of(batch) if features else model.freeze_features(batch.images))
        maps = upsample(logits.patches.softmax(dim=1), *batch.masks.shape[-2:])
        return headclip_loss(logits.image, maps, batch.labels, batch.masks)

    if features:
        examples = Remembered(examples, features)
    return learn(
        model, examples, settings, terms_of, folder=folder, resume=resume, report=report
    )  # fmt: skip
