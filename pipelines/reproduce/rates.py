"""How fast this machine is: every kind of work done for some seconds, on the sets themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from headclip_med.datasets import Dataset, join_datasets, read_image, read_mask
from headclip_med.errors import HeadClipError
from headclip_med.evaluation.examples import Examples
from headclip_med.evaluation.measure import measure
from headclip_med.evaluation.predictions import Predictions, predict_dataset
from headclip_med.models.clip.vision import default_image_size
from headclip_med.models.inference import InferenceModel
from headclip_med.models.loading import move_together
from headclip_med.models.registry import DEFAULT, METHODS
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.models import FEATURES, training_of
from headclip_med.pipelines.experiments.results import MEASURES
from headclip_med.pipelines.reproduce.bench import Bench
from headclip_med.pipelines.train import train
from headclip_med.training.handlers import StepReport

BUDGET_S = 60.0
"""For all kinds of work together, about; less where a few images are the whole set."""

FEWEST = 4
"""Images that a rate is measured on at first, where there are as many."""

TWO_EPOCHS = 2
"""In the first the frozen tower runs, in the second its outputs may be kept."""


@dataclass(frozen=True)
class Rates:
    """Seconds per image of every kind of work, at the size that methods see by default.

    Attributes:
        read: To open an image and its mask.
        trunk: To run the image tower, shared by all models that see an image at one size.
        predict: By method, what each model adds to that.
        first_epoch: By method, to train on an image for the first time.
        later_epoch: The same once the tower's outputs are kept, where they can be.
        measure: To measure a model's predictions.
        image_size: By method, rows and columns of its input.
        device_peak_gb: Most memory of the device that was in use; None without one of its own.
        unmeasured: Methods that could not be tried, and why.
    """

    read: float
    trunk: float
    predict: Mapping[str, float]
    first_epoch: Mapping[str, float]
    later_epoch: Mapping[str, float]
    measure: float
    image_size: Mapping[str, int]
    device_peak_gb: float | None
    unmeasured: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Give them as plain values."""
        return asdict(self)


def measure_rates(bench: Bench, *, budget_s: float | None = None) -> Rates:
    """Do a little of everything, and time it; nothing of it is kept.

    Args:
        bench: What is worked with.
        budget_s: For everything, about; the first round of each kind of work is never cut short.

    Raises:
        HeadClipError: The sets cannot be read, or a batch does not fit the device.
    """
    variants = {one.method: one for one in bench.plan.variants}
    trained = [name for name in variants if METHODS[name].needs_training]
    budget_s = BUDGET_S if budget_s is None else budget_s
    share = budget_s / (2 + len(variants) + 1 + len(trained))
    data = _most_telling(bench)
    models = {name: _model(bench, one) for name, one in variants.items()}
    twin = _model(bench, variants[DEFAULT])
    move_together([*models.values(), twin], bench.setup.device)
    asked = _Asking(bench, data, share)
    alone = asked.seconds(models[DEFAULT])
    own = max(0.0, asked.seconds(models[DEFAULT], twin) - alone)
    predict = {DEFAULT: own} | {
        name: max(0.0, asked.seconds(models[DEFAULT], model) - alone)
        for name, model in models.items()
        if name != DEFAULT
    }
    first, later, failed = _training_rates(bench, [variants[name] for name in trained], share)
    return Rates(
        read=_rate(lambda count: _read_seconds(data, count), len(data.samples), share),
        trunk=max(0.0, alone - own),
        predict=predict,
        first_epoch=first,
        later_epoch=later,
        measure=asked.measuring(models[DEFAULT]),
        image_size={name: model.image_size for name, model in models.items()},
        device_peak_gb=_peak_gb(bench),
        unmeasured=failed,
    )


def thinned(dataset: Dataset, count: int) -> Dataset:
    """Keep so many of a set's test images, evenly spread."""
    samples = dataset.split("test").samples
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round())
    return replace(dataset, samples=tuple(samples[int(place)] for place in places))


def _most_telling(bench: Bench) -> Dataset:
    """Choose a set to be asked about, with masks where there is one."""
    found = [one.dataset for one in bench.plan.tested if one.dataset]
    return next((one for one in found if one.level == "pixel"), found[0])


def _model(bench: Bench, variant: Variant) -> InferenceModel:
    setup = bench.setup
    method = METHODS[variant.method]
    return method.build(bench.own_setup().backbone, setup.model_settings(variant), 0)


