"""Train a method: build the model, learn, set the threshold, write a checkpoint, record it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

import headclip_med
from headclip_med.atomic import check_writable
from headclip_med.datasets import Dataset
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.examples import Examples, Mosaics, healthy_threshold, require_healthy
from headclip_med.models.checkpoint import read_checkpoint, write_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.engine.run import settled
from headclip_med.models.header import free_checkpoint
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import METHODS, learning_of
from headclip_med.ranks import torchrun_ranks
from headclip_med.settings import MethodSettings, ScoreSettings, TrainSettings
from headclip_med.tracking import Run
from headclip_med.training.batches import Example, KeptFeatures, Place, Remembered
from headclip_med.training.handlers import EpochReport, StepReport
from headclip_med.training.loop import learn
from headclip_med.training.processes import first_goes_first, joined
from headclip_med.training.state import rewind
from headclip_med.write.pictures.curves import head_weights_figure
from headclip_med.write.pictures.overlay import draw_sample

SAMPLES = 4
"""Abnormal images that are recorded, evenly spread over the data."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What is trained, on what, and how.

    Attributes:
        method: One that is trained.
        model: What it is made of.
        settings: Optimiser and schedule.
        scores: How maps shall become scores.
        data: Of the data, for the checkpoint's header; see ``described_data``.
        cache: Where the frozen tower's outputs are kept, so that it runs once per image, of a
            method that can do with it. It changes nothing about the result.
        cache_limit_gb: Most that they may take.
        needs_cache: Whether a training whose outputs cannot be kept there is refused; else the
            tower runs in every epoch.
        resume: Go on with a training that was stopped.
        from_epoch: With ``resume``: from the end of this epoch, and not of the last one.
        register: At the tracker, as the next version of this model.
    """

    method: str
    model: MethodSettings
    settings: TrainSettings
    scores: ScoreSettings
    data: Mapping[str, object]
    cache: Place | None = None
    cache_limit_gb: float = math.inf
    needs_cache: bool = True
    resume: bool = False
    from_epoch: int | None = None
    register: str | None = None


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        checkpoint: The file that ``load_model`` and ``headclip screen --model`` take.
        losses: Mean of each epoch.
        threshold: Map value from which a pixel counts as abnormal.
        registered: What the tracker calls the checkpoint, if it was registered.
        seed: It was trained with.
    """

    checkpoint: Path
    losses: tuple[float, ...]
    threshold: float
    registered: str | None = None
    seed: int = 0


