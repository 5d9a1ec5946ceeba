"""The model of the sixth method: the first block is all it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from headclip_med.models.engine.run import LastToken
from headclip_med.models.inference import InferenceModel
from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from tests.sixth import SixthSettings


class Brightness(InferenceModel):
    def __init__(self, backbone: Backbone, settings: SixthSettings) -> None:
        super().__init__(backbone, method="sixth", settings=settings, scores=ScoreSettings())
        self.gain = settings.gain

    def reader(self) -> LastToken:
        return LastToken()

    def finish(self, reader: LastToken, images: Tensor) -> Prediction:
        logits = self.gain * images.mean(dim=1)
        return self.smoothed(logits, logits.sigmoid().amax(dim=(1, 2)))
