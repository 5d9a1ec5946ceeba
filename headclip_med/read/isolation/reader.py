"""Functions called in a process that is kept for the purpose, and replaced where it is lost."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import call as call_itself
from pathlib import Path
from typing import TypeVar

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read.guards import ReadLimits, out_of_memory
from headclip_med.read.isolation.channel import Channel
from headclip_med.read.isolation.task import Task, call

WORKER = "headclip_med.read.isolation.worker"
LEAVING_S = 2.0
"""What a reader takes to leave that nobody asks any more, at most."""

PAUSE_S = 0.02
"""Outcomes of this time are taken at once: to be woken for each costs as much as its header."""

TOLD_AFTER = 200
"""Calls between two times that whoever waits is told of them."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def isolated_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    limits: ReadLimits,
    *,
    seen: Callable[[int], None] = lambda count: None,
) -> list[Result | HeadClipError]:
    """Call a function for each of some items, so that a call that ends its process costs itself.

    Args:
        function: Of a module, or a ``partial`` of one; nothing of a user's script.
        items: What it is called with, one by one; of a path, time goes by the file's size.
        limits: Memory and time that each call may take.
        seen: Is told now and then how many more were done.

    Returns:
        What each call gave, or raised: errors that are not ours are named only.
    """
    found: list[Result | HeadClipError] = []
    for start in range(0, len(items), TOLD_AFTER):
        some = items[start : start + TOLD_AFTER]
        seconds = [_seconds([one] if isinstance(one, Path) else [], limits) for one in some]
        found += _each(function, some, limits, seconds)
        seen(len(some))
    return found


def isolated_reading(
    reader: Callable[[], Result], paths: Sequence[Path], limits: ReadLimits
) -> Result:
    """Call one function that reads some files, with time in proportion to them.

    Args:
        reader: As above, without arguments.
        paths: The files.
        limits: Memory and time that it may take.

    Returns:
        What it gives.

    Raises:
        HeadClipError: It raised this, or an error of another kind, which is named only.
        UnreadableInput: It took too much memory or time, or ended the process.
    """
    (found,) = _each(call_itself, [reader], limits, [_seconds(paths, limits)])
    if isinstance(found, HeadClipError):
        raise found
    return found


def _each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    limits: ReadLimits,
    seconds: Sequence[float],
) -> list[Result | HeadClipError]:
    if not (limits.isolated and is_possible()):
        return [call(function, item) for item in items]
    found: list[Result | HeadClipError] = []
    while len(found) < len(items):
        done = len(found)
        with _readers.borrowed() as reader:
            found += reader.outcomes(function, items[done:], limits, seconds[done:])
    return found


def _seconds(paths: Sequence[Path], limits: ReadLimits) -> float:
    stored_bytes = 0
    for path in paths:
        with suppress(OSError):  # gone by now, which the reader will say
            stored_bytes += path.stat().st_size
    return limits.seconds + stored_bytes / limits.bytes_per_second


def is_possible() -> bool:
    """Whether this system can pass files between processes, and start Python again."""
    return hasattr(socket, "send_fds") and hasattr(signal, "setitimer") and bool(sys.executable)


class ReaderProcess:
    """One process that reads.

    Raises:
        UnreadableInput: It does not start.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        quiet = subprocess.DEVNULL
        places = [place or os.getcwd() for place in sys.path]  # noqa: PTH109 - as Python itself
        self._process = subprocess.Popen(  # noqa: S603 - this Python and a module of ours
            [sys.executable, "-P", "-m", WORKER],
            stdin=theirs.fileno(),
            stdout=quiet,
            stderr=quiet,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        self._channel = Channel(ours, is_trusting=False)
        try:
            self._channel.receive()
        except EOFError:
            self.end()
            raise UnreadableInput(
                "The process that reads files could not be started.",
                "Check that this Python can run itself, or set ReadLimits.isolated to False.",
                code="reader-not-started",
            ) from None

    def outcomes(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        limits: ReadLimits,
        seconds: Sequence[float],
    ) -> Iterator[Result | HeadClipError]:
        """Have a function called; see ``isolated_each``. The last is what ended the process."""
        done = 0
        calls = pickle.dumps((function, tuple(items)))
        try:
            self._channel.send(
                Task(calls, len(items), limits.memory_bytes, tuple(seconds), _here())
            )
            for _ in items:
                if len(items) > 1 and not self._channel.has_message:
                    time.sleep(PAUSE_S)
                outcome = self._channel.receive()
                yield outcome
                done += 1
                if isinstance(outcome, HeadClipError) and outcome.code == "reader-memory":
                    self.end()  # what it holds on to would be missing to the next
                    return
        except (EOFError, pickle.UnpicklingError):
            self.end()
            yield _what_ended_it(self._process.returncode, seconds[done])

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it, and wait until it is gone."""
        self._channel.hang_up()  # at which it leaves
        try:
            self._process.wait(LEAVING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def disown(self) -> None:
        """Let go of it in a copy of the process that started it."""
        self._channel.close()
        self._process.returncode = 0  # nobody to wait for


def _what_ended_it(status: int | None, seconds: float) -> UnreadableInput:
    if status == -signal.SIGALRM:
        return UnreadableInput(
            f"Reading took longer than the {seconds:.0f} seconds that it is given, and was ended.",
            "Export it again from its source, or raise ReadLimits.seconds.",
            code="reader-time",
        )
    if status == -signal.SIGKILL:
        return out_of_memory()
    return UnreadableInput(
        "The library that reads such files met a fault that ended its process, so the file is "
        "damaged in a way that it cannot bear.",
        "Export it again from its source, uncompressed if that can be had.",
        code="reader-lost",
    )


class _Pool:
    """Readers that wait for work; as many are started as are asked for at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[ReaderProcess] = []
        self._busy: set[ReaderProcess] = set()

    @contextmanager
    def borrowed(self) -> Iterator[ReaderProcess]:
        """Lend a reader; one that is left in the middle of something is ended."""
        with self._lock:
            alive = [reader for reader in self._idle if reader.is_alive]
            reader = alive.pop() if alive else ReaderProcess()
            self._idle = alive
            self._busy.add(reader)
        try:
            yield reader
        except BaseException:
            reader.end()
            raise
        finally:
            with self._lock:
                self._busy.discard(reader)
                if reader.is_alive:
                    self._idle.append(reader)

    def end(self) -> None:
        """End all of them."""
        for reader in (*self._idle, *self._busy):
            reader.end()
        self._idle = []

    def disown(self) -> None:
        """Start afresh in a copy of this process."""
        for reader in (*self._idle, *self._busy):
            reader.disown()
        self.__init__()  # type: ignore[misc]


_readers = _Pool()
atexit.register(_readers.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_readers.disown)


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - in little time
    except FileNotFoundError:  # removed meanwhile; whole paths still lead somewhere
        return os.sep
