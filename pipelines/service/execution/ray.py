"""Work on a Ray cluster: an actor for each slot, wherever there is room, each with a warm model.

Results are written by the actors themselves: every machine must see the inputs and the folder of
results at the same paths. The queue is asked from here only.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclip_med import __version__
from headclip_med.errors import HeadClipError, InvalidSettings, named_extras
from headclip_med.pipelines.service.execution.executor import (
    ExecutorEvent,
    LossCode,
    SlicesDone,
    TaskEnded,
    WorkerLost,
)
from headclip_med.pipelines.service.execution.local import (
    START_LIMIT_S,
    WATCH_EVERY_S,
    Build,
    resident_bytes,
    warm_workbench,
)
from headclip_med.pipelines.service.settings import WorkSettings
from headclip_med.pipelines.work.tasks import StudyOutcome, StudyTask, WorkStopped
from headclip_med.settings import AUTO

if TYPE_CHECKING:
    from headclip_med.pipelines.work.workbench import Workbench

ANSWER_S = 10.0
CPU = "cpu"
LOCAL = "local"
"""As an address: a cluster of this machine alone, for as long as the work takes."""


class RayExecutor:
    """An actor for each slot.

    Args:
        build: Builds the screener; it is pickled, and called in each actor.
        settings: How many, and what each may take.
        address: Of the cluster, ``HOST:PORT``, ``auto`` or ``local``.
        out: The folder of results, which every machine must see.
        device: ``cpu``; ``auto``: a GPU for each slot where the cluster has so many; else a GPU.

    Raises:
        MissingExtra: Ray is not installed.
        InvalidSettings: No cluster is there, or it is too small.
    """

    def __init__(
        self, build: Build, settings: WorkSettings, address: str, out: Path, device: str = AUTO
    ) -> None:
        with named_extras():
            import ray
        self._ray: Any = ray
        self._build, self._settings = build, settings
        self._folders = (Path.cwd(), out.absolute())
        self._actors: dict[int, _Actor] = {}
        with _own_signals():
            _connect(ray, address)
        try:
            self._threads, gpus = _share(ray, settings.workers, device)
        except InvalidSettings:
            ray.shutdown()
            raise
        # An actor does one task, and is asked about it meanwhile.
        self._remote: Any = self._ray.remote(
            num_cpus=self._threads,
            num_gpus=gpus,
            max_restarts=0,
            concurrency_groups={"work": 1, "watch": 1},
        )(RaySlot)

    @property
    def slots(self) -> int:
        """As many as were asked for."""
        return self._settings.workers

    def begin(self, slot: int, task: StudyTask) -> None:
        """Send it to the slot's actor, which is started where there is none."""
        if slot not in self._actors:
            handle = self._remote.remote(self._build, self._threads, self._folders, __version__)
            self._actors[slot] = _Actor(handle)
        actor = self._actors[slot]
        actor.began_s = None
        actor.work = actor.handle.do.options(concurrency_group="work").remote(task)

    def events(self, timeout_s: float) -> list[ExecutorEvent]:
        """Wait until an actor has something to say, and see what each takes."""
        working = {one.work: slot for slot, one in self._actors.items() if one.work is not None}
        if not working:
            return []
        ended, _ = self._ray.wait(list(working), timeout=min(timeout_s, WATCH_EVERY_S))
        found = [one for ref in ended for one in self._ended(working[ref])]
        for slot in working.values():
            actor = self._actors.get(slot)
            if actor is not None and actor.work is not None:
                found += self._watched(slot, actor)
        return found

    def _ended(self, slot: int) -> list[ExecutorEvent]:
        actor = self._actors[slot]
        try:
            word, slices = self._ray.get(actor.work)
        except self._ray.exceptions.OutOfMemoryError:
            return [self._lose(slot, "worker-memory")]
        except self._ray.exceptions.RayActorError:
            return [self._lose(slot, "worker-lost")]
        if isinstance(word, HeadClipError):
            raise word
        actor.work = None
        return [*actor.counted(slot, slices), TaskEnded(slot, word)]

    def _watched(self, slot: int, actor: _Actor) -> list[ExecutorEvent]:
        if actor.watch is None:
            actor.watch = actor.handle.state.options(concurrency_group="watch").remote()
        ready, _ = self._ray.wait([actor.watch], timeout=0)
        found: list[ExecutorEvent] = []
        if ready:
            with suppress(self._ray.exceptions.RayError):  # the end of its work tells of it
                found = actor.note(slot, self._ray.get(actor.watch))
            actor.watch = None
        code = actor.excess(self._settings)
        return found if code is None else [*found, self._lose(slot, code)]

    def _lose(self, slot: int, code: LossCode) -> WorkerLost:
        self._ray.kill(self._actors.pop(slot).handle)
        return WorkerLost(slot, code)

    def stop_work(self) -> None:
        """Let every task end after the slice it is at."""
        for actor in self._actors.values():
            actor.handle.stop.options(concurrency_group="watch").remote()

    def close(self) -> None:
        """End all actors, and leave the cluster."""
        for slot in list(self._actors):
            self._lose(slot, "worker-lost")
        self._ray.shutdown()


