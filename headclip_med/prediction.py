"""What every anomaly model returns for a batch of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """An anomaly map, its log-odds and a global score per image, on the model's device.

    Attributes:
        map: float32 in [0, 1]; how abnormal each pixel looks (HeadCLIP eq. 12).
        global_score: float32 in [0, 1]; how abnormal the image looks as a whole: S_global of eq. 8,
            and the method's own image score where it publishes another. For HeadCLIP, AnomalyCLIP
            and WinCLIP it is the class token's probability, for AdaCLIP that after its fusion, for
            AnoVL the mean over views; WinCLIP's second implementation takes the map's highest
            pixel. ``ScoreSettings.image_score`` says whether JAS is put on top of it.
        logits: float32, finite; the log-odds of the map before it was smoothed, so that
            map = G(sigmoid(logits)). They keep the order of pixels whose probability float32
            rounds to 1, and every smoothing follows from them (``models.similarity``).
        local_score: float32 in [0, 1]; S_local of eq. 7 where the model's scores take it from
            ``patches``, which ``map`` no longer shows; None where they take it from pixels.
    """

    map: Float[Tensor, "batch height width"]
    global_score: Float[Tensor, "batch"]
    logits: Float[Tensor, "batch height width"]
    local_score: Float[Tensor, "batch"] | None = None
