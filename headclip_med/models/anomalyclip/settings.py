"""What an AnomalyCLIP is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headclip_med.settings import (
    Count,
    ImageSize,
    Layer,
    Layers,
    PositionInterpolation,
    Positive,
    PromptSettings,
    ScoreSettings,
    Words,
    checked,
)

NAME = "anomalyclip"
"""What it is called by."""

SCORES = ScoreSettings(image_score="global")
"""How it scores, as published: it does without the map."""


@checked
class AnomalyClipSettings(PromptSettings):
    """What an AnomalyCLIP is made of, as its published code has it."""

    local_layers: tuple[Layer, ...] | None = None
    """One-based layers with value-value attention. None takes the published 6 to 24 of ViT-L/14's
    24, or the same fractions of another depth; empty switches it off."""
    feature_layers: Layers | None = None
    """One-based layers whose tokens give a map each. None takes four, a quarter of the depth apart
    (6, 12, 18, 24); the scripts of the published code's last state pass 24 alone."""
    context_tokens: Count = 12
    """Learned word embeddings per sentence."""
    deep_tokens: Count = 4
    """Learned tokens per text layer."""
    deep_layers: Annotated[int, Field(ge=0, le=1_000)] = 9
    """The first this many text layers see learned tokens; the first one sees the context."""
    deep_first: Layer = 2
    """One-based text layer that the first set of deep tokens is put before."""
    deep_cast: Literal["none", "fp16"] = "fp16"
    """``fp16`` rounds the deep tokens and their gradients, as the published code does; ``none``
    keeps them exact."""
    normal: Words = "object"
    """The words behind the learned ones for what is normal."""
    abnormal: Words = "damaged object"
    """The words behind the learned ones for what is not."""
    class_token_norm: bool = False
    """Whether the class token passes the final norm before its projection, as in CLIP; the
    published code leaves it out."""
    temperature: Positive = 0.07
    """Of the softmax over normal and abnormal."""
    image_size: ImageSize | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px, and the
    backbone's own size otherwise."""
    position_interpolation: PositionInterpolation = "bilinear"
    """How positions are stretched to that size."""
    earlier_sizes: tuple[ImageSize, ...] = ()
    """Image sizes in pixels that positions are stretched to first. The published code overwrites
    its position table whenever the size changes, so that sizes seen before degrade later ones; with
    one size throughout, as in all its scripts, there is no difference."""
