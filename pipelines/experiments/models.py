"""What an experiment runs on, and its models: trained where they must be, built side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

from headclip_med.datasets import Dataset, doubts_of, join_datasets
from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.evaluation.examples import Examples
from headclip_med.models.checkpoint import Checkpoint, read_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import default_image_size
from headclip_med.models.inference import InferenceModel
from headclip_med.models.loading import move_together, on_backbone
from headclip_med.models.registry import DEFAULT, METHODS, learning_of
from headclip_med.pipelines.experiments.definitions import (
    ExperimentDefinition,
    Variant,
    scaled_layers,
    scaled_size,
)
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan
from headclip_med.pipelines.train import TrainRequest, from_labels, train
from headclip_med.settings import (
    MOST_SEEDS,
    MethodSettings,
    Precision,
    ScoreSettings,
    ScreenSettings,
    TrainSettings,
    require,
)
from headclip_med.store import Entry, digest_of
from headclip_med.training.handlers import StepReport
from headclip_med.training.state import STATE_FILE

_MEMORY = torch.device("cpu")


@dataclass(frozen=True)
class Setup:
    """Where and how an experiment runs.

    Attributes:
        backbone: In main memory; what is trained and what judges is moved from there.
        out: Gets tables, trainings and predictions.
        device: What everything is computed on.
        training: Fields of ``TrainSettings`` to change, of every method that is trained.
        model: Fields of ``HeadClipSettings`` to change; ``image_size`` is that of every method.
        scores: Fields of ``ScoreSettings`` to change, of every method.
        batch_size: Images per forward pass when predicting.
        precision: Of that pass.
        seeds: How many seeds everything that is trained is trained with, from the one in
            ``training`` on.
        cache_limit_gb: Most that the frozen tower's outputs of training images may take on disk
            while trainings need them; 0 keeps none, and the tower runs in every epoch.
        say: Is told in a sentence what is being done.
        begin: Is told how many of what come next: ``step`` of a training, ``image``, ...
        seen: Is told how many of them were done since it was last told.
        step: Is told of every step of a training.
    """

    backbone: Backbone
    out: Path
    device: torch.device = _MEMORY
    training: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8
    precision: Precision = "fp32"
    seeds: int = 1
    cache_limit_gb: float = 4.0
    say: Callable[[str], None] = lambda text: None
    begin: Callable[[int, str], None] = lambda total, unit: None
    seen: Callable[[int], None] = lambda count: None
    step: Callable[[StepReport], None] = lambda report: None

    def __post_init__(self) -> None:
        """Check what would otherwise be refused after hours of training.

        Raises:
            InvalidSettings: A setting is outside its range.
        """
        ScoreSettings(**self.scores)
        ScreenSettings(batch_size=self.batch_size)
        METHODS[DEFAULT].settings.changed(**self.model)
        TrainSettings(**self.training)
        require(1 <= self.seeds <= MOST_SEEDS, f"seeds must lie from 1 to {MOST_SEEDS}.")

    @property
    def train_seed(self) -> int:
        """The first seed that is trained with."""
        return TrainSettings(**self.training).seed

    def quiet(self) -> Setup:
        """Give the same, of which nobody is told."""
        told = ("say", "begin", "seen", "step")
        usual: dict[str, Any] = {one.name: one.default for one in fields(self) if one.name in told}
        return replace(self, **usual)

    def of_seeds(self) -> list[Setup]:
        """Give the setup of each seed."""
        return [
            replace(self, seeds=1, training={**self.training, "seed": self.train_seed + number})
            if number
            else replace(self, seeds=1)
            for number in range(self.seeds)
        ]

    @property
    def changes(self) -> dict[str, Mapping[str, Any]]:
        """Give what is changed, by what it belongs to."""
        return {"training": self.training, "model": self.model, "scores": self.scores}

    def backbone_to_train(self) -> Backbone:
        """Give the backbone on the device; the one in main memory stays where it is."""
        if self.device.type == "cpu":
            return self.backbone
        return deepcopy(self.backbone).to(self.device)

    def model_settings(self, variant: Variant) -> MethodSettings:
        """Settle what a model is made of; of what is changed, only its size is every method's."""
        usual = METHODS[variant.method].usual_settings(self.backbone.name)
        if variant.method != DEFAULT:
            size = {name: value for name, value in self.model.items() if name == "image_size"}
            return usual.changed(**size)
        return usual.changed(**{**self.model, **self.scaled(variant)})

    def scaled(self, variant: Variant) -> dict[str, Any]:
        """Give what a variant changes, layers and image sizes as they are on this tower."""
        vision, found = self.backbone.vision, dict[str, Any](variant.model)
        for name, value in variant.model.items():
            if isinstance(value, tuple):
                found[name] = scaled_layers(value, vision.depth)
            elif name == "image_size":
                found[name] = scaled_size(int(value), vision.image_size, vision.patch_px)
        return found

    def train_settings(self, method: str) -> TrainSettings:
        """Settle how a method is trained."""
        return replace(learning_of(method).settings, **self.training)

    def score_settings(self, variant: Variant, usual: ScoreSettings) -> ScoreSettings:
        """Settle how maps become scores: what the experiment varies is not the user's to set."""
        found = replace(usual, **self.scores)
        return replace(found, image_score=variant.image_score) if variant.image_score else found

    def refuse_varied(self, experiment: ExperimentDefinition) -> None:
        """Refuse settings that an experiment varies itself.

        Raises:
            InvalidSettings: One was given.
        """
        varied = {name for name in experiment.varied if name in self.model}
        if any(variant.image_score for variant in experiment.variants):
            varied |= {"image_score"} & set(self.scores)
        if experiment.sweep:
            varied |= {"joint_weight", "image_score"} & set(self.scores)
        for name in sorted(varied):
            raise InvalidSettings(
                f"The experiment {experiment.name} varies {name} itself.", "Leave it out."
            )


