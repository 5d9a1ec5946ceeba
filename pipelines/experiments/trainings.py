"""Trainings of an experiment: each is done once, kept by what it depends on, and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from headclip_med.datasets import Dataset, join_datasets
from headclip_med.evaluation.examples import Examples
from headclip_med.models.layers import default_image_size
from headclip_med.models.registry import METHODS, learning_of
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.setup import Setup
from headclip_med.pipelines.train import TrainRequest, train
from headclip_med.settings import MethodSettings, TrainSettings
from headclip_med.store import Entry, digest_of
from headclip_med.training.state import STATE_FILE

TRAININGS = "trainings"
FEATURES = "features"


@dataclass(frozen=True)
class Training:
    """One training, whichever experiments want it.

    Attributes:
        method: What is trained.
        model: What it is made of.
        settings: How it is trained.
        data: Name of the auxiliary data.
        about: All that its outcome depends on, plain JSON values.
    """

    method: str
    model: MethodSettings
    settings: TrainSettings
    data: str
    about: Mapping[str, object]

    @property
    def digest(self) -> str:
        """Name it by all that its outcome depends on."""
        return digest_of(self.about)

    @property
    def features(self) -> object:
        """Tell apart what the frozen trunk gives: trainings with equal ones share its outputs."""
        layers = getattr(self.model, "local_layers", None)
        return self.about["data"], layers, self.model.image_size, self.model.position_interpolation

    def entry(self, out: Path) -> Entry:
        """Say where it is kept."""
        return Entry.of(out / TRAININGS, self.method, self.about)

    def checkpoint(self, out: Path) -> Path:
        """Say where its checkpoint is once it is done."""
        return self.entry(out).folder / f"{self.method}.safetensors"


def training_of(variant: Variant, auxiliary: Sequence[Dataset], setup: Setup) -> Training:
    """Say which training a variant needs; variants that differ in scores only share one."""
    model, settings = setup.learned_settings(variant), setup.train_settings(variant.method)
    data, backbone = join_datasets(auxiliary), setup.backbone
    about = {
        "method": variant.method,
        "model": model.to_json(),
        "training": settings.to_json(),
        "data": {"name": data.name, "digest": data.content_digest},
        "backbone": {
            "name": backbone.name,
            "digest": backbone.digest,
            "activation": backbone.activation,
        },
    }
    return Training(variant.method, model, settings, data.name, about)


def run_training(training: Training, auxiliary: Sequence[Dataset], setup: Setup) -> Path:
    """Give a training's checkpoint: the one that is there, or a new one.

    A training that was stopped is gone on with from its last epoch.

    Args:
        training: As ``training_of`` gives it.
        auxiliary: What it is trained on.
        setup: On what, and where.

    Raises:
        InvalidSettings: A setting does not fit the backbone.
        UnreadableInput: A file of the data cannot be used.
    """
    path = training.checkpoint(setup.out)
    if path.is_file():
        return path
    folder = training.entry(setup.out).open()
    data, backbone = join_datasets(auxiliary), setup.backbone_to_train()
    examples = Examples(data, default_image_size(training.model, backbone.vision))
    steps = training.settings.epochs * -(-len(examples) // training.settings.batch_size)
    request = TrainRequest(
        method=training.method,
        model=training.model,
        settings=training.settings,
        scores=METHODS[training.method].scores,
        data={"name": data.name, "digest": data.content_digest},
        cache=_cache(training, len(examples), setup),
        resume=(folder / STATE_FILE).is_file(),
    )
    trained = train(
        request, examples, backbone, out=folder, report=lambda step: setup.step(step, steps)
    )
    return trained.checkpoint


def forget_features(setup: Setup) -> None:
    """Remove what the frozen trunk made of training images: only trainings need it."""
    rmtree(setup.out / FEATURES, ignore_errors=True)


def _cache(training: Training, count: int, setup: Setup) -> Path | None:
    """Choose a folder that trainings with the same layers share, where there is room for it."""
    features_bytes = learning_of(training.method).features_bytes
    if features_bytes is None:
        return None
    need_gb = features_bytes(training.model, setup.backbone.vision, count) / 1e9
    if need_gb <= setup.cache_limit_gb:
        return setup.out / FEATURES
    setup.say(
        f"the features of {count} images would take {need_gb:.1f} GB, above "
        f"{setup.cache_limit_gb:g} GB: the tower runs in every epoch"
    )
    return None
