"""What a HeadCLIP is made of."""

from __future__ import annotations

from typing import Literal

from headclip_med.settings import EMBEDDED_NAME, Layers, PromptSettings, ScoreSettings, checked

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
    feature_layers: Layers | None = None
    """One-based layers that the local stream is read after, each giving a map; maps are averaged,
    and the local loss is summed over them, as in AnomalyCLIP. None reads it once, after the last
    local layer, as eq. 6 does; what would be read twice, or never, is refused. Without
    ``local_layers`` the local ones end at the last layer that is read."""
    local_residual: bool = True
    """Whether the local stream starts from the tokens entering its first layer, as in CLIP Surgery
    and AnomalyCLIP, whose blocks HeadCLIP builds on; eq. 6 read literally has no such term."""
    head_weights: Literal["learned", "ones"] = "learned"
    """``ones`` switches LHW off: the same model, its head weights frozen at 1."""
    head_weight_start: Literal["1.0", "0.5", "0.0", "gaussian"] = "1.0"
    """Where the head weights start; the paper's ablation finds 1.0 best."""
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