TRAININGS = "trainings"
FEATURES = "features"


@dataclass(frozen=True, eq=False)
class Training:
    """One training, whichever experiments want it.

    Attributes:
        request: What is trained, and how.
        data: The auxiliary data.
        about: All that its outcome depends on, plain JSON values.
    """

    request: TrainRequest
    data: Dataset
    about: Mapping[str, object]

    @property
    def digest(self) -> str:
        """Name it by all that its outcome depends on."""
        return digest_of(self.about)

    @property
    def features(self) -> object:
        """Tell apart what the frozen tower gives: trainings with equal ones share its outputs."""
        model = self.request.model
        layers = getattr(model, "local_layers", None)
        return self.about["data"], layers, model.image_size, model.position_interpolation

    def entry(self, out: Path) -> Entry:
        """Say where it is kept."""
        return Entry.of(out / TRAININGS, self.request.method, self.about)

    def checkpoint(self, out: Path) -> Path:
        """Say where its checkpoint is once it is done."""
        return self.entry(out).folder / f"{self.request.method}.safetensors"


def training_of(variant: Variant, auxiliary: Sequence[Dataset], setup: Setup) -> Training:
    """Say which training a variant needs; variants that differ in scores only share one."""
    data, backbone = join_datasets(auxiliary), setup.backbone
    request = TrainRequest(
        method=variant.method,
        model=setup.model_settings(variant),
        settings=from_labels(setup.train_settings(variant.method), data, variant.method, setup.say),
        scores=METHODS[variant.method].scores,
        data={"name": data.name, "digest": data.content_digest},
    )
    known = ("name", "digest", "activation")
    about = {
        "method": request.method,
        "model": request.model.to_json(),
        "training": request.settings.to_json(),
        "data": request.data,
        "backbone": {name: getattr(backbone, name) for name in known},
    }
    return Training(request, data, about)


