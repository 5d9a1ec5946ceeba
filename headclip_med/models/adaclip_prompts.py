"""AdaCLIP's learned parts: static prompts, generators of dynamic ones, and its sentences."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.models.prompts import INITIAL_STD
from headclip_med.models.text import TextTower, end_indices

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
    """

    def __init__(self, depth: int, shape: tuple[int, int], generator: torch.Generator) -> None:
        super().__init__()
        fresh = (torch.randn(shape, generator=generator) * INITIAL_STD for _ in range(depth))
        self.layers = nn.ParameterList(nn.Parameter(tokens) for tokens in fresh)

    def forward(self) -> Float[Tensor, "depth tokens width"]:
        """Stack the layers' tokens."""
        return torch.stack(list(self.layers))


class DynamicPrompts(nn.Module):
    """Prompt tokens made from an image's feature: one linear map per token."""

    def __init__(self, tokens: int, joint: int, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(joint, width) for _ in range(tokens))

    def forward(self, feature: Float[Tensor, "batch joint"]) -> Float[Tensor, "batch tokens width"]:
        """Make the tokens.

        Args:
            feature: Of the unprompted image tower, not normalised.
        """
        return torch.stack([head(feature) for head in self.heads], dim=1)


def hybrid_prompts(
    static: Float[Tensor, "depth tokens width"] | None,
    dynamic: Float[Tensor, "batch tokens width"] | None,
    *,
    half: bool,
) -> Float[Tensor, "rows depth tokens width"] | None:
    """Add static and dynamic prompts; the first axis is 1 where nothing depends on the image.

    Args:
        static: Per layer, or None.
        dynamic: Per image, the same in every layer, or None.
        half: Round to fp16, and the gradients as well.
    """
    if static is not None and dynamic is not None:
        prompts = static[None] + dynamic[:, None]
    elif static is not None:
        prompts = static[None]
    elif dynamic is not None:
        prompts = dynamic[:, None]
    else:
        return None
    return prompts.half().to(prompts) if half else prompts


class SentenceEnsemble:
    """The tokens of a class's sentences; each class is cut into tokens once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Tensor, int]] = {}

    def tokens(self, text: TextTower, class_name: str) -> tuple[Int[Tensor, "prompts tokens"], int]:
        """Give the tokens of all sentences, and how many of them, the first ones, are normal."""
        if class_name not in self._known:
            normal, abnormal = sentences(class_name)
            self._known[class_name] = text.tokenize([*normal, *abnormal]), len(normal)
        return self._known[class_name]

    def features(
        self,
        text: TextTower,
        class_name: str,
        prompts: Float[Tensor, "depth tokens width"] | None,
    ) -> Float[Tensor, "2 joint"]:
        """Encode all sentences and average them: unit, mean, unit.

        Args:
            text: The tower.
            class_name: What the sentences are about.
            prompts: From the second layer on, these replace the positions right behind the start
                token: the first words, not placeholders. The first layer's are not used.

        Returns:
            Of normal and of abnormal.
        """
        tokens, normal = self.tokens(text, class_name)
        tokens = tokens.to(text.text.positional_embedding.device)
        deep = None if prompts is None or len(prompts) < 2 else prompts[1:]
        encoded = text(text.embed(tokens), end_indices(tokens), deep, deep_first=2)
        unit = functional.normalize(encoded.float(), dim=-1)
        means = torch.stack([unit[:normal].mean(dim=0), unit[normal:].mean(dim=0)])
        return functional.normalize(means, dim=-1)
