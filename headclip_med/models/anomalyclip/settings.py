"""What an AnomalyCLIP is made of."""

from __future__ import annotations

from typing import Literal

from headclip_med.settings import ImageSize, Layer, Layers, PromptSettings, ScoreSettings, checked

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
    """One-based layers whose tokens give a map each. None takes the last alone (24), as the scripts
    of the published code's last state do. Its earlier ones named four, 6, 12, 18 and 24, which by a
    fault all gave the map of layer 24: the published numbers are those of one level."""
    deep_cast: Literal["none", "fp16"] = "fp16"
    """``fp16`` rounds the deep tokens and their gradients, as the published code does; ``none``
    keeps them exact."""
    earlier_sizes: tuple[ImageSize, ...] = ()
    """Image sizes in pixels that positions are stretched to first. The published code overwrites
    its position table whenever the size changes, so that sizes seen before degrade later ones; with
    one size throughout, as in all its scripts, there is no difference."""
