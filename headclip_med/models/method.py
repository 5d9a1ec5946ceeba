"""What a method is to everything outside its folder: one object, which costs no import of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headclip_med.settings import Layers, MethodSettings, Precision, ScoreSettings, TrainSettings

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.models.clip.vision import VisionTower
    from headclip_med.models.inference import InferenceModel
    from headclip_med.models.model import TrainedModel
    from headclip_med.training.features import KeptFeatures
    from headclip_med.training.network import LearningNetwork


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method. Its functions import what they need when they are called.

    Attributes:
        name: What it is called by: on the command line, in checkpoints and results.
        title: As publications write it.
        reference: Where it was published.
        adapts: What it changes of CLIP, in words.
        settings: What it is made of, as published.
        scores: How it scores, as published.
        build: Builds the form that is used, on a backbone, of settings and a seed; of a method that
            is trained it has learned nothing yet.
        learning: How it is trained; None for a method that is not.
    """

    name: str
    title: str
    reference: str
    adapts: str
    settings: MethodSettings
    scores: ScoreSettings
    build: Callable[[Backbone, Any, int], InferenceModel]
    learning: Learning | None = None

    @property
    def needs_training(self) -> bool:
        """Whether a checkpoint must be trained, or imported, before it can be used."""
        return self.learning is not None

    def usual_settings(self, backbone: str) -> MethodSettings:
        """Give what it is made of on a named backbone where nothing else is said."""
        usual = self.learning and self.learning.usual
        return usual(backbone) if usual else self.settings


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a method is trained.

    Attributes:
        settings: As published.
        trainable: Builds the form that learns, on a backbone, of settings and a seed.
        network: Gives that form as the trainer runs it, at a precision, with kept features.
        features_bytes: Tells how many bytes kept features of so many images take, for settings and
            an image tower; None where every epoch has to run the tower.
        keep_features: Keeps what the frozen tower makes of so many images, in a place.
        published: Builds the form that learns from what a file of its authors holds, on the
            backbone and with the feature layers (None: its own) that it was trained with.
        usual: Gives the settings on a named backbone where nothing else is said.
        mosaics: By a data set's name, the share of mosaics in the published training on it.
    """

    settings: TrainSettings
    trainable: Callable[[Backbone, Any, int], TrainedModel]
    network: Callable[[Any, Precision, Any], LearningNetwork]
    features_bytes: Callable[[Any, VisionTower, int], int] | None = None
    keep_features: Callable[..., KeptFeatures] | None = None
    published: Callable[[Mapping[str, Any], Backbone, Layers | None], TrainedModel] | None = None
    usual: Callable[[str], MethodSettings] | None = None
    mosaics: Mapping[str, float] = field(default_factory=dict)
