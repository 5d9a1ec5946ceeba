"""CLIP's tensors under the names that transformers gives them, brought to open_clip's.

Queries, keys and values are three tensors there and one here, and the two projections into the
joint space are stored the other way round. All else is the same tensor under another name: nothing
is computed, and no bit changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_TOWERS = {"text_model.": "", "vision_model.": "visual."}

_NAMES = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "pre_layrnorm.": "ln_pre.",  # its spelling there
    "pre_layernorm.": "ln_pre.",
    "post_layernorm.": "ln_post.",
    "final_layer_norm.": "ln_final.",
}
_IN_A_BLOCK = {
    "self_attn.out_proj.": "attn.out_proj.",
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}
_TURNED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}

_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_JOINED = re.compile(r"self_attn\.([qkv])_proj\.(weight|bias)")


def is_transformers(state: Mapping[str, object]) -> bool:
    """Tell whether tensors have transformers' names."""
    return any(str(name).startswith(tuple(_TOWERS)) for name in state)


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors open_clip's names; one that has no counterpart keeps its own.

    Args:
        state: By transformers' names.
    """
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.endswith("embeddings.position_ids"):  # 0, 1, 2, ...
            continue
        if name in _TURNED:
            found[_TURNED[name]] = value.t().contiguous()
            continue
        tower, rest = _tower(name)
        block = _BLOCK.fullmatch(rest)
        joined = block and _JOINED.fullmatch(block[2])
        if block and joined:
            place = f"{tower}transformer.resblocks.{block[1]}.attn.in_proj_{joined[2]}"
            parts.setdefault(place, {})[joined[1]] = value
        elif block:
            inner = _renamed(block[2], _IN_A_BLOCK)
            found[f"{tower}transformer.resblocks.{block[1]}.{inner}"] = value
        else:
            found[tower + _renamed(rest, _NAMES)] = value
    for place, three in parts.items():
        if set(three) == set("qkv"):
            found[place] = torch.cat([three[key] for key in "qkv"])
    return found


def _tower(name: str) -> tuple[str, str]:
    for theirs, ours in _TOWERS.items():
        if name.startswith(theirs):
            return ours, name.removeprefix(theirs)
    return "", name


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for theirs, ours in names.items():
        if name == theirs or (theirs.endswith(".") and name.startswith(theirs)):
            return ours + name.removeprefix(theirs)
    return name
