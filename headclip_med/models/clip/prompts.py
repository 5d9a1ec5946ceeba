"""Learnable object-agnostic prompts for "normal" and "abnormal"."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.text import TextTower, end_indices
from headclip_med.models.maps import unit
from headclip_med.settings import PromptSettings

INITIAL_STD = 0.02
"""Standard deviation of fresh tokens, as CLIP starts its own word embeddings."""


class ObjectAgnosticPrompts(nn.Module):
    """Word embeddings learned in place of a sentence, and fresh tokens for the layers behind.

    The two sentences are ``[V1]..[VE] object.`` and ``[W1]..[WE] damaged object.``; before text
    block 2 and later ones, the positions right behind the start token are replaced by learned
    tokens of that layer.

    Args:
        text: The frozen tower; only its word embeddings and sizes are read here.
        settings: Number of tokens and layers.
        seed: Of the fresh tokens.

    Raises:
        InvalidSettings: The sentences are longer than the tower's context.
    """

    def __init__(self, text: TextTower, settings: PromptSettings, *, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        placeholder = " ".join(["X"] * settings.context_tokens)
        self.sentences = tuple(
            f"{placeholder} {words}." for words in (settings.normal, settings.abnormal)
        )
        tokens = text.tokenize(self.sentences)
        ends = end_indices(tokens)
        full_stop = text.tokenize(["."])[0, 1]
        if bool((tokens[torch.arange(2), ends - 1] != full_stop).any()):
            raise InvalidSettings(
                f"{settings.context_tokens} context tokens do not fit the text tower.",
                "Use fewer.",
                code="prompt-too-long",
            )
        with torch.no_grad():
            self.register_buffer("_embedded", text.embed(tokens).clone(), persistent=False)
        self.register_buffer("_ends", ends, persistent=False)
        generator = torch.Generator().manual_seed(seed)
        width = text.width
        sets = max(0, min(settings.deep_layers, text.depth) - settings.deep_first + 1)
        self.context = nn.Parameter(_fresh(generator, 2, settings.context_tokens, width))
        self.deep = nn.Parameter(_fresh(generator, sets, settings.deep_tokens, width))

    def embeddings(self) -> Float[Tensor, "2 tokens width"]:
        """Put the learned words into the two sentences, behind the start token."""
        embedded = self.get_buffer("_embedded")
        count = self.settings.context_tokens
        return torch.cat([embedded[:, :1], self.context, embedded[:, 1 + count :]], dim=1)

    def forward(self, text: TextTower) -> Float[Tensor, "2 joint"]:
        """Encode both sentences.

        Returns:
            Unit text features f_N and f_A, in this order.
        """
        deep: Tensor = self.deep
        if self.settings.deep_cast == "fp16":
            # Each sentence its own copy, so that gradients are rounded before they are summed.
            deep = deep[:, None].expand(-1, len(self.sentences), -1, -1).half().to(deep)
        features = text(
            self.embeddings(),
            self.get_buffer("_ends"),
            deep if len(deep) else None,
            deep_first=self.settings.deep_first,
        )
        return unit(features)


def _fresh(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator) * INITIAL_STD
