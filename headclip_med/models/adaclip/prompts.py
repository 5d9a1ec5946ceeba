"""AdaCLIP's learned parts: static prompts, generators of dynamic ones, and its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headclip_med.models.clip.prompts import INITIAL_STD
from headclip_med.models.clip.text import TextTower, end_indices
from headclip_med.models.clip.vision import VisionTower
from headclip_med.models.engine.run import PassPlan, Ran, StreamReader, run
from headclip_med.models.maps import unit
from headclip_med.prediction import Embeddings, Images

NORMAL_STATES = (
    "{}", "flawless {}", "perfect {}", "unblemished {}",
    "{} without flaw", "{} without defect", "{} without damage",
)  # fmt: skip
ABNORMAL_STATES = (
    "damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage",
)  # fmt: skip
TEMPLATES = (
    "a bad photo of a {}.", "a low resolution photo of the {}.",
    "a bad photo of the {}.", "a cropped photo of the {}.",
)  # fmt: skip
"""Every state is put into every template, as published: 28 and 20 sentences."""


@dataclass(frozen=True, eq=False)
class HybridFeatures:
    """What both prompted towers give, in the joint space and of unit length.

    Attributes:
        token: The projected class token.
        patches: The projected patches of each feature layer.
        text: Of normal and abnormal, per image.
        grid: Rows and columns of patches.
    """

    token: Embeddings
    patches: Float[Tensor, "levels batch patches joint"]
    text: Float[Tensor, "batch 2 joint"]
    grid: tuple[int, int]


def sentences(class_name: str) -> tuple[list[str], list[str]]:
    """Write the normal and the abnormal sentences about a class; hyphens become spaces."""
    name = class_name.replace("-", " ")
    normal, abnormal = (
        [template.format(state.format(name)) for state in states for template in TEMPLATES]
        for states in (NORMAL_STATES, ABNORMAL_STATES)
    )
    return normal, abnormal


class StaticPrompts(nn.Module):
    """Prompt tokens per layer that are the same for every image.

    Args:
        depth: How many layers see prompts of their own.
        shape: Tokens per layer, and their length.
        generator: Of the fresh tokens.
        unused: The first this many layers' tokens are there, but are never put in and never learn.
    """

    def __init__(
        self, depth: int, shape: tuple[int, int], generator: torch.Generator, *, unused: int = 0
    ) -> None:
        super().__init__()
        self.unused = unused
        fresh = (torch.randn(shape, generator=generator) * INITIAL_STD for _ in range(depth))
        self.layers = nn.ParameterList(nn.Parameter(tokens) for tokens in fresh)

    def forward(self) -> Float[Tensor, "depth tokens width"]:
        """Stack the layers' tokens."""
        # Without a gradient they are not even decayed by the optimiser.
        unused = [tokens.detach() for tokens in self.layers[: self.unused]]
        return torch.stack([*unused, *self.layers[self.unused :]])


class DynamicPrompts(nn.Module):
    """Prompt tokens made from an image's feature: one linear map per token."""

    def __init__(self, tokens: int, joint: int, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(joint, width) for _ in range(tokens))

    def forward(self, feature: Embeddings) -> Float[Tensor, "batch tokens width"]:
        """Make the tokens.

        Args:
            feature: Of the unprompted image tower, not normalised.
        """
        return torch.stack([head(feature) for head in self.heads], dim=1)


def hybrid_prompts(
    static: Float[Tensor, "depth tokens width"] | None,
    dynamic: Float[Tensor, "batch tokens width"] | None,
) -> Float[Tensor, "rows depth tokens width"] | None:
    """Add static and dynamic prompts; the first axis is 1 where nothing depends on the image.

    Args:
        static: Per layer, or None.
        dynamic: Per image, the same in every layer, or None.
    """
    if static is not None and dynamic is not None:
        return static[None] + dynamic[:, None]
    if static is not None:
        return static[None]
    return None if dynamic is None else dynamic[:, None]


def as_half(prompts: Float[Tensor, "*axes width"]) -> Float[Tensor, "*axes width"]:
    """Round to fp16, and the gradients as well; where copies are rounded, each is."""
    return prompts.half().to(prompts)


class SentenceEnsemble:
    """The tokens of a class's sentences; each class is cut into tokens once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Tensor, int]] = {}

    def features(
        self,
        text: TextTower,
        class_names: Sequence[str],
        prompts: Float[Tensor, "rows depth tokens width"] | None,
        *,
        half: bool = False,
    ) -> Float[Tensor, "batch 2 joint"]:
        """Encode the sentences about each image's class; what two images share, once.

        Args:
            text: The tower.
            class_names: Of each image.
            prompts: One row per image, or one for all. From the second layer on, these replace the
                positions right behind the start token: the first words, not placeholders. The first
                layer's are not used.
            half: Whether prompts are rounded, as each sentence sees them.

        Returns:
            Of normal and of abnormal: unit, mean, unit.
        """
        per_image = prompts is not None and len(prompts) > 1
        pairs = [(name, number if per_image else 0) for number, name in enumerate(class_names)]
        known = {
            (name, row): self._encode(text, name, None if prompts is None else prompts[row], half)
            for name, row in dict.fromkeys(pairs)
        }
        return torch.stack([known[pair] for pair in pairs])

    def _encode(
        self, text: TextTower, class_name: str, prompts: Tensor | None, half: bool
    ) -> Tensor:
        if class_name not in self._known:
            sides = sentences(class_name)
            self._known[class_name] = text.tokenize([*sides[0], *sides[1]]), len(sides[0])
        tokens, normal = self._known[class_name]
        tokens = tokens.to(text.text.positional_embedding.device)
        deep = None
        if prompts is not None and len(prompts) > 1:
            deep = prompts[1:, None].expand(-1, len(tokens), -1, -1)
            deep = as_half(deep) if half else deep
        encoded = unit(text(text.embed(tokens), end_indices(tokens), deep, deep_first=2))
        return unit(torch.stack([encoded[:normal].mean(dim=0), encoded[normal:].mean(dim=0)]))


def prompted_pass(
    vision: VisionTower,
    images: Images,
    prompts: Float[Tensor, "rows depth tokens channels"] | None,
    feature_layers: tuple[int, ...],
    *,
    precision: Ran = "fp32",
) -> tuple[Tensor, list[Tensor]]:
    """Run the image tower with prompt tokens behind the patches.

    Args:
        vision: The tower.
        images: Normalised as the backbone wants it.
        prompts: See ``PassPlan.prompts``.
        feature_layers: One-based layers whose patches are kept.
        precision: What the tower's products are computed in.

    Returns:
        The class token that leaves the last block, and the patches that leave each feature layer.
    """
    rows, columns = (side // vision.patch_px for side in images.shape[-2:])
    reader = StreamReader(vision, (), feature_layers)
    run(PassPlan(vision, (reader,), precision, prompts), images)
    return reader.token, [level[:, : rows * columns] for level in reader.levels]
