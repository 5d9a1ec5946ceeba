"""What an AdaCLIP is made of."""

from __future__ import annotations

from typing import Literal

from headclip_med import settings

NAME = "adaclip"
"""What it is called by."""

SCORES = settings.ScoreSettings(image_score="global")
"""How it scores, as published: it does without the map."""


@settings.checked
class AdaClipSettings(settings.MethodSettings):
    """What an AdaCLIP is made of, as its published code has it."""

    class_name: settings.Words = "object"
    """What is looked at, as the sentences call it; the published code takes the category's name.
    Hyphens become spaces."""
    prompts: Literal["static+dynamic", "static", "dynamic"] = "static+dynamic"
    """Static prompts are learned, dynamic ones are made from the image; both are added up."""
    prompted_towers: Literal["both", "image", "text", "none"] = "both"
    """Where prompts are put in."""
    prompt_tokens: settings.Count = 5
    """Prompt tokens per layer."""
    prompt_depth: settings.Layer = 4
    """The first this many layers see prompts of their own; in the text tower the first one does
    not, as in the published code, so that its static prompts are never used."""
    prompt_cast: Literal["none", "fp16"] = "fp16"
    """``fp16`` rounds prompts and their gradients, as the published code does; ``none`` keeps them
    exact."""
    feature_layers: settings.Layers | None = None
    """One-based layers whose tokens give a map each. None takes four, a quarter of the depth apart
    (the published 6, 12, 18, 24 of ViT-L/14)."""
    fusion: bool = True
    """Whether hybrid semantic fusion adds the centres of the most abnormal patches to the class
    token before the image is scored."""
    fusion_weight: settings.Fraction = 0.2
    """Share of those centres."""
    clusters: settings.Count = 20
    """k of the k-means that finds them; five times as many patches are clustered."""
    cluster_seed: settings.Seed = 0
    """Of k-means. The published code draws from NumPy's global state, unseeded in its test."""
    mlp_activation: Literal["gelu", "trained-with"] = "gelu"
    """What the towers are run with. The published code runs OpenAI's weights with GELU although
    they were trained with QuickGELU, so its checkpoints need ``gelu``; ``trained-with`` takes what
    the weights were trained with."""
    logit_scale: settings.Positive = 100.0
    """Factor on cosines before a softmax."""
    position_interpolation: settings.PositionInterpolation = "bicubic"
    """How positions are stretched to that size."""
