"""What there is to work on: device, memory, disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from headclip_med.pipelines.reproduce.facts import Facts

GB = 1e9


@dataclass(frozen=True)
class Machine:
    """What there is.

    Attributes:
        device: What computes, in words.
        device_memory_gb: Its own memory; None where it has none of its own.
        cores: Of the processor, that this process may use.
        memory_gb: Of the machine; None where the system does not tell.
        free_disk_gb: Where results are kept.
    """

    device: str
    device_memory_gb: float | None
    cores: int
    memory_gb: float | None
    free_disk_gb: float

    def to_json(self) -> Facts:
        """Give what stays as it is as plain values: free space is another at every look."""
        return {name: value for name, value in asdict(self).items() if name != "free_disk_gb"}

    def describe(self) -> str:
        """Say it in words."""
        return f"{self.hardware()}, {self.free_disk_gb:.0f} GB of disk free"

    def hardware(self) -> str:
        """Say what stays as it is in words."""
        own, memory = self.device_memory_gb, self.memory_gb
        parts = [self.device if own is None else f"{self.device} with {own:.0f} GB"]
        parts.append(f"{self.cores} cores")
        if memory is not None:
            parts.append(f"{memory:.0f} GB of memory")
        return ", ".join(parts)


def look_at_machine(device: torch.device, out: Path) -> Machine:
    """Find out what there is.

    Args:
        device: What everything is computed on.
        out: Where results shall be kept; it may not be there yet.
    """
    name, own = device.type, None
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        name, own = found.name, found.total_memory / GB
    there = next(one for one in (out.resolve(), *out.resolve().parents) if one.is_dir())
    return Machine(name, own, _cores(), _memory_gb(), shutil.disk_usage(there).free / GB)


def taken_bytes(out: Path) -> int:
    """Sum up what is kept in a folder already."""
    return sum(
        Path(place, name).stat().st_size for place, _, names in os.walk(out) for name in names
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    except (AttributeError, ValueError, OSError):
        return None
