"""Train a method: build the model, learn, set the threshold, write a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset as TorchDataset

import headclip_med
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.examples import Examples, Mosaics
from headclip_med.evaluation.threshold import healthy_threshold
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.engine.precision import settled
from headclip_med.models.inference import TrainedModel
from headclip_med.models.registry import METHODS, learning_of
from headclip_med.settings import MethodSettings, ScoreSettings, TrainSettings
from headclip_med.training.batches import Example
from headclip_med.training.features import KeptFeatures, Place, Remembered
from headclip_med.training.handlers import EpochReport, StepReport
from headclip_med.training.loop import learn
from headclip_med.training.processes import first_goes_first, joined, joined_ranks
from headclip_med.training.state import rewind


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What is trained, on what, and how.

    Attributes:
        method: One that is trained.
        model: What it is made of.
        settings: Optimiser and schedule.
        scores: How maps shall become scores.
        data: Name and digest of the data, for the checkpoint's header.
        cache: Where the frozen tower's outputs are kept, so that it runs once per image, of a
            method that can do with it. It changes nothing about the result.
        resume: Go on with a training that was stopped.
        from_epoch: With ``resume``: from the end of this epoch, and not of the last one.
    """

    method: str
    model: MethodSettings
    settings: TrainSettings
    scores: ScoreSettings
    data: Mapping[str, object]
    cache: Place | None = None
    resume: bool = False
    from_epoch: int | None = None


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


def train(
    request: TrainRequest,
    examples: TorchDataset[Example],
    backbone: Backbone,
    *,
    out: Path,
    report: Callable[[StepReport], None] = lambda step: None,
    report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
) -> Trained:
    """Train a method on a frozen backbone.

    Processes that ``torchrun`` started share every batch; the first one writes.

    Args:
        request: What is trained, and how.
        examples: The auxiliary images; see ``evaluation.examples.Examples``.
        backbone: Its weights never change.
        out: Gets the checkpoint (its method's name), ``log.jsonl`` and the state to resume from.
        report: Called after every step, in every process.
        report_epoch: Called after every epoch, likewise.

    Returns:
        Where the checkpoint is, and how the training went.

    Raises:
        InvalidSettings: There is nothing to train on, a setting does not fit the backbone, or the
            state of ``from_epoch`` is not there.
        UnusableWeights: There is no usable state to resume from.
    """
    settings, scores = request.settings, request.scores
    learning, place = learning_of(request.method), backbone.device
    model = METHODS[request.method].trainable(backbone, request.model, settings.seed)
    path = out / f"{request.method}.safetensors"
    if path.exists() and not request.resume:
        raise InvalidSettings(
            f"{out} already holds a checkpoint.",
            "Choose another folder, or add --resume.",
            code="out-exists",
        )
    with joined(place) as ranks:
        shown = _augmented(examples, settings)
        features = None
        if request.cache:
            with first_goes_first(ranks):
                features = _features(request, model, len(examples))  # type: ignore[arg-type]
            shown = Remembered(shown, features)
        out.mkdir(parents=True, exist_ok=True)
        if request.resume and request.from_epoch is not None:
            with first_goes_first(ranks):
                if ranks.first:
                    rewind(out, request.from_epoch)
        losses = learn(
            learning.network(model, settings.precision, features),
            shown,
            settings,
            folder=out,
            resume=request.resume,
            report=report,
            report_epoch=report_epoch,
        )
        threshold = healthy_threshold(model.fold(scores=scores), examples)
    about = training_record(request.data, settings, losses, place)
    if ranks.first:
        write_checkpoint(path, model, scores=scores, threshold=threshold, training=about)
    return Trained(path, tuple(losses), threshold)


def training_record(
    data: Mapping[str, object],
    settings: TrainSettings,
    losses: Sequence[float],
    place: torch.device | str,
) -> dict[str, object]:
    """Say for a checkpoint's header how it was trained.

    Args:
        data: Name and digest of the data.
        settings: Optimiser and schedule.
        losses: Mean of each epoch.
        place: Where it was trained, which decides what precision ran.
    """
    ran = settled(settings.precision, place)
    return {
        "data": dict(data),
        "settings": settings.to_json(),
        **({} if ran == settings.precision else {"precision": ran}),
        "losses": list(losses),
        "versions": {"headclip_med": headclip_med.__version__, "torch": torch.__version__},
    }


def _augmented(examples: TorchDataset[Example], settings: TrainSettings) -> TorchDataset[Example]:
    if not settings.mosaic:
        return examples
    if not isinstance(examples, Examples):
        raise InvalidSettings("Mosaics are made of a data set's images only.", "Leave mosaic at 0.")
    return Mosaics(examples, settings.mosaic, settings.seed)


def _features(request: TrainRequest, model: TrainedModel, count: int) -> KeptFeatures:
    learning, settings = learning_of(request.method), request.settings
    if learning.keep_features is None:
        kept = [m.name for m in METHODS.values() if m.learning and m.learning.keep_features]
        raise InvalidSettings(
            f"Features are cached for {' and '.join(kept)} only, not for {request.method}.",
            "Leave --cache out.",
            code="cache-method",
        )
    if settings.mosaic:
        raise InvalidSettings(
            "Features of mosaics cannot be kept, since every epoch has others.",
            "Leave mosaic at 0, or name --cache none.",
            code="cache-mosaic",
        )
    if request.cache == "ram" and joined_ranks().count > 1:
        raise InvalidSettings(
            "The memory of one process is not seen by the others.",
            "Give --cache a folder, which all of them read, or none.",
            code="cache-processes",
        )
    return learning.keep_features(
        model,
        count,
        request.cache,
        data_digest=str(request.data.get("digest")),
        precision=settings.precision,
    )