def run_training(training: Training, setup: Setup) -> Path:
    """Give a training's checkpoint: the one that is there, or a new one.

    A training that was stopped is gone on with from its last epoch.

    Args:
        training: As ``training_of`` gives it.
        setup: On what, and where.

    Raises:
        InvalidSettings: A setting does not fit the backbone.
        UnreadableInput: A file of the data cannot be used.
    """
    path = training.checkpoint(setup.out)
    if path.is_file():
        return path
    folder = training.entry(setup.out).open()
    request, backbone = training.request, setup.backbone_to_train()
    examples = Examples(training.data, default_image_size(request.model, backbone.vision))
    doubts_of(training.data, examples.samples, setup.say)
    setup.begin(request.settings.epochs * -(-len(examples) // request.settings.batch_size), "step")
    request = replace(
        request,
        cache=setup.out / FEATURES,  # which trainings with the same layers share
        cache_limit_gb=setup.cache_limit_gb,
        needs_cache=False,
        resume=(folder / STATE_FILE).is_file(),
    )
    return train(
        request, examples, backbone, out=folder, say=setup.say, report=setup.step
    ).checkpoint


def forget_features(setup: Setup) -> None:
    """Remove what the frozen tower made of training images: only trainings need it."""
    rmtree(setup.out / FEATURES, ignore_errors=True)


@dataclass(frozen=True)
class ModelKey:
    """Which model of an experiment.

    Attributes:
        variant: Its name.
        data: Key of what it was trained on; ``""`` for what needs no training.
    """

    variant: str
    data: str


@dataclass(frozen=True, eq=False)
class BuiltModel:
    """A model that can be used.

    Attributes:
        variant: Whose it is.
        model: With the variant's own way of scoring images.
        training: That it comes from, if its method is trained.
    """

    variant: Variant
    model: InferenceModel
    training: Training | None = None

    @property
    def network(self) -> str:
        """Tell networks apart: variants that differ in scores only share one."""
        return self.training.digest if self.training else self.model.method


@dataclass(frozen=True, eq=False)
class Models:
    """The models of an experiment.

    Attributes:
        built: Those that can be used.
        trainings: All that were to be done.
        failures: Why the others cannot be used.
    """

    built: Mapping[ModelKey, BuiltModel]
    trainings: Mapping[ModelKey, Training]
    failures: Mapping[ModelKey, HeadClipError]

    def of(self, variant: Variant) -> list[BuiltModel]:
        """Give a variant's models, one for each data that it was trained on."""
        return [one for one in self.built.values() if one.variant == variant]


def key_of(variant: Variant, tested: EvaluationSet) -> ModelKey:
    """Say which model is tested on a set for a variant."""
    is_trained = METHODS[variant.method].needs_training
    return ModelKey(variant.name, tested.auxiliary if is_trained else "")


def gather_models(plan: ExperimentPlan, setup: Setup) -> Models:
    """Train what is not there yet, and build every model.

    Raises:
        HeadClipError: Not one can be had; the first reason is told.
    """
    trainings = {
        ModelKey(variant.name, data): training_of(variant, plan.auxiliaries[data], setup)
        for variant, data in plan.trainings
    }
    checkpoints = _train(trainings, setup)
    networks: dict[str, InferenceModel] = {}
    built: dict[ModelKey, BuiltModel] = {}
    failures: dict[ModelKey, HeadClipError] = {}
    for variant in plan.variants:
        for data in plan.auxiliaries if METHODS[variant.method].needs_training else ("",):
            key = ModelKey(variant.name, data)
            training = trainings.get(key)
            name = training.digest if training else variant.method
            try:
                if name not in networks:
                    networks[name] = _network(variant, checkpoints.get(name), setup)
            except HeadClipError as error:
                failures[key] = error
            else:
                built[key] = BuiltModel(variant, networks[name], training)
    if failures and not built:
        raise next(iter(failures.values()))
    move_together(networks.values(), setup.device)
    for key, one in built.items():
        scores = setup.score_settings(one.variant, one.model.scores)
        built[key] = replace(one, model=one.model.with_scores(scores))
    return Models(built, trainings, failures)


def _train(
    trainings: Mapping[ModelKey, Training], setup: Setup
) -> dict[str, Checkpoint | HeadClipError]:
    """Do every training once; one that fails costs its variant alone.

    Returns:
        What came of each, by its digest.
    """
    once: dict[str, ModelKey] = {}
    for key, training in trainings.items():
        once.setdefault(training.digest, key)
    found: dict[str, Checkpoint | HeadClipError] = {}
    features: object = None
    for number, (digest, key) in enumerate(once.items(), start=1):
        training = trainings[key]
        if training.features != features:  # so that they never take more than the limit
            forget_features(setup)
        features = training.features
        is_there = training.checkpoint(setup.out).is_file()
        what = f"training {number} of {len(once)}: {key.variant} on {training.data.name}"
        setup.say(f"{what}{' (done before)' if is_there else ''}")
        try:
            found[digest] = read_checkpoint(run_training(training, setup))
        except HeadClipError as error:
            setup.say(f"without {key.variant}: {error}")
            found[digest] = error
    forget_features(setup)
    return found


def _network(
    variant: Variant, checkpoint: Checkpoint | HeadClipError | None, setup: Setup
) -> InferenceModel:
    """Build what a variant's model is made of; others with the same training share it."""
    if isinstance(checkpoint, HeadClipError):
        raise checkpoint
    if checkpoint is None:
        settings = setup.model_settings(variant)
        network = on_backbone(variant.method, setup.backbone, settings)
    else:
        network = checkpoint.build(setup.backbone)
    network.precision = setup.precision
    return network
