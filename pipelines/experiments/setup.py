"""What an experiment runs on, and with which settings: those of a variant, and the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.registry import DEFAULT, METHODS, learning_of
from headclip_med.pipelines.experiments.definitions import (
    ExperimentDefinition,
    Variant,
    scaled_layers,
)
from headclip_med.settings import (
    MethodSettings,
    Precision,
    ScoreSettings,
    ScreenSettings,
    TrainSettings,
)
from headclip_med.training.handlers import StepReport

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
        cache_limit_gb: Most that the frozen tower's outputs of training images may take on disk
            while trainings need them; 0 keeps none, and the tower runs in every epoch.
        say: Is told in a sentence what is being done.
        step: Is told after every step of a training, and how many steps that has.
    """

    backbone: Backbone
    out: Path
    device: torch.device = _MEMORY
    training: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8
    precision: Precision = "fp32"
    cache_limit_gb: float = 4.0
    say: Callable[[str], None] = lambda text: None
    step: Callable[[StepReport, int], None] = lambda report, total: None

    def __post_init__(self) -> None:
        """Check what would otherwise be refused after hours of training.

        Raises:
            InvalidSettings: A setting is outside its range.
        """
        ScoreSettings(**self.scores)
        ScreenSettings(batch_size=self.batch_size)
        METHODS[DEFAULT].settings.changed(**self.model)
        TrainSettings(**self.training)

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
        changes = {**self.model, **variant.model}
        if "local_layers" in variant.model:
            depth = self.backbone.vision.depth
            changes["local_layers"] = scaled_layers(changes["local_layers"], depth)
        return usual.changed(**changes)

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
