"""What workers in processes of their own build: a model of known answers, and ways to fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headclip_med.pipelines.work.screener import Screener
from headclip_med.prediction import Prediction
from headclip_med.settings import ScreenSettings
from tests.bright import BrightModel

FATAL = 240
"""A picture that is evenly this bright ends its worker, in the way that is chosen."""


@dataclass(frozen=True)
class MortalModel(BrightModel):
    """Bright, until it sees what it cannot bear."""

    end: str = "kill"

    def predict(self, images: torch.Tensor) -> Prediction:
        if round(float(images.max()) * 255) == FATAL:
            ENDS[self.end]()
        return super().predict(images)


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(np.ones(50_000_000))
        time.sleep(0.05)


ENDS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "hang": lambda: time.sleep(3600),
    "memory": _eat,
}


@dataclass(frozen=True)
class Building:
    """Builds a screener in a worker; what each of them begins is noted in a file."""

    out: Path
    end: str = "kill"

    def __call__(self, report: Callable[[int], None]) -> Screener:
        settings = ScreenSettings(threshold=0.1, minimum_size=0.0)
        model = MortalModel(end=self.end)
        return Screener(model=model, out=self.out, settings=settings, report=report)
