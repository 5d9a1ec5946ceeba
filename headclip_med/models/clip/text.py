"""The text tower of a CLIP, open to learnable tokens at its input and between its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headclip_med.prediction import SentenceVectors, TokenIds

Tokenizer = Callable[[list[str]], Tensor]


class TextTower(nn.Module):
    """Runs the text modules of an open_clip model; adds no parameter.

    Args:
        text: The module that holds ``token_embedding``, ``positional_embedding``, ``transformer``,
            ``ln_final`` and ``text_projection``.
        tokenizer: Turns sentences into padded rows of token numbers.
    """

    def __init__(self, text: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.text: Any = text  # open_clip's modules are untyped
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """Length of a word embedding."""
        return int(self.text.token_embedding.embedding_dim)

    @property
    def depth(self) -> int:
        """How many transformer blocks there are."""
        return len(self.text.transformer.resblocks)

    def tokenize(self, sentences: Sequence[str]) -> TokenIds:
        """Turn sentences into token numbers, cropped to the longest one's end token.

        The tower is causal, so nothing behind the end token can reach the output: the crop is
        exact, and with short prompts several times cheaper.
        """
        tokens = self.tokenizer(list(sentences))
        return tokens[:, : int(end_indices(tokens).max()) + 1]

    def embed(self, tokens: TokenIds) -> Float[Tensor, "prompts tokens width"]:
        """Look up word embeddings, without positions."""
        embedded: Tensor = self.text.token_embedding(tokens)
        return embedded

    def forward(
        self,
        embeddings: Float[Tensor, "prompts tokens width"],
        end_index: Int[Tensor, "prompts"],
        deep: Float[Tensor, "sets *prompts deep_tokens width"] | None = None,
        *,
        deep_first: int = 2,
    ) -> SentenceVectors:
        """Encode embedded sentences.

        Args:
            embeddings: Word embeddings, without positions.
            end_index: Where each sentence's end token stands.
            deep: Learnable tokens: set i replaces the positions right behind the start token
                before block ``deep_first + i``, so that each layer sees fresh ones. They are the
                same for all sentences, or each has its own.
            deep_first: One-based block before which the first set is put in.

        Returns:
            Text features, not normalised.
        """
        text = self.text
        count = embeddings.shape[1]
        hidden = embeddings + text.positional_embedding[:count].to(embeddings)
        mask = text.attn_mask[:count, :count].to(hidden)
        sets = () if deep is None else deep
        for layer, block in enumerate(text.transformer.resblocks, start=1):
            which = layer - deep_first
            if 0 <= which < len(sets):
                fresh = sets[which].to(hidden).expand(len(hidden), -1, -1)
                hidden = torch.cat([hidden[:, :1], fresh, hidden[:, 1 + fresh.shape[1] :]], dim=1)
            hidden = block(hidden, attn_mask=mask)
        ends = hidden[torch.arange(len(hidden), device=hidden.device), end_index]
        return self._project(text.ln_final(ends))

    def encode(self, sentences: Sequence[str]) -> SentenceVectors:
        """Encode plain sentences: equal to open_clip's ``encode_text``, not normalised."""
        tokens = self.tokenize(sentences).to(self.text.positional_embedding.device)
        features: Tensor = self(self.embed(tokens), end_indices(tokens))
        return features

    def _project(self, features: Tensor) -> Tensor:
        projection = self.text.text_projection
        if projection is None:
            return features
        linear = isinstance(projection, nn.Linear)
        projected: Tensor = projection(features) if linear else features @ projection
        return projected


def end_indices(tokens: TokenIds) -> Int[Tensor, "prompts"]:
    """Find each sentence's end token: it has the highest number of the vocabulary."""
    return tokens.argmax(dim=-1)
