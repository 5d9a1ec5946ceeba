"""What inference forms of learned methods share: all of ``AnomalyModel`` but the judging."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headclip_med.models.clip import Backbone
from headclip_med.models.folded import Precision, Use, default_image_size
from headclip_med.models.similarity import smooth
from headclip_med.models.vision import VisionTower
from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings


@runtime_checkable
class MethodSettings(Protocol):
    """What the settings of every method can do."""

    @property
    def image_size(self) -> int | None:
        """Rows and columns of the images, in pixels, or None for the default."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header and a result file."""


class JudgingModel(nn.Module):
    """An ``AnomalyModel`` whose subclass says how a batch is judged.

    Args:
        backbone: Only its image tower is kept here.
        method: What it is called by.
        settings: What the model is made of.
        use: How it is to be used.
    """

    def __init__(
        self, backbone: Backbone, *, method: str, settings: MethodSettings, use: Use
    ) -> None:
        super().__init__()
        self.vision: VisionTower = backbone.vision
        self.method = method
        self.settings = settings
        self.use = use
        self.precision: Precision = "fp32"
        self._backbone = {
            "name": backbone.name,
            "weights": backbone.weights,
            "digest": backbone.digest,
            "activation": backbone.activation,
        }
        self.register_buffer("_mean", backbone.get_buffer("_mean"))
        self.register_buffer("_std", backbone.get_buffer("_std"))

    @property
    def image_size(self) -> int:
        """Rows and columns of the images it was trained on, in pixels."""
        return default_image_size(self.settings, self.vision)

    @property
    def scores(self) -> ScoreSettings:
        """How its maps become scores."""
        return self.use.scores

    @property
    def threshold(self) -> float:
        """Map value from which a pixel counts as abnormal."""
        return self.use.threshold

    def with_scores(self, scores: ScoreSettings) -> JudgingModel:
        """Give the same model, its maps smoothed and scored otherwise; weights are shared."""
        other = copy(self)
        other.use = replace(self.use, scores=scores)
        return other

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        return {
            "method": self.method,
            "backbone": dict(self._backbone),
            "precision": self.precision,
            "image_size": self.image_size,
            "settings": self.settings.to_json(),
            "scores": self.scores.to_json(),
            **self.use.about,
        }

    @torch.no_grad()
    def predict(self, images: Float[Tensor, "batch 3 height width"]) -> Prediction:
        """Judge a batch of images.

        Args:
            images: Values in [0, 1]; sides a multiple of the patch. They are moved to the model's
                device.

        Returns:
            Smoothed map and global score, float32, on the model's device.
        """
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        raw = self.judge((images.to(mean.device) - mean) / std)
        sigma_px = self.scores.sigma_at(max(images.shape[-2:]))
        return Prediction(smooth(raw.map.float(), sigma_px), raw.global_score.float())

    def judge(self, images: Float[Tensor, "batch 3 height width"]) -> Prediction:
        """Judge normalised images; the map is not smoothed yet."""
        raise NotImplementedError

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.get_buffer("_mean").device.type, torch.bfloat16)


def quarter_layers(depth: int, count: int = 4) -> tuple[int, ...]:
    """Choose layers evenly, the last one included: 6, 12, 18 and 24 of 24."""
    return tuple(dict.fromkeys(max(1, round(depth * one / count)) for one in range(1, count + 1)))
