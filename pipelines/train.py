"""Train a method: build the model, learn, set the threshold, write a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

import headclip_med
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.examples import Examples, Mosaics
from headclip_med.models.adaclip.learning import train_adaclip
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.anomalyclip.learning import train_anomalyclip
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.headclip.features import Features, Place
from headclip_med.models.headclip.learning import train_headclip
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.model import AnomalyModel
from headclip_med.settings import HeadClipSettings, ScoreSettings, TrainSettings
from headclip_med.settings_learned import AnomalyClipSettings, LearnedSettings
from headclip_med.training.batches import Example
from headclip_med.training.handlers import EpochReport, StepReport
from headclip_med.training.loop import threshold_at_specificity
from headclip_med.training.processes import first_goes_first, joined, joined_ranks
from headclip_med.training.state import rewind

LearnedMethod = HeadClip | AnomalyClip | AdaClip

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
    model_settings: LearnedSettings,
    settings: TrainSettings,
    scores: ScoreSettings,
    cache: Place | None = None,
    resume: bool = False,
    from_epoch: int | None = None,
    report: Callable[[StepReport], None] = lambda step: None,
    report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
) -> Trained:
    """Train a method on a frozen backbone; which one, the type of ``model_settings`` says.

    Processes that ``torchrun`` started share every batch; the first one writes.

    Args:
        examples: The auxiliary images; see ``pipelines.examples.Examples``.
        backbone: Its weights never change.
        out: Gets the checkpoint (its method's name), ``log.jsonl`` and the state to resume from.
        data: Name and digest of the data, for the checkpoint's header.
        model_settings: What the model is made of.
        settings: Optimiser and schedule.
        scores: How maps shall become scores.
        cache: Where the frozen trunk's outputs are kept, so that it runs once per image;
            HeadCLIP only. It changes nothing about the result.
        resume: Go on with a training that was stopped.
        from_epoch: With ``resume``: from the end of this epoch, and not of the last one.
        report: Called after every step, in every process.
        report_epoch: Called after every epoch, likewise.

    Returns:
        Where the checkpoint is, and how the training went.

    Raises:
        InvalidSettings: There is nothing to train on, a setting does not fit the backbone, or the
            state of ``from_epoch`` is not there.
        UnusableWeights: There is no usable state to resume from.
    """
    model = build(backbone, model_settings, seed=settings.seed)
    path = out / f"{model.method}.safetensors"
    if path.exists() and not resume:
        raise InvalidSettings(
            f"{out} already holds a checkpoint.",
            "Choose another folder, or add --resume.",
            code="out-exists",
        )
    where: dict[str, Any] = {
        "folder": out, "resume": resume, "report": report, "report_epoch": report_epoch,
    }  # fmt: skip
    with joined(backbone.get_buffer("_mean").device) as ranks:
        if cache:
            with first_goes_first(ranks):
                where["features"] = _features(
                    model, len(examples), cache, settings,  # type: ignore[arg-type]
                    data_digest=str(data.get("digest")),
                )  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)
        if resume and from_epoch is not None:
            with first_goes_first(ranks):
                if ranks.first:
                    rewind(out, from_epoch)
        losses = _learn(model, _augmented(examples, settings), settings, **where)
        threshold = healthy_threshold(model.fold(scores=scores), examples)
    training = training_record(data, settings, losses)
    if ranks.first:
        write_checkpoint(path, model, scores=scores, threshold=threshold, training=training)
    return Trained(path, tuple(losses), threshold)


def training_record(
    data: Mapping[str, object], settings: TrainSettings, losses: Sequence[float]
) -> dict[str, object]:
    """Say for a checkpoint's header how it was trained.

    Args:
        data: Name and digest of the data.
        settings: Optimiser and schedule.
        losses: Mean of each epoch.
    """
    return {
        "data": dict(data),
        "settings": settings.to_json(),
        "losses": list(losses),
        "versions": {"headclip_med": headclip_med.__version__, "torch": torch.__version__},
    }


def build(backbone: Backbone, settings: LearnedSettings, *, seed: int) -> LearnedMethod:
    """Build the trainable form that settings describe.

    Args:
        backbone: The towers.
        settings: Their type says which method.
        seed: Of what is learned, at its start.

    Raises:
        InvalidSettings: A setting does not fit the backbone.
    """
    place = backbone.get_buffer("_mean").device
    if isinstance(settings, HeadClipSettings):
        return HeadClip(backbone, settings, seed=seed).to(place)
    if isinstance(settings, AnomalyClipSettings):
        return AnomalyClip(backbone, settings, seed=seed).to(place)
    return AdaClip(backbone, settings, seed=seed).to(place)


def _learn(
    model: LearnedMethod, examples: TorchDataset[Example], settings: TrainSettings, **where: Any
) -> list[float]:
    if isinstance(model, HeadClip):
        return train_headclip(model, examples, settings, **where)
    if isinstance(model, AnomalyClip):
        return train_anomalyclip(model, examples, settings, **where)
    return train_adaclip(model, examples, settings, **where)


def _augmented(examples: TorchDataset[Example], settings: TrainSettings) -> TorchDataset[Example]:
    if not settings.mosaic:
        return examples
    if not isinstance(examples, Examples):
        raise InvalidSettings("Mosaics are made of a data set's images only.", "Leave mosaic at 0.")
    return Mosaics(examples, settings.mosaic, settings.seed)


def _features(
    model: LearnedMethod, count: int, cache: Place, settings: TrainSettings, *, data_digest: str
) -> Features:
    if not isinstance(model, HeadClip):
        raise InvalidSettings(
            f"Features are cached for headclip only, not for {model.method}.",
            "Leave --cache out.",
            code="cache-method",
        )
    if settings.mosaic:
        raise InvalidSettings(
            "Features of mosaics cannot be kept, since every epoch has others.",
            "Leave --mosaic at 0, or name --cache none.",
            code="cache-mosaic",
        )
    if cache == "ram" and joined_ranks().count > 1:
        raise InvalidSettings(
            "The memory of one process is not seen by the others.",
            "Give --cache a folder, which all of them read, or none.",
            code="cache-processes",
        )
    return Features(model, count, cache, data_digest=data_digest, precision=settings.precision)


def healthy_threshold(model: AnomalyModel, examples: TorchDataset[Example]) -> float:
    """Find the map value that ``THRESHOLD_SPECIFICITY`` of the healthy pixels stay below.

    Args:
        model: In the form that is used.
        examples: Up to ``THRESHOLD_IMAGES`` of them are looked at.
    """
    count = len(examples)  # type: ignore[arg-type]
    chosen = np.unique(np.linspace(0, count - 1, min(count, THRESHOLD_IMAGES)).round().astype(int))
    healthy = []
    for number in chosen:
        example = examples[int(number)]
        found = model.predict(example.image[None]).map[0].cpu()
        healthy.append(found[example.mask == 0])
    return threshold_at_specificity(torch.cat(healthy), THRESHOLD_SPECIFICITY)
