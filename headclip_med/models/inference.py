"""What inference forms of methods share: all of ``AnomalyModel`` but the reading of the trunk."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import VisionTower
from headclip_med.models.maps import in_double, patches_of, smooth
from headclip_med.models.trunk import TrunkReader, run_trunk
from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings, top_count

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Use:
    """How a trained model is to be used, and where it comes from.

    Attributes:
        scores: How maps become scores.
        threshold: Map value from which a pixel counts as abnormal.
        about: Plain JSON values that ``describe`` adds.
    """

    scores: ScoreSettings = field(default_factory=ScoreSettings)
    threshold: float = 0.5
    about: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class HasImageSize(Protocol):
    """The settings of a method that can be run at several sizes."""

    @property
    def image_size(self) -> int | None:
        """Rows and columns of the images, in pixels, or None for the default."""


@runtime_checkable
class MethodSettings(HasImageSize, Protocol):
    """What the settings of every method can do."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header and a result file."""


class InferenceModel(nn.Module):
    """An ``AnomalyModel`` whose subclass says how it reads the trunk.

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

    def with_scores(self, scores: ScoreSettings) -> InferenceModel:
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
            "patch_px": self.vision.patch_px,
            "settings": self.settings.to_json(),
            "scores": self.scores.to_json(),
            **self.use.about,
        }

    def predict(self, images: Float[Tensor, "batch 3 height width"]) -> Prediction:
        """Judge a batch of images.

        Args:
            images: Values in [0, 1]; sides a multiple of the patch. They are moved to the model's
                device.

        Returns:
            Smoothed map and global score, float32, on the model's device.
        """
        return run_trunk([self], images)[0]

    def reader(self, images: Float[Tensor, "batch 3 height width"]) -> TrunkReader:
        """Start reading a pass over prepared images."""
        raise NotImplementedError

    def trunk_key(self, height: int, width: int) -> Hashable:
        """Tell passes apart: models with the same key see the same blocks at this size."""
        place = self.get_buffer("_mean").device
        run = self.vision.run_key(height, width)
        return self._backbone["digest"], self.precision, str(place), *run

    def prepare(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Move images in [0, 1] to the model's device, and normalise them."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        return (images.to(mean.device) - mean) / std

    def trunk_context(self) -> AbstractContextManager[object]:
        """Give what the blocks are run in: autocast, or nothing."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.get_buffer("_mean").device.type, torch.bfloat16)

    def smoothed(
        self, logits: Float[Tensor, "batch height width"], score: Float[Tensor, "batch"]
    ) -> Prediction:
        """Turn log-odds into a map, smoothed as the model's scores want it."""
        # Sides are tensors while a graph is traced.
        side = max(int(one) for one in logits.shape[-2:])
        logits, sigma_px = logits.float(), self.scores.sigma_at(side)
        local = None
        if self.scores.local_map == "patches":
            local = self._local_score(logits)
        return Prediction(smooth(logits.sigmoid(), sigma_px), score.float(), logits, local)

    def _local_score(self, logits: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch"]:
        """Average the most abnormal patches (eq. 7)."""
        patches = patches_of(in_double(logits).sigmoid(), self.vision.patch_px).flatten(1)
        counted = top_count(patches.shape[1], self.scores.top_percent)
        return patches.topk(counted).values.mean(dim=1).float()


def layers_within(layers: Collection[int], depth: int) -> tuple[int, ...]:
    """Order layers, each once.

    Raises:
        InvalidSettings: One lies beyond the tower.
    """
    highest = max(layers, default=0)
    if highest > depth:
        raise InvalidSettings(
            f"Layer {highest} lies beyond the image tower's {depth} layers.",
            f"Choose layers from 1 to {depth}.",
            code="layer-beyond-tower",
        )
    return tuple(sorted(set(layers)))


def quarter_layers(depth: int, count: int = 4) -> tuple[int, ...]:
    """Choose layers evenly, the last one included: 6, 12, 18 and 24 of 24."""
    return tuple(dict.fromkeys(max(1, round(depth * one / count)) for one in range(1, count + 1)))


def default_image_size(settings: HasImageSize, vision: VisionTower) -> int:
    """Choose the image size that ``HeadClipSettings.image_size`` describes, in pixels."""
    if settings.image_size is not None:
        return settings.image_size
    return 518 if (vision.image_size, vision.patch_px) == (336, 14) else vision.image_size
