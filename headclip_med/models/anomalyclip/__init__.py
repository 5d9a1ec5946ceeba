"""AnomalyCLIP: object-agnostic learned prompts, compared with value-value tokens."""

from __future__ import annotations

from headclip_med.models.anomalyclip.settings import NAME, SCORES, AnomalyClipSettings
from headclip_med.models.method import Learning, Method, later
from headclip_med.settings import TrainSettings

METHOD = Method(
    name=NAME,
    title="AnomalyCLIP",
    reference=(
        "AnomalyCLIP: Object-agnostic Prompt Learning for Zero-shot Anomaly Detection, ICLR 2024"
    ),
    adapts="learned sentences and deep text tokens; value-value heads; the last level",
    settings=AnomalyClipSettings(),
    scores=SCORES,
    model=later("headclip_med.models.anomalyclip.model", "AnomalyClip"),
    learning=Learning(
        settings=TrainSettings(local_weight=4.0, squeezed_dice=True),
        network=later("headclip_med.models.anomalyclip.learning", "AnomalyClipNetwork"),
        published=later("headclip_med.models.anomalyclip.published", "build_published"),
    ),
)
