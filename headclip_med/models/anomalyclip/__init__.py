"""AnomalyCLIP: object-agnostic learned prompts, compared with tokens of several layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headclip_med.models.anomalyclip.settings import NAME, SCORES, AnomalyClipSettings
from headclip_med.models.method import Learning, Method
from headclip_med.settings import Layers, Precision, TrainSettings

if TYPE_CHECKING:
    from headclip_med.models.anomalyclip.model import AnomalyClip, FoldedAnomalyClip
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.training.network import LearningNetwork


def _trainable(backbone: Backbone, settings: AnomalyClipSettings, seed: int) -> AnomalyClip:
    from headclip_med.models.anomalyclip.model import AnomalyClip

    return AnomalyClip(backbone, settings, seed=seed).to(backbone.device)


def _build(backbone: Backbone, settings: AnomalyClipSettings, seed: int) -> FoldedAnomalyClip:
    return _trainable(backbone, settings, seed).fold()


def _network(model: AnomalyClip, precision: Precision, _: None) -> LearningNetwork:
    from headclip_med.models.anomalyclip.learning import anomalyclip_network

    return anomalyclip_network(model, precision=precision)


def _published(
    found: Mapping[str, Any], backbone: Backbone, feature_layers: Layers | None
) -> AnomalyClip:
    from headclip_med.models.anomalyclip.published import build_published

    return build_published(found, backbone, feature_layers)


METHOD = Method(
    name=NAME,
    title="AnomalyCLIP",
    reference=(
        "AnomalyCLIP: Object-agnostic Prompt Learning for Zero-shot Anomaly Detection, ICLR 2024"
    ),
    adapts="learned sentences and deep text tokens; value-value heads; four feature levels",
    settings=AnomalyClipSettings(),
    scores=SCORES,
    build=_build,
    learning=Learning(
        settings=TrainSettings(local_weight=4.0, squeezed_dice=True),
        trainable=_trainable,
        network=_network,
        published=_published,
    ),
)
