"""CLIP's two towers in plain PyTorch: what open_clip builds, without the seconds its import takes.

open_clip's package imports torchvision and timm, for towers that are refused here. A file that
describes a ViT of the plain kind, as headclip-mini's does, is built from these modules; they have
open_clip's names and compute what its own do, to the last bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_KNOWN = {
    "": {"embed_dim", "vision_cfg", "text_cfg"},
    "vision_cfg": {"layers", "width", "head_width", "patch_size", "image_size"},
    "text_cfg": {"layers", "width", "heads", "context_length", "vocab_size"},
}
"""The keys that a configuration of the plain kind has, each of them."""


def is_plain(config: Mapping[str, Any]) -> bool:
    """Tell whether a configuration asks for nothing but the towers that are built here."""
    parts = {"": config, **{name: config.get(name, {}) for name in ("vision_cfg", "text_cfg")}}
    return all(set(parts[name]) == keys for name, keys in _KNOWN.items())


class PlainClip(nn.Module):
    """Both towers and the temperature; the text tower's parts lie at the top, as in CLIP.

    Args:
        config: Of the plain kind.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        joint, text = int(config["embed_dim"]), config["text_cfg"]
        self.visual = _ImageTower(config["vision_cfg"], joint)
        width, self.context_length = int(text["width"]), int(text["context_length"])
        self.transformer = _Blocks(width, int(text["heads"]), int(text["layers"]))
        words = torch.empty(int(text["vocab_size"]), width)  # drawing so many would take a while
        self.token_embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            words, freeze=False
        )
        self.positional_embedding = nn.Parameter(torch.zeros(self.context_length, width))
        self.ln_final = _LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, joint))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        causal = torch.full((self.context_length, self.context_length), float("-inf")).triu(1)
        self.register_buffer("attn_mask", causal, persistent=False)


class _ImageTower(nn.Module):
    def __init__(self, config: Mapping[str, Any], joint: int) -> None:
        super().__init__()
        width, side, patch = (int(config[key]) for key in ("width", "image_size", "patch_size"))
        self.image_size, self.patch_size = (side, side), (patch, patch)
        self.grid_size = (side // patch, side // patch)
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        places = self.grid_size[0] * self.grid_size[1] + 1
        self.positional_embedding = nn.Parameter(torch.zeros(places, width))
        self.ln_pre = _LayerNorm(width)
        self.transformer = _Blocks(width, width // int(config["head_width"]), int(config["layers"]))
        self.ln_post = _LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, joint))


class _Blocks(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))


class _Block(nn.Module):
    """One residual block; the image tower runs its parts one by one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = _LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1 = nn.Identity()
        self.ln_2 = _LayerNorm(width)
        wide = nn.Linear(width, 4 * width)
        narrow = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=wide, gelu=nn.GELU(), c_proj=narrow))
        self.ls_2 = nn.Identity()

    def forward(self, stream: Tensor, attn_mask: Tensor) -> Tensor:
        """Add attention, then the two linear layers."""
        normed = self.ln_1(stream)
        mask = attn_mask.to(normed.dtype)
        attended = self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        stream = stream + attended
        added: Tensor = stream + self.mlp(self.ln_2(stream))
        return added


class _LayerNorm(nn.LayerNorm):
    """Gives what it was given: autocast would leave the norm's float32 behind."""

    def forward(self, stream: Tensor) -> Tensor:
        """Normalise over channels."""
        normed = functional.layer_norm(
            stream, self.normalized_shape, self.weight, self.bias, self.eps
        )
        return normed.to(stream.dtype)
