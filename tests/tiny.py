"""A CLIP small enough to be built in milliseconds, with random weights."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from headclip_med.models.clip.hub import FoundModel
from headclip_med.models.clip.towers import Backbone, assemble
from headclip_med.models.clip.vision import BlockOutput, VisionTower
from headclip_med.models.engine.run import PassPlan, run
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings

CONFIG: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {
        "layers": 4, "width": 16, "head_width": 4, "patch_size": 4, "image_size": 16,
    },
    "text_cfg": {
        "context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 4,
    },
}  # fmt: skip


def build_clip(
    config: dict[str, Any],
    *,
    name: str = "custom",
    preprocess: dict[str, tuple[float, ...]] | None = None,
    seed: int = 0,
) -> Backbone:
    """Build towers of an open_clip configuration with random weights."""
    return assemble(FoundModel(config, preprocess, name, "random"), seed=seed)


def backbone(seed: int = 0, **changes: Any) -> Backbone:
    return build_clip({**CONFIG, **changes}, name="tiny", seed=seed)


def model(settings: HeadClipSettings | None = None, *, seed: int = 0) -> HeadClip:
    """Build a HeadCLIP whose learned parts are not where they start."""
    built = HeadClip(backbone(), settings or HeadClipSettings(local_layers=(2, 3)), seed=seed)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        if built.head_weights.requires_grad:
            built.head_weights.copy_(
                torch.rand(built.head_weights.shape, generator=generator) + 0.5
            )
        built.prompts.context.mul_(10)
        built.prompts.deep.mul_(10)
    return built


class _Blocks:
    def __init__(self, local_layers: Collection[int]) -> None:
        self.local_layers = local_layers
        self.blocks: list[BlockOutput] = []

    def read(self, block: BlockOutput) -> None:
        self.blocks.append(block)


def walk(
    vision: VisionTower, images: torch.Tensor, local_layers: Collection[int] = ()
) -> list[BlockOutput]:
    """Run a tower, and keep what every block gives."""
    reader = _Blocks(local_layers)
    run(PassPlan(vision, (reader,)), images)
    return reader.blocks


def images(count: int = 2, size: int = 16, seed: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
