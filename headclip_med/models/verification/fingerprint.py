"""How well a pair of towers tells drawn pictures by their sentences, as asked and run otherwise.

No stored number is needed: sentences that are dealt out by chance match with a strength of mean 0
and standard deviation 1, whatever the towers are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from headclip_med.errors import UnusableWeights
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.clip.towers import Backbone, variant
from headclip_med.models.engine.run import LastToken, PassPlan, run
from headclip_med.models.maps import unit
from headclip_med.models.verification.drawings import draw_all
from headclip_med.prediction import Images

TELLING = 4.0
"""Strength from which towers are taken to know the drawings: by chance it is met once in 30,000."""

CLEARLY = 4.0
"""How many times what some drawings lose others must gain where another way to run fits better. The
few that a fault touches change by much, so that a standard error over all would not show it."""

LEAST_GAIN = 0.3
"""How much another way to run must gain at least, in nats per drawing."""

SHARPEST = 100.0
"""The inverse temperature that CLIP's training never exceeds."""

AT_ONCE = 6
"""Pictures per pass."""

NORMALISATIONS = {
    "CLIP's mean and deviation": (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711),
    ),
    "a mean and deviation of 0.5": ((0.5,) * 3, (0.5,) * 3),
    "pixels that are not shifted or scaled": ((0.0,) * 3, (1.0,) * 3),
}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """How pictures and sentences match in one way to run the towers.

    Attributes:
        way: How they are run, in words.
        strength: Match of pictures and sentences within each group, in standard deviations of what
            sentences dealt out by chance give; all groups together.
        hits: How many pictures have their own sentence first.
        chance: How many would by chance: one per group.
        losses: CLIP's own loss, in nats per picture.
    """

    way: str
    strength: float
    hits: int
    chance: int
    losses: tuple[float, ...] = field(repr=False)

    @property
    def is_telling(self) -> bool:
        """Whether the towers know the drawings."""
        return self.strength >= TELLING

    @property
    def loss(self) -> float:
        """Mean of the losses."""
        return float(np.mean(self.losses))

    def is_clearly_better(self, other: Fit) -> bool:
        """Tell whether the towers know the drawings, and better than when run the other way."""
        gains = np.subtract(other.losses, self.losses)
        gained, lost = gains.clip(min=0).sum(), -gains.clip(max=0).sum()
        return self.is_telling and bool(gains.mean() >= LEAST_GAIN and gained >= CLEARLY * lost)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What drawn pictures tell of towers.

    Attributes:
        similarities: Cosines of pictures and sentences, run as asked.
        sentences: In the order of both axes.
        drawings: SHA-256 of the pictures.
        fits: Run as asked, then otherwise.
    """

    similarities: Float[np.ndarray, "drawings drawings"]
    sentences: tuple[str, ...]
    drawings: str
    fits: tuple[Fit, ...]

    @cached_property
    def better(self) -> Fit | None:
        """The best of the other ways to run, where one is clearly better than what was asked."""
        asked, *others = self.fits
        clearly = [one for one in others if one.is_clearly_better(asked)]
        return min(clearly, key=lambda one: one.loss, default=None)

    @property
    def verdict(self) -> Literal["right", "otherwise", "not-telling"]:
        """What follows: nothing where the towers do not know the drawings in any way."""
        if self.better is not None:
            return "otherwise"
        return "right" if self.fits[0].is_telling else "not-telling"


@torch.inference_mode()
def take_fingerprint(
    backbone: Backbone, *, seen: Callable[[int, int], None] = lambda count, total: None
) -> Fingerprint:
    """Show the drawings at the size the towers were trained on.

    Args:
        backbone: The towers.
        seen: Is told how many more ways to run them were tried, and of how many in all.

    Raises:
        UnusableWeights: What they give are no numbers.
    """
    drawn = draw_all(backbone.vision.image_size)
    sentences = tuple(one.sentence for one in drawn)
    stacked = np.stack([one.pixels01 for one in drawn])
    pixels = torch.from_numpy(stacked).to(backbone.device)
    groups = [one.group for one in drawn]
    scale = min(float(backbone.clip.logit_scale.exp()), SHARPEST)
    shown = backbone.normalise(pixels)
    pictures, text = _pictures(backbone, shown), unit(backbone.text.encode(sentences))
    own = pictures @ text.T
    if not bool(torch.isfinite(own).all()):
        raise UnusableWeights(
            f"The towers of {backbone.name} give values that are no numbers.",
            "The weights are damaged, or not meant for this model; get them anew.",
            code="weights-not-finite",
        )
    fits = [fit_of("as asked", own, groups, scale)]
    others = list(_other_ways(backbone, sentences, pixels, pictures))
    seen(1, 1 + len(others))
    for way, cosines in others:
        fits.append(fit_of(way, cosines(), groups, scale))
        seen(1, 1 + len(others))
    digest = hashlib.sha256(np.round(stacked * 255).astype(np.uint8).tobytes()).hexdigest()
    return Fingerprint(own.cpu().numpy(), sentences, digest, tuple(fits))


def fit_of(
    way: str, similarities: Float[Tensor, "drawings drawings"], groups: list[str], scale: float
) -> Fit:
    """Judge cosines of pictures and sentences, each group by itself.

    With rows and columns centred, A, the sum of the diagonal over all ways to deal out n sentences
    has mean 0 and variance sum(A^2) / (n - 1).

    Args:
        way: How the towers were run.
        similarities: Of pictures (rows) and sentences, in the same order.
        groups: Of each.
        scale: Inverse temperature of the loss.
    """
    strengths, hits, losses = [], 0, []
    for group in dict.fromkeys(groups):
        places = torch.tensor([place for place, one in enumerate(groups) if one == group])
        block = similarities.double().cpu()[places][:, places]
        centred = block - block.mean(0) - block.mean(1, keepdim=True) + block.mean()
        deviation = (centred.square().sum() / (len(block) - 1)).sqrt()
        strengths.append(float(centred.trace() / deviation) if deviation > 0 else 0.0)
        hits += int((centred.argmax(1) == torch.arange(len(block))).sum())
        logits = block * scale
        both = logits.log_softmax(0).diagonal() + logits.log_softmax(1).diagonal()
        losses += (-both / 2).tolist()
    return Fit(way, sum(strengths) / math.sqrt(len(strengths)), hits, len(strengths), tuple(losses))


_Cosines = Callable[[], Tensor]


def _other_ways(
    backbone: Backbone, sentences: Sequence[str], pixels: Images, pictures: Tensor
) -> Iterator[tuple[str, _Cosines]]:
    """Give what is mistaken most often, where it differs from what was asked, and its cosines."""
    other: Activation = "gelu" if backbone.activation == "quickgelu" else "quickgelu"
    text, shown = unit(backbone.text.encode(sentences)), backbone.normalise(pixels)

    def activated() -> Tensor:
        interpolation = backbone.vision.position_interpolation
        otherwise = variant(backbone, activation=other, position_interpolation=interpolation)
        return _pictures(otherwise, shown) @ unit(otherwise.text.encode(sentences)).T

    def seen_as(images: Images) -> Tensor:
        return _pictures(backbone, images) @ text.T

    yield f"with {other}", activated
    for words, (mean, deviation) in NORMALISATIONS.items():
        shift, width = (pixels.new_tensor(one).view(1, 3, 1, 1) for one in (mean, deviation))
        changed = (pixels - shift) / width
        if not torch.allclose(changed, shown, atol=1e-4):
            yield f"with {words}", partial(seen_as, changed)
    flipped = backbone.normalise(pixels.flip(1))
    yield "with red and blue exchanged", partial(seen_as, flipped)
    sentence_tower, picture_tower = backbone.text.text, backbone.vision.visual
    if _is_square(sentence_tower, "text_projection"):

        def mixed_up() -> Tensor:
            with _transposed(sentence_tower, "text_projection"):
                return pictures @ unit(backbone.text.encode(sentences)).T

        yield "with the text projection transposed", mixed_up
    if _is_square(picture_tower, "proj"):

        def turned() -> Tensor:
            with _transposed(picture_tower, "proj"):
                return seen_as(shown)

        yield "with the image projection transposed", turned


def _pictures(backbone: Backbone, shown: Images) -> Float[Tensor, "drawings joint"]:
    """Encode normalised pictures as CLIP does: the class token, normed and projected."""
    vision, found = backbone.vision, []
    for start in range(0, len(shown), AT_ONCE):
        some = shown[start : start + AT_ONCE]
        reader = LastToken()
        run(PassPlan(vision, (reader,)), some)
        found.append(unit(vision.project(reader.token.float())))
    return torch.cat(found)


def _is_square(owner: Any, name: str) -> bool:
    own = getattr(owner, name)
    return isinstance(own, nn.Parameter) and own.ndim == 2 and own.shape[0] == own.shape[1]


@contextmanager
def _transposed(owner: Any, name: str) -> Iterator[None]:
    """Transpose a square projection for a while."""
    own = getattr(owner, name)
    setattr(owner, name, nn.Parameter(own.T.contiguous(), requires_grad=False))
    try:
        yield
    finally:
        setattr(owner, name, own)
