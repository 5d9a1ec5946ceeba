"""Scaled dot-product attention, by the quickest exact kernel for the device and the number type."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

TILE_SCORES = 2_000_000
"""Attention scores held at a time by the explicit kernel: what stays in a core's cache."""


def attend(
    query: Float[Tensor, "batch heads queries width"],
    key: Float[Tensor, "batch heads tokens width"],
    value: Float[Tensor, "batch heads tokens width"],
) -> Float[Tensor, "batch heads queries width"]:
    """Compute softmax(Q K^T / sqrt(width)) V (HeadCLIP eq. 1; with Q = K = V eq. 3).

    In bfloat16 on a CPU two matrix products per head run about twice as fast as the fused kernel,
    whose inner products are not made for that type; everywhere else the fused kernel wins.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(query, key, value)
    batch, heads, queries, width = query.shape
    tokens = key.shape[2]
    queries_flat = (query * width**-0.5).reshape(batch * heads, queries, width)
    keys_flat = key.reshape(batch * heads, tokens, width).transpose(1, 2)
    values_flat = value.reshape(batch * heads, tokens, width)
    step = max(torch.get_num_threads(), TILE_SCORES // (queries * tokens))
    parts = [
        torch.bmm(
            torch.bmm(queries_flat[at : at + step], keys_flat[at : at + step])
            .softmax(-1)
            .to(value),
            values_flat[at : at + step],
        )
        for at in range(0, batch * heads, step)
    ]
    return torch.cat(parts).view(batch, heads, queries, width)
