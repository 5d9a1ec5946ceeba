"""What a library does to the process that it runs in; called by processes that read."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from headclip_med.read import ReadLimits
from headclip_med.read.dicom import find
from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.volume import Volume


def abort() -> Volume:
    """End as a decoder in Rust or C++ does where an allocation fails."""
    os.abort()


def crash() -> Volume:
    """Read where nothing is."""
    raise AssertionError(ctypes.string_at(0))


def exhaust() -> Volume:
    """Take more and more memory."""
    taken = []
    while True:
        taken.append(np.empty(1 << 23))


def hang() -> Volume:
    """Never come back."""
    time.sleep(1000)
    raise AssertionError


def spin() -> Volume:
    """Never come back, and never let another thread of Python run."""
    return Volume(**{"voxels": sum(iter(int, 1))})  # type: ignore[arg-type, call-arg]


def be_killed() -> Volume:
    """End as the system has it where there is no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def leave() -> Volume:
    """Exit as no library should."""
    os._exit(9)


def forget() -> Volume:
    """Meet a fault whose text quotes a patient."""
    raise KeyError("Zyxwvut^Qponml")


def talk() -> Volume:
    """Quote a patient on both outputs, through Python and past it, and then fail."""
    for file in (1, 2):
        os.write(file, b"Zyxwvut^Qponml\n")
    sys.stderr.write("Zyxwvut^Qponml")
    return forget()


class Harm:
    """Would run a command where it is received."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        """Say how it is made."""
        return os.system, ("touch harm",)


def give_harm() -> Volume:
    """Send it."""
    return Harm()  # type: ignore[return-value]


ENDS: dict[str, tuple[Callable[[], Volume], str]] = {
    "abort": (abort, "reader-lost"),
    "crash": (crash, "reader-lost"),
    "leave": (leave, "reader-lost"),
    "harm": (give_harm, "reader-lost"),
    "exhaust": (exhaust, "reader-memory"),
    "be_killed": (be_killed, "reader-memory"),
    "hang": (hang, "reader-time"),
    "spin": (spin, "reader-time"),
    "forget": (forget, "unexpected"),
}
"""Of each fault, the code that it ends in."""


def header_or_fault(path: Path, limits: ReadLimits) -> ImageHeader | Volume:
    """Read a header; a file that is called after a fault meets it."""
    if fault := ENDS.get(path.stem.partition("-")[0]):
        return fault[0]()
    return find._header(path, limits)


def process_id() -> int:
    """Tell one process from another."""
    return os.getpid()


def peak_of(reader: Callable[[], Volume]) -> tuple[int, float, str]:
    """Read, and tell what it took.

    Returns:
        Bytes above what the process had before, seconds, and how it ended: a code, or "read".
    """
    from headclip_med.read.isolation.task import call

    Path("/proc/self/clear_refs").write_text("5")
    before, started = _peak_bytes(), time.perf_counter()
    outcome = call(lambda _: reader(), None)
    seconds = time.perf_counter() - started
    return _peak_bytes() - before, seconds, getattr(outcome, "code", "read")


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
