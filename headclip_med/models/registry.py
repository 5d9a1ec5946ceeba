"""The methods that stand behind ``AnomalyModel``, as one table.

A method that is trained is built from a checkpoint, or fresh on a backbone to be trained or timed;
one that needs no training is built on a backbone and its settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headclip_med.errors import InvalidSettings
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anovl.model import AnoVl
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.inference import InferenceModel
from headclip_med.models.winclip.model import WinClip
from headclip_med.settings_training_free import (
    METHOD_NAMES,
    METHOD_TITLES,
    AnoVlSettings,
    TrainingFreeSettings,
    WinClipSettings,
)

Build = Callable[[Backbone, TrainingFreeSettings | None], InferenceModel]
BuildFresh = Callable[[Backbone, int], InferenceModel]


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        title: As publications write it.
        reference: Where it was published.
        adapts: What it changes of CLIP, in words.
        build: Builds it on a backbone; None where a checkpoint is needed.
        fresh: Builds it on a backbone with nothing learned yet; None where nothing is learned.
    """

    title: str
    reference: str
    adapts: str
    build: Build | None = None
    fresh: BuildFresh | None = None

    @property
    def needs_training(self) -> bool:
        """Whether a checkpoint must be trained, or imported, before it can be used."""
        return self.build is None


def _winclip(backbone: Backbone, settings: TrainingFreeSettings | None) -> WinClip:
    return WinClip(backbone, settings if isinstance(settings, WinClipSettings) else None)


def _anovl(backbone: Backbone, settings: TrainingFreeSettings | None) -> AnoVl:
    return AnoVl(backbone, settings if isinstance(settings, AnoVlSettings) else None)


METHODS: Mapping[str, Method] = {
    "headclip": Method(
        METHOD_TITLES["headclip"],
        "Domain Adaptation of Attention Heads for Zero-shot Anomaly Detection",
        "learned sentences and deep text tokens; learned weights of value-value heads",
        fresh=lambda backbone, seed: HeadClip(backbone, seed=seed).fold(),
    ),
    "anomalyclip": Method(
        METHOD_TITLES["anomalyclip"],
        "AnomalyCLIP: Object-agnostic Prompt Learning for Zero-shot Anomaly Detection, ICLR 2024",
        "learned sentences and deep text tokens; value-value heads; four feature levels",
        fresh=lambda backbone, seed: AnomalyClip(backbone, seed=seed).fold(),
    ),
    "adaclip": Method(
        METHOD_TITLES["adaclip"],
        "AdaCLIP: Adapting CLIP with Hybrid Learnable Prompts for Zero-Shot Anomaly Detection, "
        "ECCV 2024",
        "static and dynamic prompts in both towers; projections of four feature levels",
        fresh=lambda backbone, seed: AdaClip(backbone, seed=seed).fold(),
    ),
    "winclip": Method(
        METHOD_TITLES["winclip"],
        "WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation, CVPR 2023",
        "nothing: an ensemble of sentences, and windows of 2 x 2 and 3 x 3 patches",
        build=_winclip,
    ),
    "anovl": Method(
        METHOD_TITLES["anovl"],
        "AnoVL: Adapting Vision-Language Models for Unified Zero-shot Anomaly Localization, 2023",
        "nothing: an ensemble of sentences, value-value heads, 22 views; optionally an adapter "
        "fitted to the image at hand",
        build=_anovl,
    ),
}
"""All methods, in the order of tables."""


def method_named(name: str) -> Method:
    """Look a method up.

    Raises:
        InvalidSettings: There is none of that name.
    """
    if name not in METHODS:
        raise InvalidSettings(
            f"There is no method '{name}'.",
            f"Choose one of {', '.join(METHOD_NAMES)}.",
            code="unknown-method",
        )
    return METHODS[name]
