"""AnoVL: an ensemble of sentences, value-value heads and views; no training."""

from __future__ import annotations

from headclip_med.models.anovl.settings import NAME, SCORES, AnoVlSettings
from headclip_med.models.method import Method, later

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
    model=later("headclip_med.models.anovl.model", "AnoVl"),
)