def _rate(seconds: Callable[[int], float], most: int, share_s: float) -> float:
    """Time work on a few images, and then on as many as fit into its share of time.

    Args:
        seconds: Does the work on so many images; seconds for all of them.
        most: Images that there are.
        share_s: For this work.
    """
    count = min(FEWEST, most)
    took = seconds(count)
    more = min(most, int(count * share_s / max(took, 1e-6)))
    if more >= 2 * count:
        count, took = more, seconds(more)
    return took / count


@dataclass
class _Asking:
    """Shows images to models, and remembers what one said."""

    bench: Bench
    data: Dataset
    share_s: float
    said: Predictions | None = None

    def seconds(self, *models: InferenceModel) -> float:
        """Time how long models take together, per image."""

        def ask(count: int) -> float:
            few, began = thinned(self.data, count), time.monotonic()
            answers = predict_dataset(few, models, batch_size=self.bench.setup.batch_size)
            self.said = answers[0]
            return time.monotonic() - began

        return _rate(ask, len(self.data.split("test").samples), self.share_s)

    def measuring(self, model: InferenceModel) -> float:
        """Time how long it takes to measure what a model said last, per image."""
        if self.said is None:
            raise AssertionError("models are asked before they are measured")
        began = time.monotonic()
        measure(self.said, model.scores, MEASURES)
        return (time.monotonic() - began) / len(self.said.labels)


def _read_seconds(data: Dataset, count: int) -> float:
    began = time.monotonic()
    for sample in thinned(data, count).samples:
        read_image(sample)
        if sample.mask_paths:
            read_mask(sample)
    return time.monotonic() - began


def _training_rates(
    bench: Bench, variants: list[Variant], share_s: float
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Train each method for two short epochs: seconds per image of both, and what failed."""
    first: dict[str, float] = {}
    later: dict[str, float] = {}
    failed: dict[str, str] = {}
    sets = next(iter(bench.plan.auxiliaries.values()), None)
    for variant in variants if sets else ():
        data, most = join_datasets(sets or ()), len(join_datasets(sets or ()).samples)
        try:
            count = min(2 * bench.setup.train_settings(variant.method).batch_size, most)
            rates, took = _train_few(bench, variant, thinned(data, max(count, FEWEST)))
            more = min(most, int(count * share_s / max(took, 1e-6)))
            if more >= 2 * count:
                rates, _ = _train_few(bench, variant, thinned(data, more))
        except HeadClipError as error:
            failed[variant.method] = str(error)
        else:
            first[variant.method], later[variant.method] = rates
    return first, later, failed


def _train_few(bench: Bench, variant: Variant, few: Dataset) -> tuple[tuple[float, float], float]:
    """Train on a few images: seconds per image of the first and the second epoch, and in all."""
    setup = bench.setup.quiet()
    request = training_of(variant, [few], setup).request
    examples = Examples(few, default_image_size(request.model, setup.backbone.vision))
    steps: list[tuple[int, float]] = []

    def report(step: StepReport) -> None:
        steps.append((step.epoch, time.monotonic()))

    with TemporaryDirectory(prefix="headclip-rates-") as folder:
        request = replace(
            request,
            settings=replace(request.settings, epochs=TWO_EPOCHS),
            cache=Path(folder, FEATURES),
            cache_limit_gb=setup.cache_limit_gb,
            needs_cache=False,
        )
        began, backbone = time.monotonic(), setup.backbone_to_train()
        train(request, examples, backbone, out=Path(folder, "out"), report=report)
        took = time.monotonic() - began
    batch = min(request.settings.batch_size, len(examples))
    return (_per_image(steps, 1, began, batch), _per_image(steps, TWO_EPOCHS, began, batch)), took


def _per_image(steps: list[tuple[int, float]], epoch: int, began: float, batch_size: int) -> float:
    """Average the steps of an epoch, without its first where there are more: it sets things up."""
    ends = [began, *(time for _, time in steps)]
    took = [
        after - before
        for (number, after), before in zip(steps, ends, strict=False)
        if number == epoch
    ]
    counted = took[1:] or took
    return sum(counted) / len(counted) / batch_size


def _peak_gb(bench: Bench) -> float | None:
    import torch

    device = bench.setup.device
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