def train(  # noqa: PLR0913 - what, on what, where, and who is told, each by its name
    request: TrainRequest,
    examples: TorchDataset[Example],
    backbone: Backbone,
    *,
    out: Path,
    run: Run | None = None,
    report: Callable[[StepReport], None] = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train a method on a frozen backbone.

    Processes that ``torchrun`` started share every batch; the first one writes.

    Args:
        request: What is trained, and how.
        examples: The auxiliary images; see ``evaluation.examples.Examples``.
        backbone: Its weights never change.
        out: Gets the checkpoint (its method's name), ``log.jsonl`` and the state to resume from.
        run: Where it is recorded; nowhere by default.
        report: Called after every step, in every process.
        say: Is told what kept features take, and what comes behind the last step.

    Returns:
        Where the checkpoint is, and how the training went.

    Raises:
        InvalidSettings: There is nothing to train on, a setting does not fit the backbone, features
            cannot be kept, or the state of ``from_epoch`` is not there.
        UnreadableInput: No pixel of the set is healthy.
        UnusableWeights: There is no usable state to resume from.
        UnwritableOutput: ``out`` takes no files.
    """
    settings, scores = request.settings, request.scores
    learning, place = learning_of(request.method), backbone.device
    count = len(examples)  # type: ignore[arg-type]
    if not count:
        raise InvalidSettings("There is nothing to train on.", "Name a set with images.")
    require_healthy(examples)
    record = _Record(run or Run())
    model = METHODS[request.method].trainable(backbone, request.model, settings.seed)
    path = out / f"{request.method}.safetensors"
    if not request.resume:
        free_checkpoint(out, request.method)
    cache = _cache(request, backbone, count, say)
    augmented = _augmented(examples, settings)
    check_writable(out)
    record.begin(request, backbone, count)  # what is refused above leaves no run behind

    def report_step(step: StepReport) -> None:
        report(step)
        record.step(step)

    with joined(place) as ranks:
        shown = augmented
        features: KeptFeatures | None = None
        if cache and learning.keep_features:
            digest = str(request.data.get("digest"))
            with first_goes_first(ranks):
                features = learning.keep_features(
                    model, count, cache, data_digest=digest, precision=settings.precision
                )
            shown = Remembered(shown, features)
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
            report=report_step,
            report_epoch=record.epoch,
        )
        say("choosing the threshold on healthy images")
        threshold = healthy_threshold(model.fold(scores=scores), examples)
    about = training_record(request.data, settings, losses, place)
    if ranks.first:
        write_checkpoint(path, model, scores=scores, threshold=threshold, training=about)
    trained = Trained(path, tuple(losses), threshold, seed=settings.seed)
    return replace(trained, registered=record.end(request, trained, backbone, examples))


def from_labels(
    settings: TrainSettings, dataset: Dataset, method: str, say: Callable[[str], None]
) -> TrainSettings:
    """Leave the terms of the maps out of a training on a set without masks, and say so.

    Args:
        settings: Optimiser and schedule.
        dataset: The auxiliary data.
        method: Which is trained.
        say: Takes a line.

    Returns:
        The settings as they are for a set with masks; else with ``local_weight`` 0.

    Raises:
        InvalidSettings: The method learns from maps only, or the set has images of one class only.
    """
    if dataset.level == "pixel":
        return settings
    title = METHODS[method].title
    if not learning_of(method).from_labels:
        raise InvalidSettings(
            f"{dataset.name} has no masks, and {title}'s loss has no term of the image alone.",
            "Name a set with masks, or train another method.",
            code="no-masks",
        )
    if len({one.label for one in dataset.split("test").samples}) < 2:
        raise InvalidSettings(
            f"{dataset.name} has no masks, and its images are all normal or all abnormal.",
            "Name a set with images of both kinds.",
            code="one-class",
        )
    say(
        f"{dataset.name} has no masks: {title} learns from the images' labels alone (local_weight "
        "0), so what only shapes its maps stays as it starts"
    )
    return replace(settings, local_weight=0.0)


def described_data(dataset: Dataset, doubts: Mapping[str, int]) -> dict[str, object]:
    """Say for a checkpoint's header what was learned from.

    Args:
        dataset: The auxiliary data.
        doubts: How many findings it has of each kind; see ``doubts_of``.

    Returns:
        Name, digest, the level where there are no masks, and the doubts where there are any.
    """
    found: dict[str, object] = {"name": dataset.name, "digest": dataset.content_digest}
    if dataset.level == "image":
        found["level"] = dataset.level
    return {**found, "doubts": dict(doubts)} if doubts else found


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


def _cache(
    request: TrainRequest, backbone: Backbone, count: int, say: Callable[[str], None]
) -> Place | None:
    """Say where features are kept, after a look at what they take."""
    if request.cache is None:
        return None
    refusal, features_bytes = _unkeepable(request), learning_of(request.method).features_bytes
    if refusal is None and features_bytes is not None:
        need = features_bytes(request.model, backbone.vision, count) / 1e9
        say(f"the features of {count} images take {need:.2f} GB")
        if need <= request.cache_limit_gb:
            return request.cache
        limit = f"{request.cache_limit_gb:g}"
        refusal = InvalidSettings(
            f"The features would take {need:.1f} GB, above --cache-limit-gb {limit}.",
            "Raise it, or choose a smaller image_size or --cache none.",
            code="cache-too-large",
        )
        if not request.needs_cache:
            say(f"that is above {limit} GB: the tower runs in every epoch")
    if refusal is not None and request.needs_cache:
        raise refusal
    return None


def _unkeepable(request: TrainRequest) -> InvalidSettings | None:
    """Say why features cannot be kept, however few they are."""
    if learning_of(request.method).features_bytes is None:
        kept = [m.name for m in METHODS.values() if m.learning and m.learning.features_bytes]
        return InvalidSettings(
            f"Features are cached for {' and '.join(kept)} only, not for {request.method}.",
            "Leave --cache out.",
            code="cache-method",
        )
    if request.settings.mosaic:
        return InvalidSettings(
            "Features of mosaics cannot be kept, since every epoch has others.",
            "Leave mosaic at 0, or name --cache none.",
            code="cache-mosaic",
        )
    if request.cache == "ram" and torchrun_ranks().count > 1:
        return InvalidSettings(
            "The memory of one process is not seen by the others.",
            "Give --cache a folder, which all of them read, or none.",
            code="cache-processes",
        )
    return None


class _Record:
    """Records a training as it goes on."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._epochs: set[int] = set()

    def begin(self, request: TrainRequest, backbone: Backbone, count: int) -> None:
        """Record what it is begun with."""
        if not self._run.is_recording:
            return
        self._run.parameters(
            {
                "method": request.method,
                "backbone": backbone.describe(),
                "model": request.model.to_json(),
                "training": request.settings.to_json(),
                "scores": request.scores.to_json(),
                "images": count,
                "resumed": request.resume,
            }
        )
        digest = request.data.get("digest")
        self._run.dataset(str(request.data["name"]), str(digest or ""), use="training")
        doubts = request.data.get("doubts")
        if isinstance(doubts, Mapping):
            self._run.metrics({f"doubts/{code}": float(count) for code, count in doubts.items()})

    def step(self, report: StepReport) -> None:
        """Record the losses of a step."""
        at = (report.epoch - 1) * report.steps + report.step
        self._run.metrics(_named("step", report.loss, report.terms), step=at)

    def epoch(self, report: EpochReport) -> None:
        """Record the mean losses of an epoch."""
        self._epochs.add(report.epoch)
        self._run.metrics(_named("epoch", report.loss, report.terms), step=report.epoch)

    def end(
        self,
        request: TrainRequest,
        trained: Trained,
        backbone: Backbone,
        examples: TorchDataset[Example],
    ) -> str | None:
        """Record what came out, with what the model sees in some examples; register it if asked."""
        run = self._run
        if not run.is_recording:
            return None
        for epoch, loss in enumerate(trained.losses, start=1):
            if epoch not in self._epochs:  # those before a resumption
                run.metrics({"epoch/loss": loss}, step=epoch)
        checkpoint = read_checkpoint(trained.checkpoint)
        run.metrics({"threshold": trained.threshold})
        run.tags({"checkpoint.digest": checkpoint.digest})
        run.artifact(trained.checkpoint, "checkpoint")
        model = checkpoint.build(backbone)
        if model.head_weights:
            heads = {"head weights w of eq. 4": model.head_weights}
            run.figure(head_weights_figure(heads), "head_weights.png")
        _record_samples(run, model, examples)
        if request.register is None:
            return None
        about = {
            "method": checkpoint.method,
            "backbone": checkpoint.backbone,
            "threshold": checkpoint.threshold,
            "trained_on": dict(request.data),
        }
        return run.register(trained.checkpoint, request.register, about)


def _named(before: str, loss: float, terms: Mapping[str, float]) -> dict[str, float]:
    return {f"{before}/{name}": value for name, value in {**terms, "loss": loss}.items()}


def _record_samples(run: Run, model: AnomalyModel, examples: TorchDataset[Example]) -> None:
    """Draw the next abnormal image after each of evenly spread places in the data."""
    count, drawn, after = len(examples), 0, 0  # type: ignore[arg-type]
    for start in np.linspace(0, count, SAMPLES, endpoint=False).astype(int):
        for index in range(max(int(start), after), count):
            example = examples[index]
            if example.label == 1:
                found = model.predict(example.image[None]).map[0].cpu().numpy()
                picture = example.image.permute(1, 2, 0).numpy()
                row = draw_sample(picture, found, example.mask.numpy() > 0)
                drawn, after = drawn + 1, index + 1
                run.image(row, f"samples/{drawn}.png")
                break
