"""What a HeadCLIP is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headclip_med.settings import (
    EMBEDDED_NAME,
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

NAME = "headclip"
"""What it is called by."""

SCORES = ScoreSettings()
"""How it scores, as published."""


@checked
class HeadClipSettings(PromptSettings):
    """What a HeadCLIP is made of; where the paper is silent, whose practice the default follows."""

    local_layers: Layers | None = None
    """One-based layers with value-value attention. None takes the paper's 5 to 19 of ViT-L/14's 24,
    or the same fractions of another depth."""
    local_residual: bool = True
    """Whether the local stream starts from the tokens entering its first layer, as in CLIP Surgery
    and AnomalyCLIP, whose blocks HeadCLIP builds on; eq. 6 read literally has no such term."""
    head_weights: Literal["learned", "ones"] = "learned"
    """``ones`` switches LHW off: the same model, its head weights frozen at 1."""
    head_weight_start: Literal["1.0", "0.5", "0.0", "gaussian"] = "1.0"
    """Where the head weights start; the paper's ablation finds 1.0 best."""
    context_tokens: Count = 12
    """E: learned word embeddings per sentence."""
    deep_tokens: Count = 4
    """Learned tokens per text layer."""
    deep_layers: Annotated[int, Field(ge=0, le=1_000)] = 9
    """The first this many text layers see learned tokens; the first layer sees the context, so one
    set fewer is learned (as AnomalyCLIP's authors explain theirs)."""
    deep_first: Layer = 2
    """One-based text layer that the first set of deep tokens is put before."""
    deep_cast: Literal["none", "fp16"] = "none"
    """``fp16`` rounds the deep tokens as AnomalyCLIP's published code does."""
    normal: Words = "object"
    """The words behind the learned ones for what is normal."""
    abnormal: Words = "damaged object"
    """The words behind the learned ones for what is not."""
    class_token_norm: bool = False
    """Whether the class token passes the final norm before its projection; AnomalyCLIP's does not,
    and its authors report equal accuracy."""
    temperature: Positive = 0.07
    """Of the softmax over normal and abnormal."""
    image_size: ImageSize | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px (as
    AnomalyCLIP and AdaCLIP do), and the backbone's own size otherwise."""
    position_interpolation: PositionInterpolation = "bilinear"
    """How positions are stretched to that size."""
    mirrored: bool = False
    """Whether a model in use averages what it says of an image and of its mirror image, at twice
    the cost; training is the same."""


def usual_settings(backbone: str) -> HeadClipSettings:
    """Give what HeadCLIP is made of on a backbone where nothing else is said.

    As published; but the map of headclip-mini was pretrained through its last three layers, and its
    class token with the final norm, and on others its images are ranked no better than by chance.

    Args:
        backbone: Its name.
    """
    if backbone == EMBEDDED_NAME:
        return HeadClipSettings(local_layers=(4, 5, 6), class_token_norm=True)
    return HeadClipSettings()
