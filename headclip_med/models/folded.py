"""HeadCLIP as it is used: a plain ViT with one extra attention per local layer, and two vectors."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.models.clip import Backbone
from headclip_med.models.similarity import anomaly_map, similarity_logits, unit
from headclip_med.models.vision import VisionTower
from headclip_med.prediction import Prediction
from headclip_med.settings import HeadClipSettings, ScoreSettings

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


class FoldedHeadClip(nn.Module):
    """The inference form of HeadCLIP, an ``AnomalyModel``.

    Args:
        backbone: Only its image tower is kept.
        local_layers: One-based layers with value-value attention.
        head_weights: w of eq. 4, multiplied into the output projections here.
        text: Unit features of the two sentences.
        settings: What the model is made of.
        use: How it is to be used.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        local_layers: tuple[int, ...],
        head_weights: Float[Tensor, "layers heads"],
        text: Float[Tensor, "2 joint"],
        settings: HeadClipSettings,
        use: Use,
    ) -> None:
        super().__init__()
        self.vision: VisionTower = backbone.vision
        self.settings = settings
        self.use = use
        self.precision: Precision = "fp32"
        self._backbone = {
            "name": backbone.name,
            "weights": backbone.weights,
            "digest": backbone.digest,
            "activation": backbone.activation,
        }
        self.local_layers = local_layers
        projections = [
            _fold(self.vision.blocks[layer - 1], weights)
            for layer, weights in zip(local_layers, head_weights, strict=True)
        ]
        self.register_buffer("_weights", torch.stack([weight for weight, _ in projections]))
        self.register_buffer("_bias", torch.stack([bias for _, bias in projections]).sum(dim=0))
        self.register_buffer("_text", text)
        self.register_buffer("_mean", backbone.get_buffer("_mean"))
        self.register_buffer("_std", backbone.get_buffer("_std"))
        self.eval().requires_grad_(False)

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

    def with_scores(self, scores: ScoreSettings) -> FoldedHeadClip:
        """Give the same model, its maps smoothed and scored otherwise; weights are shared."""
        other = copy(self)
        other.use = replace(self.use, scores=scores)
        return other

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        return {
            "method": "headclip",
            "backbone": dict(self._backbone),
            "precision": self.precision,
            "image_size": self.image_size,
            "local_layers": list(self.local_layers),
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
            Map and global score, float32, on the model's device.
        """
        images = images.to(self.get_buffer("_text").device)
        local, token = self._features(images)
        text, temperature = self.get_buffer("_text"), self.settings.temperature
        height, width = images.shape[-2:]
        patch = self.vision.patch_px
        patches = similarity_logits(unit(local), text, temperature).softmax(dim=-1)
        grid = patches.transpose(1, 2).reshape(-1, 2, height // patch, width // patch)
        sigma_px = self.scores.sigma_at(max(height, width))
        whole = similarity_logits(unit(token), text, temperature).softmax(dim=-1)
        return Prediction(anomaly_map(grid, height, width, sigma_px), whole[:, 1])

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Local and class tokens in the joint space; float32 from the final norm on."""
        stream, tokens = None, None
        normalised = (images - self.get_buffer("_mean")) / self.get_buffer("_std")
        weights = dict(zip(self.local_layers, self.get_buffer("_weights"), strict=True))
        with self._autocast():
            for block in self.vision.walk(normalised, self.local_layers):
                if block.heads is not None:
                    merged = block.heads[:, :, 1:].transpose(1, 2).flatten(2)
                    added = functional.linear(merged, weights[block.layer]).float()
                    if stream is None:
                        stream = self._start(block.tokens_in[:, 1:].float())
                    stream = stream + added
                tokens = block.tokens
        if stream is None or tokens is None:
            raise AssertionError("local layers lie inside the tower")  # checked when built
        local = self.vision.project(stream)
        norm = self.settings.class_token_norm
        return local, project_class_token(self.vision, tokens[:, 0].float(), norm=norm)

    def _start(self, entering: Tensor) -> Tensor:
        bias = self.get_buffer("_bias")
        return entering + bias if self.settings.local_residual else bias.expand_as(entering)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.get_buffer("_text").device.type, torch.bfloat16)


def project_class_token(
    vision: VisionTower, token: Float[Tensor, "batch channels"], *, norm: bool
) -> Float[Tensor, "batch joint"]:
    """Take the class token into the joint space, with or without the final norm."""
    return vision.project(token) if norm else vision.project_without_norm(token)


@runtime_checkable
class HasImageSize(Protocol):
    """The settings of a method that can be run at several sizes."""

    @property
    def image_size(self) -> int | None:
        """Rows and columns of the images, in pixels, or None for the default."""


def default_image_size(settings: HasImageSize, vision: VisionTower) -> int:
    """Choose the image size that ``HeadClipSettings.image_size`` describes, in pixels."""
    if settings.image_size is not None:
        return settings.image_size
    return 518 if (vision.image_size, vision.patch_px) == (336, 14) else vision.image_size


def _fold(block: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply head weights and layer scale into a block's output projection and its bias."""
    projection: nn.Linear = block.attn.out_proj
    width = projection.in_features // len(weights)
    scale = getattr(block.ls_1, "gamma", torch.ones(projection.out_features).to(weights))
    weight = projection.weight * weights.repeat_interleave(width)
    bias = projection.bias
    return scale[:, None] * weight, scale * bias
