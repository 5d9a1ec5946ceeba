"""What a method is to everything outside its folder: one object, which costs no import of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from headclip_med.settings import Layers, MethodSettings, ScoreSettings, TrainSettings

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.models.clip.vision import VisionTower
    from headclip_med.models.inference import InferenceModel, TrainedModel
    from headclip_med.training.batches import KeptFeatures
    from headclip_med.training.network import LearningNetwork


def later(module: str, name: str) -> Callable[..., Any]:
    """Name a class or function that is imported when it is called."""

    def call(*values: Any, **named: Any) -> Any:
        return getattr(import_module(module), name)(*values, **named)

    return call


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method; what it is made by is imported when that is called, see ``later``.

    Attributes:
        name: What it is called by: on the command line, in checkpoints and results.
        title: As publications write it.
        reference: Where it was published.
        adapts: What it changes of CLIP, in words.
        settings: What it is made of, as published.
        scores: How it scores, as published.
        model: Builds it, on a backbone, of settings and, where it is trained, a seed: the form that
            learns, or, of a method that is not trained, the one that is used.
        learning: How it is trained; None for a method that is not.
    """

    name: str
    title: str
    reference: str
    adapts: str
    settings: MethodSettings
    scores: ScoreSettings
    model: Callable[..., Any]
    learning: Learning | None = None

    @property
    def needs_training(self) -> bool:
        """Whether a checkpoint must be trained, or imported, before it can be used."""
        return self.learning is not None

    def trainable(self, backbone: Backbone, settings: MethodSettings, seed: int) -> TrainedModel:
        """Build the form that learns; it has learned nothing yet."""
        made: TrainedModel = self.model(backbone, settings, seed=seed).to(backbone.device)
        return made

    def build(self, backbone: Backbone, settings: MethodSettings, seed: int) -> InferenceModel:
        """Build the form that is used; of a method that is trained it has learned nothing yet."""
        if self.learning:
            return self.trainable(backbone, settings, seed).fold()
        made: InferenceModel = self.model(backbone, settings)
        return made

    def usual_settings(self, backbone: str) -> MethodSettings:
        """Give what it is made of on a named backbone where nothing else is said."""
        usual = self.learning and self.learning.usual
        return usual(backbone) if usual else self.settings


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a method is trained.

    Attributes:
        settings: As published.
        network: Builds what the trainer runs, a ``LearningNetwork``, of that form, a precision and
            kept features.
        features_bytes: Tells how many bytes kept features of so many images take, for settings and
            an image tower; None where every epoch has to run the tower.
        keep_features: Keeps what the frozen tower makes of so many images, in a place.
        published: Builds the form that learns from what a file of its authors holds, on the
            backbone and with the feature layers (None: its own) that it was trained with.
        usual: Gives the settings on a named backbone where nothing else is said.
        mosaics: By a data set's name, the share of mosaics in the published training on it.
        from_labels: Whether its loss has a term of the image alone, so that it learns something
            from a set without masks.
    """

    settings: TrainSettings
    network: Callable[..., LearningNetwork]
    features_bytes: Callable[[Any, VisionTower, int], int] | None = None
    keep_features: Callable[..., KeptFeatures] | None = None
    published: Callable[[Mapping[str, Any], Backbone, Layers | None], TrainedModel] | None = None
    usual: Callable[[str], MethodSettings] | None = None
    mosaics: Mapping[str, float] = field(default_factory=dict)
    from_labels: bool = True
