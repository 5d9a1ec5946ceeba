"""AnoVL: an ensemble of sentences, value-value heads and views; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headclip_med.models.anovl.settings import NAME, SCORES, AnoVlSettings
from headclip_med.models.method import Method

if TYPE_CHECKING:
    from headclip_med.models.anovl.model import AnoVl
    from headclip_med.models.clip.towers import Backbone


def _build(backbone: Backbone, settings: AnoVlSettings, _: int) -> AnoVl:
    from headclip_med.models.anovl.model import AnoVl

    return AnoVl(backbone, settings)


METHOD = Method(
    name=NAME,
    title="AnoVL",
    reference=(
        "AnoVL: Adapting Vision-Language Models for Unified Zero-shot Anomaly Localization, 2023"
    ),
    adapts=(
        "nothing: an ensemble of sentences, value-value heads, 22 views; optionally an adapter "
        "fitted to the image at hand"
    ),
    settings=AnoVlSettings(),
    scores=SCORES,
    build=_build,
)
