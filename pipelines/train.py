"""Train HeadCLIP: build the model, learn, set the threshold, write a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

import headclip_med
from headclip_med.errors import InvalidSettings
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip import Backbone
from headclip_med.models.headclip import HeadClip
from headclip_med.settings import HeadClipSettings, ScoreSettings, TrainSettings
from headclip_med.training.headclip import (
    Example,
    StepReport,
    threshold_at_specificity,
    train_headclip,
)

CHECKPOINT_FILE = "headclip.safetensors"

THRESHOLD_SPECIFICITY = 0.995
"""Share of healthy pixels of the auxiliary data that stay below the threshold."""

THRESHOLD_IMAGES = 64
"""Images that the threshold is set on, evenly spread over the data."""


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        checkpoint: The file that ``load_model`` and ``headclip screen --model`` take.
        losses: Mean of each epoch.
        threshold: Map value from which a pixel counts as abnormal.
    """

    checkpoint: Path
    losses: tuple[float, ...]
    threshold: float


def train(  # noqa: PLR0913 - what is trained, on what, how and where, each by its name
    examples: TorchDataset[Example],
    backbone: Backbone,
    *,
    out: Path,
    data: Mapping[str, object],
    model_settings: HeadClipSettings,
    settings: TrainSettings,
    scores: ScoreSettings,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
) -> Trained:
    """Train HeadCLIP on a frozen backbone.

    Args:
        examples: The auxiliary images; see ``pipelines.examples.Examples``.
        backbone: Its weights never change.
        out: Gets the checkpoint, ``log.jsonl`` and the state to resume from.
        data: Name and digest of the data, for the checkpoint's header.
        model_settings: What the model is made of.
        settings: Optimiser and schedule.
        scores: How maps shall become scores.
        resume: Go on with a training that was stopped.
        report: Called after every step.

    Returns:
        Where the checkpoint is, and how the training went.

    Raises:
        InvalidSettings: There is nothing to train on, or a setting does not fit the backbone.
        UnusableWeights: There is no usable state to resume from.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT_FILE).exists() and not resume:
        raise InvalidSettings(
            f"{out} already holds a checkpoint; choose another folder, or add --resume.",
            code="out-exists",
        )
    model = HeadClip(backbone, model_settings, seed=settings.seed)
    losses = train_headclip(model, examples, settings, folder=out, resume=resume, report=report)
    threshold = _threshold(model, examples, scores)
    path = out / CHECKPOINT_FILE
    training = {
        "data": dict(data),
        "settings": settings.to_json(),
        "losses": losses,
        "versions": {"headclip_med": headclip_med.__version__, "torch": torch.__version__},
    }
    write_checkpoint(path, model, scores=scores, threshold=threshold, training=training)
    return Trained(path, tuple(losses), threshold)


def _threshold(model: HeadClip, examples: TorchDataset[Example], scores: ScoreSettings) -> float:
    folded = model.fold(scores=scores)
    count = len(examples)  # type: ignore[arg-type]
    chosen = np.unique(np.linspace(0, count - 1, min(count, THRESHOLD_IMAGES)).round().astype(int))
    healthy = []
    for number in chosen:
        example = examples[int(number)]
        found = folded.predict(example.image[None]).map[0].cpu()
        healthy.append(found[example.mask == 0])
    return threshold_at_specificity(torch.cat(healthy), THRESHOLD_SPECIFICITY)
