"""How much each stage has to do, and how long that takes at the speed that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.predictions import choose
from headclip_med.models.clip.vision import default_image_size
from headclip_med.models.registry import DEFAULT, learning_of
from headclip_med.pipelines.experiments.definitions import EXPERIMENTS, Variant
from headclip_med.pipelines.experiments.models import Setup, Training, training_of
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan, replan
from headclip_med.pipelines.reproduce.bench import Bench
from headclip_med.pipelines.reproduce.machine import GB
from headclip_med.pipelines.reproduce.rates import Rates

LOGIT_BYTES = 4
"""Of each pixel of a model's map."""

TRUTH_BYTES = 5
"""Of each pixel of an image: its grey level, and whether it is abnormal."""


@dataclass
class StageWork:
    """What a stage has to do that no stage before it has done.

    Attributes:
        trainings: That are not there yet.
        trained_images: Times that one is trained on an image.
        asked_images: Times that a model is asked about an image.
        seconds: All of it, about; None where nothing was measured.
        disk_gb: That it leaves.
        features_gb: That trainings need meanwhile.
    """

    trainings: int = 0
    trained_images: int = 0
    asked_images: int = 0
    seconds: float | None = None
    disk_gb: float = 0.0
    features_gb: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)


@dataclass
class WorkEstimate:
    """Counts the work of stages in their order; what two of them share is counted once.

    Attributes:
        bench: What is worked with.
        rates: How fast; None where nothing was measured.
    """

    bench: Bench
    rates: Rates | None = None
    _trained: set[str] = field(default_factory=set)
    _asked: set[tuple[str, str]] = field(default_factory=set)
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def of_data(self) -> StageWork:
        """Count what opening every image takes."""
        images = sum(len(one.dataset.samples) for one in self.bench.plan.tested if one.dataset)
        return StageWork(seconds=None if self.rates is None else images * self.rates.read)

    def of_experiment(self, plan: ExperimentPlan) -> StageWork:
        """Count an experiment's trainings and questions, of every seed."""
        found = StageWork(seconds=0.0 if self.rates else None)
        for setup in self.bench.setup.quiet().of_seeds():
            trainings = self._trainings(plan, setup)
            for training in trainings.values():
                self._train(training, setup, found)
            for tested in plan.tested:
                for variant in plan.variants:
                    if tested.dataset is not None and not tested.refusal(variant.method):
                        learned = trainings.get((variant.name, tested.auxiliary))
                        network = variant.method if learned is None else learned.digest
                        self._ask(variant, tested, network, setup, found)
        return found

    def _trainings(self, plan: ExperimentPlan, setup: Setup) -> dict[tuple[str, str], Training]:
        return {
            (variant.name, key): training_of(variant, plan.auxiliaries[key], setup)
            for variant, key in plan.trainings
        }

    def _train(self, training: Training, setup: Setup, found: StageWork) -> None:
        if training.digest in self._trained or training.checkpoint(setup.out).is_file():
            return
        self._trained.add(training.digest)
        request, vision = training.request, setup.backbone.vision
        images, epochs = len(training.data.split("test").samples), request.settings.epochs
        found.trainings += 1
        found.trained_images += images * epochs
        kept = learning_of(request.method).features_bytes
        size_gb = kept(request.model, vision, images) / GB if kept else 0.0
        fits = 0 < size_gb <= setup.cache_limit_gb
        found.features_gb = max(found.features_gb, size_gb if fits else 0.0)
        if self.rates is None or found.seconds is None:
            return
        first = self.rates.first_epoch.get(request.method, 0.0)
        later = self.rates.later_epoch.get(request.method, 0.0) if fits else first
        scale = self._scale(request.method, default_image_size(request.model, vision))
        found.seconds += images * scale * (first + (epochs - 1) * later)

    def _ask(
        self, variant: Variant, tested: EvaluationSet, network: str, setup: Setup, found: StageWork
    ) -> None:
        """Count what a model is asked about a set; those of one size share the image tower."""
        if tested.dataset is None or (network, tested.name) in self._asked:
            return
        self._asked.add((network, tested.name))
        count = len(choose(tested.dataset, self.bench.request.data.limit).samples)
        size = default_image_size(setup.model_settings(variant), setup.backbone.vision)
        is_first = (tested.name, size) not in self._seen
        self._seen.add((tested.name, size))
        found.asked_images += count
        pixel_bytes = LOGIT_BYTES + (TRUTH_BYTES if is_first else 0)
        found.disk_gb += count * size**2 * pixel_bytes / GB
        if self.rates is not None and found.seconds is not None:
            each = self.rates.predict[variant.method] + self.rates.measure
            each += self.rates.trunk if is_first else 0.0
            found.seconds += count * self._scale(variant.method, size) * each

    def _scale(self, method: str, size_px: int) -> float:
        """Say how much more there is to do than where it was measured: work goes by pixels."""
        if self.rates is None:
            return 1.0
        measured = self.rates.image_size.get(method, self.rates.image_size[DEFAULT])
        return (size_px / measured) ** 2


def estimate_work(
    bench: Bench, smoke: ExperimentPlan | None, rates: Rates | None
) -> Mapping[str, StageWork]:
    """Say what the data check, the smoke test and every experiment have to do, by stage."""
    counted = WorkEstimate(bench, rates)
    found = {"data": counted.of_data()}
    if smoke is not None:
        found["smoke"] = counted.of_experiment(smoke)
    for name in bench.request.experiments:
        plan = replan_or_none(bench, name)
        if plan is not None:
            found[name] = counted.of_experiment(plan)
    return found


def replan_or_none(bench: Bench, name: str) -> ExperimentPlan | None:
    """Plan one experiment on the sets that are open; None where it has nothing to test."""
    try:
        return replan(bench.plan, EXPERIMENTS[name])
    except InvalidSettings:
        return None
