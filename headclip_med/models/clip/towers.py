"""CLIP built by open_clip: one pair of frozen towers that every method stands on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property, lru_cache
from typing import Any

import open_clip
import torch
from jaxtyping import Float
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.text import TextTower
from headclip_med.models.clip.vision import PositionInterpolation, VisionTower
from headclip_med.models.clip.weights import Activation


class Backbone(nn.Module):
    """The two towers, what they expect of an image, and what they are called.

    Attributes:
        clip: The open_clip model that the towers share their parameters with.
        vision: Image tower.
        text: Text tower.
        name: What it was asked for by, for example ``ViT-L-14-336``.
        weights: Where its weights came from, in words: a tag, ``random``, ``embedded``, ``file``.
        activation: What the weights were trained with and are run with.
    """

    def __init__(
        self,
        clip: Any,
        *,
        name: str,
        weights: str,
        activation: Activation,
        preprocess: Mapping[str, tuple[float, ...]],
    ) -> None:
        super().__init__()
        self.clip: Any = clip.eval().requires_grad_(False)
        self.vision = VisionTower(clip.visual)
        self.text = TextTower(*_text_parts(clip))
        self.name = name
        self.weights = weights
        self.activation = activation
        for key in ("mean", "std"):
            values = torch.tensor(preprocess[key]).view(1, 3, 1, 1)
            self.register_buffer(f"_{key}", values, persistent=False)

    def normalise(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Shift and scale images in [0, 1] to what the image tower was trained on."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        return (images - mean) / std

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and float32 values of all weights, whatever file they came in."""
        digest = hashlib.sha256(self.activation.encode())
        for key, value in sorted(self.clip.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def build_clip(
    config: Mapping[str, Any],
    *,
    name: str = "custom",
    weights: str = "random",
    preprocess: Mapping[str, tuple[float, ...]] | None = None,
    seed: int = 0,
) -> Backbone:
    """Build randomly initialised towers from an open_clip model configuration.

    Args:
        config: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and optionally ``quick_gelu``.
        name: What to call it.
        weights: Where its weights come from, in words.
        preprocess: ``mean`` and ``std`` per channel; OpenAI's by default.
        seed: Of the random weights; the caller's random state is left as it was.

    Raises:
        InvalidSettings: The configuration is not that of a native ViT with a class token.
    """
    wanted = {key: value for key, value in config.items() if key not in ("custom_text",)}
    refuse_foreign_towers(wanted)
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    with _seeded(seed):
        clip = kind(**wanted)
    activation: Activation = "quickgelu" if config.get("quick_gelu") else "gelu"
    stated = preprocess or {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
    }
    return Backbone(clip, name=name, weights=weights, activation=activation, preprocess=stated)


def variant(
    backbone: Backbone,
    *,
    activation: Activation,
    position_interpolation: PositionInterpolation,
) -> Backbone:
    """Give the same towers, run otherwise; they share every parameter, and the digest stays.

    Args:
        backbone: Is left as it is.
        activation: What the blocks are run with, whatever the weights were trained with.
        position_interpolation: How positions are stretched to other image sizes.
    """
    tensors = (*backbone.clip.parameters(), *backbone.clip.buffers())
    clip = deepcopy(backbone.clip, {id(tensor): tensor for tensor in tensors})
    kind = QuickGELU if activation == "quickgelu" else nn.GELU
    for module in clip.modules():
        if isinstance(getattr(module, "mlp", None), nn.Sequential):
            module.mlp.gelu = kind()
    own = {key: tuple(backbone.get_buffer(f"_{key}").flatten().tolist()) for key in ("mean", "std")}
    other = Backbone(
        clip, name=backbone.name, weights=backbone.weights, activation=backbone.activation,
        preprocess=own,
    )  # fmt: skip
    other.vision.position_interpolation = position_interpolation
    other.digest = backbone.digest  # the same weights: hashed once
    return other.to(backbone.get_buffer("_mean").device)


def refuse_foreign_towers(config: Mapping[str, Any]) -> None:
    """Accept native ViTs with a class token and a causal text tower only.

    Raises:
        InvalidSettings: The model is of another kind.
    """
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    foreign = (
        ("timm_model_name" in vision or not isinstance(vision.get("layers"), int), "image tower"),
        (vision.get("attentional_pool"), "attentional pooling"),
        (vision.get("pool_type", "tok") != "tok", "pooling without a class token"),
        ("hf_model_name" in text or "hf_tokenizer_name" in text, "text tower"),
        (text.get("embed_cls") or text.get("no_causal_mask"), "text tower"),
        (text.get("pool_type", "argmax") not in ("argmax", "eos"), "text pooling"),
        ("multimodal_cfg" in config, "caption decoder"),
        (any(vision.get(key) or text.get(key) for key in _CUSTOM_BLOCKS), "attention blocks"),
    )
    for is_foreign, part in foreign:
        if is_foreign:
            raise InvalidSettings(
                f"The model's {part} is of another kind, whose attention heads cannot be reached.",
                "Choose a native ViT such as ViT-B-16 or ViT-L-14-336.",
                code="foreign-tower",
            )


_CUSTOM_BLOCKS = (
    "block_type", "qk_norm", "scaled_cosine_attn", "scale_heads",
    "scale_attn_inner", "scale_attn", "scale_fc",
)  # fmt: skip


def _text_parts(clip: Any) -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    text: Any = getattr(clip, "text", clip)
    return text, tokenizer(int(text.context_length))


@lru_cache(maxsize=4)
def tokenizer(context_length: int) -> open_clip.SimpleTokenizer:
    """Give CLIP's own tokenizer; rows are padded to the context length."""
    return open_clip.SimpleTokenizer(context_length=context_length)  # unpacks its vocabulary


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
