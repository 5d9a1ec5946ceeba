"""The file that AdaCLIP's authors publish, a flat state of ``clip_model.``: names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import quarter_layers
from headclip_med.models.imported import compare, count_of, length_of

_PARTS = {
    "static_text.layers": "text_prompter.static_prompts",
    "static_image.layers": "visual_prompter.static_prompts",
    "dynamic_text.heads": "dynamic_text_prompt_generator.head",
    "dynamic_image.heads": "dynamic_visual_prompt_generator.head",
    "patch_heads": "patch_token_layer.head",
    "token_head": "cls_token_layer.head.0",
}
"""Our names, and the published ones behind ``clip_model.``."""


def build_published(
    found: Mapping[str, Any], backbone: Backbone, feature_layers: tuple[int, ...] | None
) -> AdaClip:
    """Build the form that learns, with a published file's tensors; see ``Learning.published``.

    Raises:
        UnusableWeights: Names or shapes differ; the message says which.
    """
    model = AdaClip(backbone, _settings(found, backbone.vision.depth, feature_layers))
    fit_published(model, found)
    return model


def fit_published(model: AdaClip, found: Mapping[str, Any]) -> None:
    """Put the tensors of a published file into a model.

    Raises:
        UnusableWeights: Names or shapes differ; the message says which.
    """
    names = {key: published_name(key) for key in model.learned_state()}
    shapes = {names[key]: tuple(value.shape) for key, value in model.learned_state().items()}
    compare(found, shapes)
    model.load_learned({key: found[name] for key, name in names.items()})


def _settings(
    state: Mapping[str, Any], depth: int, feature_layers: tuple[int, ...] | None
) -> AdaClipSettings:
    usual, prompts = AdaClipSettings(), "clip_model.visual_prompter.static_prompts"
    levels = count_of(state, "clip_model.patch_token_layer.head") or 4
    return AdaClipSettings(
        prompt_depth=count_of(state, prompts) or usual.prompt_depth,
        prompt_tokens=length_of(state.get(f"{prompts}.0"), 0) or usual.prompt_tokens,
        feature_layers=feature_layers or quarter_layers(depth, levels),
    )


def published_name(key: str) -> str:
    """Name a learned tensor as the published code does."""
    part = next(part for part in _PARTS if key == part or key.startswith(f"{part}."))
    return f"clip_model.{_PARTS[part]}{key.removeprefix(part)}"
