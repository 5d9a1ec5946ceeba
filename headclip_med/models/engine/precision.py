"""What products of the towers are computed in: what was asked for, where hardware can do it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Literal

import torch

from headclip_med.settings import Precision

BF16 = ("avx512_bf16", "amx_tile")
"""Instructions of CPUs for products in bfloat16."""

LOG = logging.getLogger(__name__)

Ran = Literal["fp32", "bf16"]
"""What products are computed in, once that is settled for a device."""


def settled(asked: Precision, device: torch.device | str) -> Ran:
    """Say what runs where this was asked for; a warning is logged where it is not that.

    bfloat16 without instructions of its own takes several times as long as float32, so it is run
    on a GPU, or on a CPU that has AVX512-BF16 or AMX, and nowhere else.
    """
    if asked == "fp32":
        return "fp32"
    kind = torch.device(device).type
    if has_bf16(kind):
        return "bf16"
    if asked == "bf16":
        _warn(kind)
    return "fp32"


def has_bf16(kind: str) -> bool:
    """Tell whether a kind of device multiplies in bfloat16 by instructions of its own."""
    if kind != "cpu":
        return True
    # PyTorch before 2.6 cannot tell.
    known = (getattr(torch.cpu, f"_is_{one}_supported", bool) for one in BF16)
    return any(is_there() for is_there in known)


def autocast(precision: Ran, device: torch.device) -> AbstractContextManager[object]:
    """Give what products are run in: bfloat16 by autocast, or nothing."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@cache
def _warn(kind: str) -> None:
    LOG.warning("bf16 would be many times slower than fp32 on this %s, so fp32 is run", kind)
