"""Work in processes of this machine, each with a model of its own, or in this very process.

A process is started for each slot (``spawn``: nothing is inherited), so that what ends it, a
library that aborts or the system that kills, costs one task. Its memory and its time are watched
from here.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING

from headclip_med.errors import HeadClipError, InvalidSettings, own_error
from headclip_med.pipelines.service.execution.executor import (
    ExecutorEvent,
    LossCode,
    SlicesDone,
    TaskEnded,
    WorkerLost,
)
from headclip_med.pipelines.service.settings import WorkSettings
from headclip_med.pipelines.work.tasks import StudyOutcome, StudyTask, WorkStopped

if TYPE_CHECKING:
    from headclip_med.pipelines.work.screener import Screener
    from headclip_med.pipelines.work.workbench import Workbench

Build = Callable[[Callable[[int], None]], "Screener"]
"""Builds what screens, with its model, where the work is done; takes whom to tell of slices."""

WATCH_EVERY_S = 1.0
LEAVING_S = 5.0
START_LIMIT_S = 900.0
"""For a process to load its model, from whatever disk."""


class InlineExecutor:
    """One slot in this process: no isolation, and no second start of Python.

    Args:
        build: Builds the screener.
    """

    slots = 1

    def __init__(self, build: Build) -> None:
        self._events: list[ExecutorEvent] = []
        self._stopping = False
        from headclip_med.pipelines.work.workbench import Workbench

        self._workbench = Workbench(build(self._report), takes_up=True)

    def begin(self, slot: int, task: StudyTask) -> None:
        """Do it at once."""
        self._events.append(TaskEnded(slot, self._workbench.do(task)))

    def events(self, timeout_s: float) -> list[ExecutorEvent]:
        """Say what has happened."""
        events, self._events = self._events, []
        return events

    def stop_work(self) -> None:
        """End at the next slice."""
        self._stopping = True

    def close(self) -> None:
        """Nothing is left to end."""

    def _report(self, slices: int) -> None:
        self._events.append(SlicesDone(0, slices))
        if self._stopping:
            raise WorkStopped


class LocalExecutor:
    """A process for each slot.

    Args:
        build: Builds the screener; it is pickled, and called in each process.
        settings: How many, and what each may take.

    Raises:
        HeadClipError: The model cannot be loaded; raised by ``events``.
    """

    def __init__(self, build: Build, settings: WorkSettings) -> None:
        self._build, self._settings = build, settings
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._workers: dict[int, _Worker] = {}

    @property
    def slots(self) -> int:
        """As many as were asked for."""
        return self._settings.workers

    def begin(self, slot: int, task: StudyTask) -> None:
        """Send it to the slot's process, which is started where there is none."""
        if slot not in self._workers:
            self._workers[slot] = self._start(slot)
        worker = self._workers[slot]
        worker.began_s = time.monotonic()
        with suppress(OSError):  # it is gone already, which its end tells
            worker.line.send(task)

    def events(self, timeout_s: float) -> list[ExecutorEvent]:
        """Wait for a word of any process, or the end of one."""
        found: list[ExecutorEvent] = []
        by_line = {one.line: slot for slot, one in self._workers.items()}
        for line in wait(list(by_line), min(timeout_s, WATCH_EVERY_S)):
            found += self._heard(by_line[line])  # type: ignore[index]
        for slot, worker in list(self._workers.items()):
            if (code := worker.excess(self._settings)) is not None:
                worker.kill()
                del self._workers[slot]
                found.append(WorkerLost(slot, code))
        return found

    def _heard(self, slot: int) -> list[ExecutorEvent]:
        worker = self._workers[slot]
        try:
            word = worker.line.recv()
        except (EOFError, OSError):
            worker.kill()
            del self._workers[slot]
            return [WorkerLost(slot, "worker-lost")] if worker.began_s is not None else []
        if isinstance(word, HeadClipError):
            raise word
        if word is None:
            worker.is_ready, worker.began_s = True, time.monotonic()
            return []
        if isinstance(word, StudyOutcome):
            worker.began_s = None
            return [TaskEnded(slot, word)]
        return [SlicesDone(slot, word)]

    def _start(self, slot: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(theirs, self._build, self._stop, self.slots),
            name=f"headclip-worker-{slot}",
            daemon=False,
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def stop_work(self) -> None:
        """Let every task end after the slice it is at."""
        self._stop.set()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.end()
        self._workers = {}


@dataclass(eq=False)
class _Worker:
    """A process, and the line to it."""

    process: SpawnProcess
    line: Connection
    began_s: float | None = None
    is_ready: bool = False

    def excess(self, settings: WorkSettings) -> LossCode | None:
        """Say of what it takes more than it may."""
        if self.began_s is None:
            return None
        limit_s = settings.time_limit_min * 60 if self.is_ready else START_LIMIT_S
        if time.monotonic() - self.began_s > limit_s:
            return "worker-time"
        if resident_bytes(self.process.pid) > settings.memory_limit_gb * 1e9:
            return "worker-memory"
        return None

    def kill(self) -> None:
        self.line.close()
        self.process.kill()
        self.process.join()

    def end(self) -> None:
        """Let it leave, which it does when nobody is at the other end of its line."""
        self.line.close()
        self.process.join(LEAVING_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def resident_bytes(pid: int | None) -> int:
    """Tell what a process has in memory; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE")


def _serve(line: Connection, build: Build, stop: Event, slots: int) -> None:
    """Do tasks until the other end is gone, with a share of the threads that torch may use."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the tasks
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    import torch  # takes seconds, in which Ctrl-C is ignored already

    def report(slices: int) -> None:
        line.send(slices)
        if stop.is_set():
            raise WorkStopped

    with suppress(EOFError, OSError):
        made = warm_workbench(build, report, max(1, torch.get_num_threads() // slots))
        if isinstance(made, HeadClipError):
            line.send(made)
            return
        line.send(None)
        while True:
            task: StudyTask = line.recv()
            line.send(made.do(task))
    os._exit(0)  # whatever a reader that runs ahead is at


def warm_workbench(
    build: Build, report: Callable[[int], None], threads: int
) -> Workbench | HeadClipError:
    """Load the model in the process that shall work.

    Args:
        build: Builds the screener.
        report: Told of slices.
        threads: For torch.

    Returns:
        An error where it cannot be loaded.
    """
    import torch

    from headclip_med.pipelines.work.workbench import Workbench

    torch.set_num_threads(threads)
    try:
        return Workbench(build(report), takes_up=True)
    except Exception as error:
        return error if isinstance(error, InvalidSettings) else own_error(error)
