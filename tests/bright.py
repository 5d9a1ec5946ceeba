"""A model that calls bright pixels abnormal: its answers are known without any weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from headclip_med.models.maps import log_odds
from headclip_med.models.request import ModelRequest
from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings
from tests.phantoms import write_phantom


@dataclass(frozen=True)
class BrightModel:
    """Its map is the image's grey level, its global score the brightest pixel."""

    image_size: int = 16
    scores: ScoreSettings = field(default_factory=ScoreSettings)
    threshold: float = 0.9
    breaks_at: int | None = None
    """Breaks, with a patient's name in its words, at this call."""
    calls: list[int] = field(default_factory=list)

    def describe(self) -> Mapping[str, object]:
        return {"name": "bright", "method": "bright", "calibrated": False}

    def with_scores(self, scores: ScoreSettings) -> BrightModel:
        return replace(self, scores=scores)

    def predict(self, images: torch.Tensor) -> Prediction:
        self.calls.append(len(images))
        if len(self.calls) == self.breaks_at:
            raise KeyError("Zyxwvut^Qponml")
        grey = images.mean(dim=1)
        exact = grey.double()
        return Prediction(grey, grey.amax(dim=(1, 2)), log_odds(exact, 1 - exact))


def stand_in(monkeypatch: pytest.MonkeyPatch, next_model: Callable[[], Any]) -> None:
    """Let commands load these models, whatever they ask for."""

    def load(request: ModelRequest) -> SimpleNamespace:
        model = next_model()
        scored = model.with_scores(replace(model.scores, **request.scores))
        return SimpleNamespace(models={"bright": scored if request.scores else model}, missing={})

    monkeypatch.setattr("headclip_med.pipelines.loading.load_models", load)


def write_picture(path: Path, brightness: int) -> None:
    """Write a dark picture with a spot."""
    grey = np.full((20, 24), 30, dtype=np.uint8)
    grey[3:8, 15:20] = brightness
    Image.fromarray(grey).save(path)


def write_inputs(folder: Path) -> Path:
    """Write a CT series and two pictures, unlike in how bright they are."""
    write_phantom(folder / "ct")
    write_picture(folder / "dim.png", 90)
    write_picture(folder / "bright.png", 255)
    return folder
