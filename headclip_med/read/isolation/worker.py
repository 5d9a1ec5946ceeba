"""The process that reads: takes functions and what to call them with, until nobody asks any more.

It is started by ``reader`` as a program of its own, so that a user's script is never imported.
What a decoder prints goes nowhere, for it may quote a patient; what it costs is bounded by the
system: more memory than allowed is refused to it, and a clock that runs out ends the process.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from headclip_med.errors import own_error
from headclip_med.mapped import before_mapping
from headclip_med.read.guards import silence
from headclip_med.read.isolation.channel import Channel
from headclip_med.read.isolation.task import Task, call

USED_MEMORY = "/proc/self/statm"
"""Where the system says how much this process has, in pages; only Linux does."""


def main() -> None:
    """Serve the process at the other end of standard input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would put a patient on the disk
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the other end's to answer
    line = socket.socket(fileno=0)
    threading.Thread(target=_leave_with, args=(line,), daemon=True).start()
    before_mapping.append(_let_grow)
    channel = Channel(line, is_trusting=True)
    try:
        channel.send(None)
        with silence():
            while True:
                for outcome in _outcomes(channel.receive()):
                    channel.send(outcome)
    except EOFError:
        os._exit(0)


def _leave_with(line: socket.socket) -> None:
    """End this process, whatever it is at, once the other end is gone."""
    waiting = select.poll()
    waiting.register(line, 0)  # a line that hangs up is always told
    waiting.poll()
    os._exit(0)


def _outcomes(task: Task) -> Iterator[object]:
    try:
        os.chdir(task.folder)
        function, items = pickle.loads(task.call)  # noqa: S301 - from the process that asks
    except Exception as error:
        yield from [own_error(error)] * task.count
        return
    for item, seconds in zip(items, task.seconds, strict=True):
        yield _bounded(task.memory_bytes, seconds, function, item)


def _bounded(
    memory_bytes: int, seconds: float, function: Callable[[Any], object], item: object
) -> object:
    _let_grow(memory_bytes, of=_used_bytes())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return call(function, item)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _let_grow(more_bytes: int, *, of: int | None = None) -> None:
    """Let this process have more memory than it may have now, or than it has."""
    now, most = resource.getrlimit(resource.RLIMIT_AS)
    base = now if of is None else of
    if base not in (0, resource.RLIM_INFINITY):  # else nothing is bounded
        wanted = base + more_bytes
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, most))


def _used_bytes() -> int:
    try:
        with open(USED_MEMORY, "rb") as file:  # noqa: PTH123 - once a file, so in little time
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    main()
