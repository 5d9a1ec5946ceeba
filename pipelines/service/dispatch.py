"""Jobs of the queue are given to an executor, and what comes of them is recorded.

The lease of whatever is in work is renewed from here. Where the database does not answer, what was
found waits here and is recorded later; where the disk is full, nothing begins until it is not.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headclip_med.atomic import check_writable
from headclip_med.errors import HeadClipError, InvalidSettings, UnwritableOutput
from headclip_med.pipelines.service.database.opening import UnusableDatabase
from headclip_med.pipelines.service.execution.executor import (
    Executor,
    ExecutorEvent,
    SlicesDone,
    TaskEnded,
)
from headclip_med.pipelines.service.failures import JobFailure, failure_of, worker_lost
from headclip_med.pipelines.service.queue import Claim, WorkQueue
from headclip_med.pipelines.work.tasks import StudyOutcome, StudyTask

LEASE_S = 120.0
"""After which another may take what a process held that is gone."""

RENEW_EVERY_S = 30.0
PROBE_EVERY_S = 10.0
"""Between two looks whether the disk takes files again."""

ROOM_BYTES = 200_000_000
"""That must be free for work to go on after a disk was full."""

LOSSES = {
    "worker-lost": "The process that worked on it ended by itself, or was killed.",
    "worker-memory": "The process that worked on it took more memory than it may.",
    "worker-time": "It took longer than one series may.",
}


def own_name() -> str:
    """Name this process among all that share a queue."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def is_gone(worker: str) -> bool:
    """Tell whether a process of this machine that had this name is not there any more."""
    host, pid, _ = worker.rsplit("-", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        pass
    return False


@dataclass(eq=False)
class Dispatcher:
    """Keeps the slots of an executor busy with what the queue has.

    Attributes:
        queue: Of the folder of results.
        executor: Who does the work.
        task_of: Makes a task of a job that was taken.
        out: The folder of results.
        among: Ids of jobs; all by default.
        report: Called with the number of slices done since the last call.
        worker: Its name in the queue.
    """

    queue: WorkQueue
    executor: Executor
    task_of: Callable[[Claim], StudyTask]
    out: Path
    among: Collection[int] | None = None
    report: Callable[[int], None] = lambda slices: None
    worker: str = field(default_factory=own_name)
    _held: dict[int, Claim] = field(default_factory=dict, init=False)
    _unrecorded: list[tuple[Claim, StudyOutcome | JobFailure]] = field(
        default_factory=list, init=False
    )
    _renewed_s: float = field(default=0.0, init=False)
    _probed_s: float = field(default=0.0, init=False)
    taken_up: int = field(default=0, init=False)
    """Jobs whose earlier result was as good."""

    @property
    def is_busy(self) -> bool:
        """Whether something is in work, or waits to be recorded."""
        return bool(self._held or self._unrecorded)

    def step(self, timeout_s: float, *, begins: bool = True) -> None:
        """Record what ended, renew leases, then begin what is due.

        In this order: after the database did not answer for long, what is held here must not be
        taken for lost before its lease is renewed.

        Args:
            timeout_s: To wait for something to happen.
            begins: Whether anything new may begin.

        Raises:
            InvalidSettings: An option does not suit the model.
            HeadClipError: The model cannot be loaded.
            UnusableDatabase: The database does not answer just now; nothing is lost by it.
        """
        for event in self.executor.events(timeout_s if self._held else 0.0):
            self._note(event)
        self._record()
        self._renew()
        self._probe()
        if begins:
            self._begin()
        if not self._held:
            time.sleep(min(timeout_s, 0.2))

    def _begin(self) -> None:
        for slot in range(self.executor.slots):
            if slot in self._held:
                continue
            if (claim := self.queue.claim(self.worker, LEASE_S, among=self.among)) is None:
                return
            self._held[slot] = claim
            self.executor.begin(slot, self.task_of(claim))

    def _note(self, event: ExecutorEvent) -> None:
        if isinstance(event, SlicesDone):
            self.report(event.count)
            return
        claim = self._held.pop(event.slot)
        if isinstance(event, TaskEnded):
            self._unrecorded.append((claim, event.outcome))
        else:
            self._unrecorded.append((claim, worker_lost(event.code, LOSSES[event.code])))

    def _record(self) -> None:
        while self._unrecorded:
            claim, found = self._unrecorded[0]
            refusal = found.error if isinstance(found, StudyOutcome) else None
            if isinstance(refusal, InvalidSettings):
                self.queue.release(claim)
                raise refusal
            self._record_one(claim, found)
            self._unrecorded.pop(0)

    def _record_one(self, claim: Claim, found: StudyOutcome | JobFailure) -> None:
        if isinstance(found, JobFailure):
            self.queue.fail(claim, found)
        elif found.was_stopped:
            self.queue.release(claim)
        elif found.error is not None:
            self.queue.fail(claim, failure_of(found.error))
        elif found.row is not None:
            self.queue.finish(claim, found.row, content_digest=found.content_digest)
            self.taken_up += found.was_finished

    def _renew(self) -> None:
        if time.monotonic() - self._renewed_s < RENEW_EVERY_S:
            return
        for claim in self._held.values():
            self.queue.renew(claim, LEASE_S)
        self.queue.take_back(is_gone)
        self._renewed_s = time.monotonic()

    def _probe(self) -> None:
        """See now and then whether what failed works again."""
        if time.monotonic() - self._probed_s < PROBE_EVERY_S:
            return
        self._probed_s = time.monotonic()
        if "disk" in self.queue.pauses() and has_room(self.out):
            self.queue.resume("disk")

    def stop(self) -> None:
        """Let what is in work end after its slice, and give it back."""
        self.executor.stop_work()
        while self._held:
            try:
                self.step(1.0, begins=False)
            except UnusableDatabase:
                return  # leases run out by themselves


@contextmanager
def waited_out(tell: Callable[[HeadClipError], None], pause_s: float) -> Iterator[None]:
    """Wait where the database or the disk does not answer: nothing is lost by it.

    Args:
        tell: Told what it waits for.
        pause_s: Before this is left, so that whatever was done is tried again.
    """
    try:
        yield
    except (UnusableDatabase, UnwritableOutput) as error:
        tell(error)
        time.sleep(pause_s)


def has_room(folder: Path) -> bool:
    """Tell whether a folder takes files, and enough of them for work to go on."""
    try:
        check_writable(folder)
    except UnwritableOutput:
        return False
    return shutil.disk_usage(folder).free > ROOM_BYTES
