"""AdaCLIP: hybrid learnable prompts in both towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headclip_med.models.adaclip.settings import NAME, SCORES, AdaClipSettings
from headclip_med.models.method import Learning, Method
from headclip_med.settings import Layers, Precision, TrainSettings

if TYPE_CHECKING:
    from headclip_med.models.adaclip.model import AdaClip, FoldedAdaClip
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.training.network import LearningNetwork


def _trainable(backbone: Backbone, settings: AdaClipSettings, seed: int) -> AdaClip:
    from headclip_med.models.adaclip.model import AdaClip

    return AdaClip(backbone, settings, seed=seed).to(backbone.device)


def _build(backbone: Backbone, settings: AdaClipSettings, seed: int) -> FoldedAdaClip:
    return _trainable(backbone, settings, seed).fold()


def _network(model: AdaClip, precision: Precision, _: None) -> LearningNetwork:
    from headclip_med.models.adaclip.learning import adaclip_network

    return adaclip_network(model, precision=precision)


def _published(
    found: Mapping[str, Any], backbone: Backbone, feature_layers: Layers | None
) -> AdaClip:
    from headclip_med.models.adaclip.published import build_published

    return build_published(found, backbone, feature_layers)


METHOD = Method(
    name=NAME,
    title="AdaCLIP",
    reference=(
        "AdaCLIP: Adapting CLIP with Hybrid Learnable Prompts for Zero-Shot Anomaly Detection, "
        "ECCV 2024"
    ),
    adapts="static and dynamic prompts in both towers; projections of four feature levels",
    settings=AdaClipSettings(),
    scores=SCORES,
    build=_build,
    learning=Learning(
        # The published code keeps the epoch that is best on the set it is tested on; here it is
        # the last one.
        settings=TrainSettings(
            epochs=5, batch_size=1, learning_rate=0.01, weight_decay=0.01, squeezed_dice=True
        ),
        trainable=_trainable,
        network=_network,
        published=_published,
        mosaics={"MVTecAD": 0.2},
    ),
)
