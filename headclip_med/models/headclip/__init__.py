"""HeadCLIP: learned prompts and learned head weights on a frozen CLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headclip_med.models.headclip.settings import NAME, SCORES, HeadClipSettings, usual_settings
from headclip_med.models.method import Learning, Method
from headclip_med.settings import Precision, TrainSettings

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.models.clip.vision import VisionTower
    from headclip_med.models.headclip.features import Features
    from headclip_med.models.headclip.folded import FoldedHeadClip
    from headclip_med.models.headclip.model import HeadClip
    from headclip_med.training.features import Place
    from headclip_med.training.network import LearningNetwork


def _trainable(backbone: Backbone, settings: HeadClipSettings, seed: int) -> HeadClip:
    from headclip_med.models.headclip.model import HeadClip

    return HeadClip(backbone, settings, seed=seed).to(backbone.device)


def _build(backbone: Backbone, settings: HeadClipSettings, seed: int) -> FoldedHeadClip:
    return _trainable(backbone, settings, seed).fold()


def _network(model: HeadClip, precision: Precision, features: Features | None) -> LearningNetwork:
    from headclip_med.models.headclip.learning import headclip_network

    return headclip_network(model, precision=precision, features=features)


def _features_bytes(settings: HeadClipSettings, vision: VisionTower, count: int) -> int:
    from headclip_med.models.headclip.features import features_bytes

    return features_bytes(settings, vision, count)


def _keep_features(
    model: HeadClip, count: int, place: Place, *, data_digest: str, precision: Precision
) -> Features:
    from headclip_med.models.headclip.features import Features

    return Features(model, count, place, data_digest=data_digest, precision=precision)


METHOD = Method(
    name=NAME,
    title="HeadCLIP",
    reference="Domain Adaptation of Attention Heads for Zero-shot Anomaly Detection",
    adapts="learned sentences and deep text tokens; learned weights of value-value heads",
    settings=HeadClipSettings(),
    scores=SCORES,
    build=_build,
    learning=Learning(
        settings=TrainSettings(),
        trainable=_trainable,
        network=_network,
        features_bytes=_features_bytes,
        keep_features=_keep_features,
        usual=usual_settings,
    ),
)
