"""AdaCLIP: hybrid learnable prompts in both towers."""

from __future__ import annotations

from headclip_med.models.adaclip.settings import NAME, SCORES, AdaClipSettings
from headclip_med.models.method import Learning, Method, later
from headclip_med.settings import TrainSettings

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
    model=later("headclip_med.models.adaclip.model", "AdaClip"),
    learning=Learning(
        # The published code keeps the epoch that is best on the set it is tested on; here it is
        # the last one.
        settings=TrainSettings(
            epochs=5, batch_size=1, learning_rate=0.01, weight_decay=0.01, squeezed_dice=True
        ),
        network=later("headclip_med.models.adaclip.learning", "AdaClipNetwork"),
        published=later("headclip_med.models.adaclip.published", "build_published"),
        mosaics={"MVTecAD": 0.2},
    ),
)
