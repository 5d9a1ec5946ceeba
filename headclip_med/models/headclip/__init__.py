"""HeadCLIP: learned prompts and learned head weights on a frozen CLIP."""

from __future__ import annotations

from headclip_med.models.headclip.settings import NAME, SCORES, HeadClipSettings, usual_settings
from headclip_med.models.method import Learning, Method, later
from headclip_med.settings import TrainSettings

METHOD = Method(
    name=NAME,
    title="HeadCLIP",
    reference="Domain Adaptation of Attention Heads for Zero-shot Anomaly Detection",
    adapts="learned sentences and deep text tokens; learned weights of value-value heads",
    settings=HeadClipSettings(),
    scores=SCORES,
    model=later("headclip_med.models.headclip.model", "HeadClip"),
    learning=Learning(
        settings=TrainSettings(),
        network=later("headclip_med.models.headclip.learning", "HeadClipNetwork"),
        features_bytes=later("headclip_med.models.headclip.features", "features_bytes"),
        keep_features=later("headclip_med.models.headclip.features", "Features"),
        usual=usual_settings,
    ),
)
