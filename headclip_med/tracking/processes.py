"""Which process a run belongs to, so that a later one can tell when that process is gone.

A process that is killed outright cannot close its run. What stands in a run's tags are numbers and
a digest, which tell the same machine again until it restarts, and nothing else of it.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

_PROC = Path("/proc")
_STATE, _STARTED = 0, 19
"""Places in ``/proc/PID/stat`` after the process's name; see proc(5)."""


def this_process() -> str | None:
    """Name this process so that no other one, now or later, is named alike.

    Returns:
        None on systems without ``/proc``.
    """
    machine, started = _machine(), _started(os.getpid())
    return f"{machine}-{os.getpid()}-{started}" if machine and started else None


def is_gone(name: str) -> bool:
    """Tell whether a process that ``this_process`` named has ended.

    Returns:
        False where it may still run, as all those of other machines and containers may.
    """
    machine, _, rest = name.partition("-")
    number, _, started = rest.partition("-")
    return machine == _machine() and number.isdecimal() and _started(int(number)) != started


def _machine() -> str | None:
    """Tell apart machines, their restarts, and containers whose processes do not see each other."""
    try:
        restart = (_PROC / "sys/kernel/random/boot_id").read_text("ascii")
        processes = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return None
    known = f"{socket.gethostname()} {restart} {processes}"
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _started(number: int) -> str | None:
    """Say when a process was started, in ticks; None where there is none, or only its remains."""
    try:
        text = (_PROC / str(number) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    told = text.rpartition(")")[2].split()
    return None if told[_STATE] in "ZX" else told[_STARTED]
