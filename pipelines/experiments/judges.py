"""The models of an experiment: trained where they must be, built once, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headclip_med.errors import HeadClipError
from headclip_med.models.checkpoint import Checkpoint, read_checkpoint
from headclip_med.models.inference import InferenceModel
from headclip_med.models.loading import move_together, on_backbone
from headclip_med.models.registry import METHODS
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.plan import EvaluationSet, Plan
from headclip_med.pipelines.experiments.setup import Setup
from headclip_med.pipelines.experiments.trainings import (
    Training,
    forget_features,
    run_training,
    training_of,
)

Who = tuple[str, str]
"""Name of a variant, and key of what it was trained on; ``""`` for what needs no training."""


@dataclass(frozen=True, eq=False)
class Judges:
    """Models by who they are, with their variant's own way of scoring images.

    Attributes:
        models: Those that can be used; variants that differ in scores only share one network.
        trainings: Of those that were trained.
        checkpoints: That the trainings wrote, by the trainings' digests.
        failures: Why the others cannot.
    """

    models: Mapping[Who, InferenceModel]
    trainings: Mapping[Who, Training] = field(default_factory=dict)
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    failures: Mapping[Who, str] = field(default_factory=dict)

    def who(self, variant: Variant, tested: EvaluationSet) -> Who:
        """Say which model judges a set for a variant."""
        trained = METHODS[variant.method].needs_training
        return variant.name, tested.auxiliary if trained else ""


def gather_judges(plan: Plan, setup: Setup) -> Judges:
    """Train what is not there yet, and build every model.

    Raises:
        HeadClipError: Not one can be had; the first reason is told.
    """
    trainings: dict[Who, Training] = {}
    failures: dict[Who, str] = {}
    errors: list[HeadClipError] = []
    for variant, key in plan.trainings:
        trainings[variant.name, key] = training_of(variant, plan.auxiliaries[key], setup)
    checkpoints = _train(plan, trainings, setup)
    built: dict[str, InferenceModel] = {}
    models: dict[Who, InferenceModel] = {}
    for variant in plan.variants:
        trained = METHODS[variant.method].needs_training
        for key in plan.auxiliaries if trained else ("",):
            who = variant.name, key
            try:
                network = _network(variant, trainings.get(who), checkpoints, built, setup)
            except HeadClipError as error:
                failures[who] = str(error)
                errors.append(error)
                continue
            models[who] = network
    if not models and errors:
        raise errors[0]
    move_together(built.values(), setup.device)
    by_name = {variant.name: variant for variant in plan.variants}
    scored = {
        who: model.with_scores(setup.score_settings(by_name[who[0]], model.scores))
        for who, model in models.items()
    }
    read = {
        digest: checkpoint
        for digest, checkpoint in checkpoints.items()
        if isinstance(checkpoint, Checkpoint)
    }
    return Judges(scored, trainings, read, failures)


def _train(
    plan: Plan, trainings: Mapping[Who, Training], setup: Setup
) -> dict[str, Checkpoint | HeadClipError]:
    """Do every training once; one that fails costs its variant alone."""
    once: dict[str, tuple[Who, Training]] = {}
    for who, training in trainings.items():
        once.setdefault(training.digest, (who, training))
    checkpoints: dict[str, Checkpoint | HeadClipError] = {}
    features: object = None
    for number, (digest, (who, training)) in enumerate(once.items(), start=1):
        if training.features != features:  # so that they never take more than the limit
            forget_features(setup)
        features = training.features
        is_there = training.checkpoint(setup.out).is_file()
        what = f"training {number} of {len(once)}: {who[0]} on {training.data}"
        setup.say(f"{what}{' (done before)' if is_there else ''}")
        try:
            path = run_training(training, plan.auxiliaries[who[1]], setup)
            checkpoints[digest] = read_checkpoint(path)
        except HeadClipError as error:
            setup.say(f"without {who[0]}: {error}")
            checkpoints[digest] = error
    forget_features(setup)
    return checkpoints


def _network(
    variant: Variant,
    training: Training | None,
    checkpoints: Mapping[str, Checkpoint | HeadClipError],
    built: dict[str, InferenceModel],
    setup: Setup,
) -> InferenceModel:
    """Build a model, or give the one that another variant has built."""
    key = variant.method if training is None else training.digest
    if key not in built:
        if training is None:
            settings = setup.free_settings(variant.method)
            model = on_backbone(variant.method, setup.backbone, settings)
        else:
            checkpoint = checkpoints[key]
            if isinstance(checkpoint, HeadClipError):
                raise checkpoint
            model = checkpoint.build(setup.backbone)
        model.precision = setup.precision
        built[key] = model
    return built[key]
