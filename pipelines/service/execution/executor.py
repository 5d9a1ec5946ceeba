"""What an executor is: slots that are given tasks, and tell how these end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from headclip_med.pipelines.work.tasks import StudyOutcome, StudyTask

LossCode = Literal["worker-lost", "worker-memory", "worker-time"]


@dataclass(frozen=True)
class SlicesDone:
    """Slices of a task that were screened since the last word."""

    slot: int
    count: int


@dataclass(frozen=True)
class TaskEnded:
    """A task came to its end, good or bad; its slot is free."""

    slot: int
    outcome: StudyOutcome


@dataclass(frozen=True)
class WorkerLost:
    """A slot's process is gone, with its task; the slot is free and has a new one when needed."""

    slot: int
    code: LossCode


ExecutorEvent = SlicesDone | TaskEnded | WorkerLost


@runtime_checkable
class Executor(Protocol):
    """Slots, each with a warm model; which machine or process they are on is its own business."""

    @property
    def slots(self) -> int:
        """How many tasks it takes at once, numbered from 0."""

    def begin(self, slot: int, task: StudyTask) -> None:
        """Give a free slot a task."""

    def events(self, timeout_s: float) -> list[ExecutorEvent]:
        """Wait until something happens, or for so long, and say what."""

    def stop_work(self) -> None:
        """Let every task end after the slice it is at; their outcomes still come."""

    def close(self) -> None:
        """End all of it."""