@dataclass(frozen=True)
class _State:
    """What an actor says of itself while it works."""

    is_ready: bool
    slices: int
    resident_bytes: int


@dataclass(eq=False)
class _Actor:
    """An actor, and what was last heard of it."""

    handle: Any
    work: Any = None
    watch: Any = None
    began_s: float | None = None
    """When its task was first seen in work; waiting for room in the cluster is no work."""
    is_ready: bool = False
    slices: int = 0
    resident: int = 0

    def note(self, slot: int, state: _State) -> list[ExecutorEvent]:
        if self.began_s is None or state.is_ready != self.is_ready:
            self.began_s, self.is_ready = time.monotonic(), state.is_ready
        self.resident = state.resident_bytes
        return self.counted(slot, state.slices)

    def counted(self, slot: int, slices: int) -> list[ExecutorEvent]:
        more, self.slices = slices - self.slices, slices
        return [SlicesDone(slot, more)] if more > 0 else []

    def excess(self, settings: WorkSettings) -> LossCode | None:
        """Say of what it takes more than it may."""
        if self.began_s is None:
            return None
        limit_s = settings.time_limit_min * 60 if self.is_ready else START_LIMIT_S
        if time.monotonic() - self.began_s > limit_s:
            return "worker-time"
        return "worker-memory" if self.resident > settings.memory_limit_gb * 1e9 else None


class RaySlot:
    """What runs in an actor: a warm model, which does one task after the other.

    Args:
        build: Builds the screener.
        threads: For torch.
        folders: The one that relative paths begin in, and that of the results.
        version: Of the program that gives the tasks.
    """

    def __init__(
        self, build: Build, threads: int, folders: tuple[Path, Path], version: str
    ) -> None:
        self._version = version
        self._build, self._threads, self._folders = build, threads, folders
        self._workbench: Workbench | None = None
        self._slices = 0
        self._is_stopping = False

    def do(self, task: StudyTask) -> tuple[StudyOutcome | HeadClipError, int]:
        """Do a task, and count all slices so far; an error is one that no task would be without."""
        if self._workbench is None:
            made = self._made()
            if isinstance(made, HeadClipError):
                return made, 0
            self._workbench = made
        return self._workbench.do(task), self._slices

    def _made(self) -> Workbench | HeadClipError:
        if not all(one.is_dir() for one in self._folders):
            return InvalidSettings(
                "A machine of the cluster does not see the folder that this was started in, or "
                "that of the results.",
                "Mount both at the same paths on every machine.",
                code="unshared-folder",
            )
        if self._version != __version__:
            return InvalidSettings(
                "A machine of the cluster has another version of this program.",
                "Install the same on every machine.",
                code="other-version",
            )
        os.chdir(self._folders[0])
        return warm_workbench(self._build, self._report, self._threads)

    def _report(self, slices: int) -> None:
        self._slices += slices
        if self._is_stopping:
            raise WorkStopped

    def state(self) -> _State:
        """Say how far it is."""
        return _State(self._workbench is not None, self._slices, resident_bytes(os.getpid()))

    def stop(self) -> None:
        """End after the slice it is at."""
        self._is_stopping = True


def _connect(ray: Any, address: str) -> None:
    """Join a cluster, or start one of this machine that listens on loopback and reports nowhere."""
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        quiet |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _check_answers(address)
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError):
        raise InvalidSettings(
            "There is no Ray cluster at that address, or it has another version of Ray or Python.",
            "Start one with 'ray start --head', or give --ray local.",
            code="no-ray",
        ) from None


def _check_answers(address: str) -> None:
    """See that somebody listens, for which Ray itself waits minutes."""
    if address not in (LOCAL, AUTO):
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), ANSWER_S).close()


def _share(ray: Any, slots: int, device: str) -> tuple[int, int]:
    """Give the most cores that each slot can have, so that all slots find room, and its GPUs."""
    machines = [one["Resources"] for one in ray.nodes() if one["Alive"]]
    cores = [int(one.get("CPU", 0)) for one in machines]
    gpus = sum(int(one.get("GPU", 0)) for one in machines)
    needs_gpu = device != CPU and (device != AUTO or gpus >= slots)
    if needs_gpu and min(gpus, sum(cores)) >= slots:
        return 1, 1
    for each in range(max(cores, default=0), 0, -1):
        if not needs_gpu and sum(one // each for one in cores) >= slots:
            return each, 0
    raise InvalidSettings(
        f"The Ray cluster has {sum(cores)} CPUs and {gpus} GPUs, which is not enough for {slots} "
        "workers.",
        "Give fewer --workers, or add machines; --device cpu needs no GPU.",
        code="small-cluster",
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handlers, which Ray replaces when it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
