"""Which of several processes this is, as ``torchrun`` tells it."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: Of this one, from 0; the first writes, prints and tracks.
        count: How many there are.
        local: Its number on this machine, from 0; the number of its accelerator.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and tracks."""
        return self.rank == 0


def torchrun_ranks() -> Ranks:
    """Read what ``torchrun`` put into the environment; one process where it did not start us."""
    rank, count, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    return Ranks(rank, count, local)
