"""Several processes that train together, started by ``torchrun``; one of them writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from headclip_med.ranks import Ranks, torchrun_ranks


def joined_ranks() -> Ranks:
    """Tell which of the processes that have joined this is; the only one where none have."""
    if not distributed.is_initialized():
        return Ranks()
    rank, count = distributed.get_rank(), distributed.get_world_size()
    return Ranks(rank, count, torchrun_ranks().local)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that ``torchrun`` started, if it did.

    Args:
        device: What is trained on: NCCL joins NVIDIA's accelerators, gloo everything else.
    """
    ranks = torchrun_ranks()
    if ranks.count == 1 or distributed.is_initialized():
        yield joined_ranks()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield joined_ranks()
    finally:
        distributed.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """Give each process that ``torchrun`` started an accelerator of its own."""
    ranks = torchrun_ranks()
    if device.type != "cuda" or device.index is not None or ranks.count == 1:
        return device
    torch.cuda.set_device(ranks.local)
    return torch.device("cuda", ranks.local)


@contextmanager
def first_goes_first(ranks: Ranks) -> Iterator[None]:
    """Let the first process go through the block before the others do."""
    if ranks.count > 1 and not ranks.first:
        distributed.barrier()
    yield
    if ranks.count > 1 and ranks.first:
        distributed.barrier()
