"""HeadCLIP as it is used: a plain ViT with one extra attention per local layer, and two vectors."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.models.clip.vision import BlockOutput, weighted_projection
from headclip_med.models.engine.run import LastToken
from headclip_med.models.headclip.settings import NAME, SCORES, HeadClipSettings
from headclip_med.models.inference import InferenceModel
from headclip_med.models.maps import averaged_logits, patch_logits, similarity_logits, unit
from headclip_med.prediction import Prediction

if TYPE_CHECKING:
    from headclip_med.models.headclip.model import HeadClip


class FoldedHeadClip(InferenceModel):
    """The inference form of HeadCLIP, an ``AnomalyModel``.

    Args:
        model: What has learned; only its image tower is kept.
    """

    settings: HeadClipSettings

    def __init__(self, model: HeadClip) -> None:
        super().__init__(model.backbone, method=NAME, settings=model.settings, scores=SCORES)
        self.local_layers = model.local_layers
        weights = model.head_weights.detach()
        if self.settings.head_weights == "learned":
            self.head_weights = self.local_layers, weights.float().cpu().numpy()
        projections = [
            _fold(self.vision.blocks[layer - 1], row)
            for layer, row in zip(self.local_layers, weights, strict=True)
        ]
        self.register_buffer("_weights", torch.stack([weight for weight, _ in projections]))
        self.register_buffer("_bias", torch.stack([bias for _, bias in projections]).sum(dim=0))
        self.register_buffer("_text", model.prompts(model.backbone.text).detach())
        self.eval().requires_grad_(False)

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        return {**super().describe(), "local_layers": list(self.local_layers)}

    def reader(self) -> _FoldedReader:
        """Give what sums weighted heads."""
        return _FoldedReader(self)

    def pass_key(self, height: int, width: int) -> Hashable:
        """Tell passes apart: one that sees mirror images serves no other model."""
        key = super().pass_key(height, width)
        return (key, "mirrored") if self.settings.mirrored else key

    def prepare(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "seen 3 height width"]:
        """Move and normalise images; their mirror images follow where the settings want them."""
        prepared = super().prepare(images)
        return torch.cat([prepared, prepared.flip(-1)]) if self.settings.mirrored else prepared

    def weight_of(self, layer: int) -> Float[Tensor, "channels merged"]:
        """Give a local layer's output projection, its head weights multiplied in."""
        folded: Tensor = self.get_buffer("_weights")[self.local_layers.index(layer)]
        return folded

    def start(
        self, entering: Float[Tensor, "batch patches channels"]
    ) -> Float[Tensor, "batch patches channels"]:
        """Give what the local stream starts from: all biases, and the residual where it is on."""
        bias = self.get_buffer("_bias")
        return entering + bias if self.settings.local_residual else bias.expand_as(entering)

    def finish(
        self, reader: _FoldedReader, images: Float[Tensor, "batch 3 height width"]
    ) -> Prediction:
        """Turn the summed local stream and the class token into maps and scores (eq. 9 and 12)."""
        height, width = (int(side) for side in images.shape[-2:])
        text, temperature = self.get_buffer("_text"), self.settings.temperature
        local = unit(self.vision.project(reader.stream))
        patch = self.vision.patch_px
        patches = similarity_logits(local, text, temperature)
        grid = patches.transpose(1, 2).reshape(-1, 2, height // patch, width // patch)
        whole = self.vision.project(reader.token.float(), norm=self.settings.class_token_norm)
        score = similarity_logits(unit(whole), text, temperature).softmax(dim=-1)[:, 1]
        logits = patch_logits(grid, height, width)
        if self.settings.mirrored:
            # ONNX's optimiser fails at a chunk of unknown length.
            seen, mirrored = logits.reshape(2, -1, *logits.shape[-2:])
            logits = averaged_logits(seen, mirrored.flip(-1))
            score = score.reshape(2, -1).mean(dim=0)
        return self.smoothed(logits, score)


class _FoldedReader(LastToken):
    """Sums the weighted heads of the local layers (eq. 4 to 6)."""

    stream: Tensor

    def __init__(self, model: FoldedHeadClip) -> None:
        super().__init__()
        self._model, self.local_layers = model, model.local_layers

    def read(self, block: BlockOutput) -> None:
        super().read(block)
        if block.heads is not None and block.layer in self.local_layers:
            merged = block.heads[:, :, 1:].transpose(1, 2).flatten(2)
            added = functional.linear(merged, self._model.weight_of(block.layer)).float()
            if block.layer == self._model.local_layers[0]:
                self.stream = self._model.start(block.tokens_in[:, 1:].float())
            self.stream = self.stream + added


def _fold(block: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply head weights and layer scale into a block's output projection and its bias."""
    projection: nn.Linear = block.attn.out_proj
    scale = getattr(block.ls_1, "gamma", torch.ones(projection.out_features).to(weights))
    return scale[:, None] * weighted_projection(projection, weights), scale * projection.bias
