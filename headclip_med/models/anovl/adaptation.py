"""AnoVL's test-time adaptation: a linear map learned on the patches of the image at hand.

Its gradients are of the order of 1e-6, so that the last digit of a sum shows in their fourth.
Shapes and sums are therefore the published code's: the same tokens and noise give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from headclip_med.models.maps import unit
from headclip_med.prediction import AnyEmbeddings, GridTokens, SentenceVectors, TextPair

SHARE = 0.5
"""Of the adapted part in a token; the rest stays as it was."""
NOISY_WEIGHT = 0.5
"""Of the loss that tells noisy patches from clean ones, beside the entropy of clean ones."""


class PatchAdapter:
    """Moves patches towards the sentences: x / 2 + tanh(W x / |x| + b) E / 2.

    Args:
        prompts: E, the unit features of all sentences, the normal ones first.
        text: Unit features of normal and abnormal.
        temperature: Of the softmax over both.
        rate: Learning rate of AdamW.
    """

    def __init__(
        self, prompts: SentenceVectors, text: TextPair, *, temperature: float, rate: float
    ) -> None:
        self._prompts, self._text, self._temperature = prompts, text, temperature
        self.weight = torch.zeros_like(prompts, requires_grad=True)
        self.bias = torch.zeros_like(prompts[:, 0], requires_grad=True)
        self._optimiser = torch.optim.AdamW([self.weight, self.bias], lr=rate)

    @torch.no_grad()
    def restart(self, weight: SentenceVectors, bias: Float[Tensor, "prompts"]) -> None:
        """Begin with another W and b; the optimiser's moments stay."""
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def restart_at_random(self, generator: torch.Generator) -> None:
        """Begin with W and b as PyTorch starts a linear map: U(-1/sqrt(n), 1/sqrt(n))."""
        bound = self.weight.shape[1] ** -0.5
        weight, bias = (
            (torch.rand(one.shape, generator=generator) * 2 - 1) * bound
            for one in (self.weight, self.bias)
        )
        self.restart(weight.to(self.weight), bias.to(self.bias))

    def __call__(self, tokens: AnyEmbeddings) -> AnyEmbeddings:
        """Adapt tokens; they are not normalised before or after."""
        # Not ``unit``: the published code divides by the bare length.
        direction = tokens / tokens.norm(dim=-1, keepdim=True)
        moved = functional.linear(direction, self.weight, self.bias).tanh() @ self._prompts
        return (1 - SHARE) * tokens + SHARE * moved

    def probabilities(
        self, tokens: Float[Tensor, "batch rows columns joint"]
    ) -> Float[Tensor, "batch rows columns 2"]:
        """Adapt tokens, and compare them with the text: P(normal), P(abnormal)."""
        # The text's first axis keeps rows apart in the product, as there.
        logits = unit(self(tokens)) @ self._text.T[None] / self._temperature
        return logits.softmax(dim=-1)

    def fit(self, tokens: GridTokens, noises: Iterable[GridTokens]) -> Iterator[float]:
        """Take a step for every noise given.

        Args:
            tokens: The patches of one image, not normalised.
            noises: What makes them abnormal, a step at a time.

        Yields:
            The loss before each step.
        """
        for noise in noises:
            with torch.enable_grad():
                both = self.probabilities(torch.stack([tokens, tokens + noise]))
                loss = adaptation_loss(both[0], both[1])
                self._optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
            yield float(loss.detach())


def adaptation_loss(
    clean: Float[Tensor, "*patches 2"], noisy: Float[Tensor, "*patches 2"]
) -> Float[Tensor, ""]:
    """Entropy of clean patches, and half of: noisy ones are abnormal, clean ones are normal."""
    abnormal = torch.tensor([0.0, 1.0]).to(clean)
    entropy = (-clean * clean.log()).sum(dim=-1).mean()
    told_apart = (-abnormal * noisy.log() - (1 - abnormal) * clean.log()).sum(dim=-1).mean()
    return entropy + NOISY_WEIGHT * told_apart
