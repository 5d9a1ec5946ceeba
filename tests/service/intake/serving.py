"""A service that screens with a model of known answers: ``python -m ... CONFIG [END]``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import torch

from headclip_med.pipelines.service import dispatch, queue
from headclip_med.pipelines.service.configuration import read_configuration
from headclip_med.pipelines.service.execution.local import LocalExecutor
from headclip_med.pipelines.service.serve import serve
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
    """Builds a screener in a worker."""

    out: Path
    end: str

    def __call__(self, report: Callable[[int], None]) -> Screener:
        settings = ScreenSettings(threshold=0.1, minimum_size=0.0)
        model = EvenModel(end=self.end)
        return Screener(model=model, out=self.out, settings=settings, report=report)


def run(config: Path, end: str) -> None:
    queue.AFTER_A_LOSS_S = 0.0
    dispatch.LEASE_S, dispatch.RENEW_EVERY_S = 8.0, 2.0
    configuration = read_configuration(config)
    asked = Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    build = EvenBuilding(configuration.out, end)
    serve(
        configuration,
        lambda _plan: LocalExecutor(build, configuration.service),
        asked.is_set,
        lambda: (configuration.out / "ready").touch(),
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "kill")
