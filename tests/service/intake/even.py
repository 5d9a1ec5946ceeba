"""What workers of a tried service build: a model of known answers, and a way to fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from headclip_med.pipelines.work.screener import Screener
from headclip_med.prediction import Prediction
from headclip_med.settings import ScreenSettings
from tests.bright import BrightModel
from tests.service.workers import ENDS


@dataclass(frozen=True)
class EvenModel(BrightModel):
    """Bright, until it sees an image that shows nothing."""

    end: str = "kill"

    def predict(self, images: torch.Tensor) -> Prediction:
        if float(images.max()) == float(images.min()):
            ENDS[self.end]()
        return super().predict(images)


@dataclass(frozen=True)
class EvenBuilding:
    """Builds a screener in a worker, and says which process that is."""

    out: Path
    end: str

    def __call__(self, report: Callable[[int], None]) -> Screener:
        (self.out / "worker").write_text(str(os.getpid()))
        settings = ScreenSettings(threshold=0.1, minimum_size=0.0)
        model = EvenModel(end=self.end)
        return Screener(model=model, out=self.out, settings=settings, report=report)
