"""The model of the sixth method: the first block is all it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from headclip_med.models.engine.run import LastToken
from headclip_med.models.inference import InferenceModel, Use
from headclip_med.prediction import Prediction

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from tests.sixth import SixthSettings


class Brightness(InferenceModel):
    def __init__(self, backbone: Backbone, settings: SixthSettings) -> None:
        super().__init__(backbone, method="sixth", settings=settings, use=Use())
        self.gain = settings.gain

    def reader(self, images: Tensor) -> _Reader:
        return _Reader(self, images)


class _Reader(LastToken):
    def __init__(self, model: Brightness, images: Tensor) -> None:
        super().__init__()
        self._model, self._images = model, images

    def finish(self) -> Prediction:
        logits = self._model.gain * self._images.mean(dim=1)
        return self._model.smoothed(logits, logits.sigmoid().amax(dim=(1, 2)))
