"""What it costs to find and read all below a folder, in the processes that do it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from headclip_med.errors import HeadClipError
from headclip_med.read import DEFAULT_LIMITS, ReadLimits, find_inputs
from headclip_med.read.isolation import isolated_reading
from tests.read.isolation import faults


@dataclass(frozen=True)
class Cost:
    """What was spent on a folder.

    Attributes:
        peak_bytes: Above what was there before, in this process or the one that reads, whichever
            took more. Of one that was lost: what it may have.
        seconds: By the clock.
        outcomes: How each file or volume ended: a code, or "read".
    """

    peak_bytes: int
    seconds: float
    outcomes: tuple[str, ...]


def cost_of(folder: Path, limits: ReadLimits = DEFAULT_LIMITS) -> Cost:
    """Find and read everything, and drop it."""
    processes = [os.getpid(), isolated_reading(faults.process_id, [], DEFAULT_LIMITS)]
    for process in processes:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    before = [_bytes_of(process, "VmRSS") for process in processes]
    started = time.perf_counter()
    outcomes = _outcomes(folder, limits)
    seconds = time.perf_counter() - started
    after = [_bytes_of(process, "VmHWM") for process in processes]
    peaks = [
        limits.memory_bytes if peak is None else peak - (base or 0)
        for base, peak in zip(before, after, strict=True)
    ]
    return Cost(max(peaks), seconds, outcomes)


def _outcomes(folder: Path, limits: ReadLimits) -> tuple[str, ...]:
    found = find_inputs([folder], limits=limits)
    outcomes = [failure.code for failure in found.failures]
    for one in found.readable:
        try:
            one.read()
        except HeadClipError as error:
            outcomes.append(error.code)
        else:
            outcomes.append("read")
    return tuple(outcomes)


def _bytes_of(process: int, what: str) -> int | None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith(what)]
    return 1024 * int(found[0].split()[1]) if found else None
