"""The image tower of a CLIP ViT, with every block's tokens and value-value heads within reach."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.attention import attend
from headclip_med.prediction import AnyEmbeddings, Images, Tokens
from headclip_med.settings import MethodSettings, PositionInterpolation


@dataclass(frozen=True, eq=False)
class BlockOutput:
    """What one transformer block saw and gave.

    Attributes:
        layer: One-based.
        tokens_in: The stream that entered, class token first.
        tokens: The stream that left (the global path, unchanged CLIP).
        heads: H of eq. 3, softmax(V V^T / sqrt(width)) V per head, in the layers asked for.
    """

    layer: int
    tokens_in: Tokens
    tokens: Tokens
    heads: Float[Tensor, "batch heads tokens head_width"] | None


class VisionTower(nn.Module):
    """Runs the modules of an open_clip ``VisionTransformer`` block by block; adds no parameter.

    Args:
        visual: The module; its class token must be its pooled output.
        position_interpolation: How positions are stretched when images are not of its own size.
    """

    def __init__(
        self, visual: nn.Module, *, position_interpolation: PositionInterpolation = "bilinear"
    ) -> None:
        super().__init__()
        self.visual: Any = visual  # open_clip's modules are untyped
        self.position_interpolation = position_interpolation
        self.earlier_grids: tuple[int, ...] = ()

    @property
    def blocks(self) -> Any:
        """The transformer's blocks, first to last."""
        return self.visual.transformer.resblocks

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def head_count(self) -> int:
        """Attention heads per block."""
        return int(self.blocks[0].attn.num_heads)

    @property
    def patch_px(self) -> int:
        """Rows and columns of a patch."""
        return int(self.visual.patch_size[0])

    @property
    def image_size(self) -> int:
        """Rows and columns of the images it was pretrained on."""
        return int(self.visual.image_size[0])

    def run_block(self, layer: int, tokens: Tokens, *, local: bool = False) -> BlockOutput:
        """Run one block: unchanged CLIP, and its value-value heads where they are wanted.

        The heads read V of the global path and never feed back into it.

        Args:
            layer: One-based.
            tokens: The stream that enters; it may hold more tokens than the image has.
            local: Whether the heads are wanted.
        """
        block = self.blocks[layer - 1]
        query, key, value = self._split(block, tokens)
        heads = attend(value, value, value) if local else None
        left = self._add(tokens, block, attend(query, key, value))
        left = left + block.ls_2(block.mlp(block.ln_2(left)))
        return BlockOutput(layer, tokens, left, heads)

    def embed(self, images: Images) -> Tokens:
        """Cut images into patches; add class token and positions (X^0 of eq. 2)."""
        # Sides are tensors while a graph is traced.
        height, width = (int(side) for side in images.shape[-2:])
        if height % self.patch_px or width % self.patch_px:
            raise InvalidSettings(
                f"Images of {height} x {width} px cannot be cut into patches of {self.patch_px} "
                "px.",
                f"Choose a size that is a multiple of {self.patch_px}.",
                code="image-size",
            )
        visual = self.visual
        positions = self.positions(height // self.patch_px, width // self.patch_px)
        # Under autocast the stream keeps the weights' precision; only products are rounded.
        patches = visual.conv1(images).flatten(2).transpose(1, 2).to(positions)
        first = visual.class_embedding.expand(patches.shape[0], 1, -1)
        tokens = torch.cat([first, patches], dim=1) + positions
        normed: Tensor = visual.ln_pre(tokens)
        return normed

    def positions(self, rows: int, columns: int) -> Float[Tensor, "tokens channels"]:
        """Stretch the pretrained position table to a grid of patches; always from the original.

        Only where ``earlier_grids`` names the sides of other grids is the table stretched to these
        first, one after the other, as by code that overwrites it whenever a size changes.
        """
        table: Tensor = self.visual.positional_embedding
        own: tuple[int, int] = tuple(self.visual.grid_size)
        for grid in (*((side, side) for side in self.earlier_grids), (rows, columns)):
            if grid != own:
                table, own = self._stretch(table, own, grid), grid
        return table

    def _stretch(self, table: Tensor, own: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
        grid = table[1:].T.reshape(1, -1, *own)
        mode, _, antialias = self.position_interpolation.partition("-")
        stretched = functional.interpolate(
            grid.float(), size=wanted, mode=mode, align_corners=False, antialias=bool(antialias)
        )
        return torch.cat([table[:1].float(), stretched.flatten(2)[0].T])

    def run_key(self, height: int, width: int) -> tuple[object, ...]:
        """Tell apart how the same weights can be run at a size: activation, and positions."""
        activation = type(self.blocks[0].mlp.gelu).__name__
        grid = (height // self.patch_px, width // self.patch_px)
        if grid == tuple(self.visual.grid_size) and not self.earlier_grids:
            return activation, grid
        return activation, grid, self.position_interpolation, self.earlier_grids

    def add_heads(
        self,
        stream: Tokens,
        layer: int,
        heads: Float[Tensor, "batch heads tokens head_width"],
        weights: Float[Tensor, "heads"] | None = None,
    ) -> Tokens:
        """Add one layer's weighted heads to the local stream (eq. 4 and 5).

        The output projection and its bias are the block's own; the bias is not weighted. Weights
        go into the projection, as in the folded form: it is smaller than the heads of a batch.

        Args:
            stream: What the layers before have summed up (eq. 6).
            layer: One-based.
            heads: H of ``BlockOutput``.
            weights: w of eq. 4, one per head; ones by default.
        """
        block = self.blocks[layer - 1]
        return self._add(stream, block, heads, weights)

    def project(
        self, tokens: Float[Tensor, "*batch channels"], *, norm: bool = True
    ) -> AnyEmbeddings:
        """Take tokens into the space shared with text; the result is not normalised.

        Args:
            tokens: Of the stream.
            norm: Whether they pass the final norm first; AnomalyCLIP's class token does not.
        """
        with torch.autocast(tokens.device.type, enabled=False):  # comparison stays float32
            normed = self.visual.ln_post(tokens) if norm else tokens
            projected: Tensor = normed @ self.visual.proj
        return projected

    @staticmethod
    def _split(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention: nn.MultiheadAttention = block.attn
        joined = functional.linear(
            block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias
        )
        batch, count, _ = tokens.shape
        parts = joined.view(batch, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    @staticmethod
    def _add(stream: Tensor, block: Any, heads: Tensor, weights: Tensor | None = None) -> Tensor:
        projection: nn.Linear = block.attn.out_proj
        weight = projection.weight if weights is None else weighted_projection(projection, weights)
        merged = heads.transpose(1, 2).flatten(2)
        summed: Tensor = stream + block.ls_1(functional.linear(merged, weight, projection.bias))
        return summed


def weighted_projection(
    projection: nn.Linear, weights: Float[Tensor, "heads"]
) -> Float[Tensor, "channels merged"]:
    """Multiply head weights into an output projection (eq. 4); each head has its own columns."""
    width = projection.in_features // len(weights)
    return projection.weight * weights.repeat_interleave(width)


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


def default_image_size(settings: MethodSettings, vision: VisionTower) -> int:
    """Choose the image size that ``MethodSettings.image_size`` describes, in pixels."""
    if settings.image_size is not None:
        return settings.image_size
    return 518 if (vision.image_size, vision.patch_px) == (336, 14) else vision.image_size
