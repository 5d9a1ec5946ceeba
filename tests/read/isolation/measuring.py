"""What it costs to find and read all below a folder, in the processes that do it."""

from __future__ import annotations

import os
import resource
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
        cpu_s: Of the processor, in both processes; what else the machine does costs nothing.
        outcomes: How each file or volume ended: a code, or "read".
    """

    peak_bytes: int
    cpu_s: float
    outcomes: tuple[str, ...]


def cost_of(folder: Path, limits: ReadLimits = DEFAULT_LIMITS) -> Cost:
    """Find and read everything, and drop it."""
    processes = [os.getpid(), isolated_reading(faults.process_id, [], DEFAULT_LIMITS)]
    for process in processes:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    before = [_bytes_of(process, "VmRSS") for process in processes]
    started_s = _cpu_s()
    outcomes = _outcomes(folder, limits)
    cpu_s = _cpu_s() - started_s
    after = [_bytes_of(process, "VmHWM") for process in processes]
    peaks = [
        limits.memory_bytes if peak is None else peak - (base or 0)
        for base, peak in zip(before, after, strict=True)
    ]
    return Cost(max(peaks), cpu_s, outcomes)


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


def _cpu_s() -> float:
    """Spent by this process, by readers that ended, and by the one that reads now."""
    reader = isolated_reading(faults.process_id, [], DEFAULT_LIMITS)
    ticks = Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split()[11:13]
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ours = sum(one.ru_utime + one.ru_stime for one in spent)
    return ours + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _bytes_of(process: int, what: str) -> int | None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith(what)]
    return 1024 * int(found[0].split()[1]) if found else None
