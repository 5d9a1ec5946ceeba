"""Who is at fault: the study, the worker, the environment or the destination.

What follows differs. A *study* that cannot be used is set aside at once: it would fail again. A
*worker* that was lost is tried again, alone and capped, three times in all. The *environment* (a
full disk, a database that does not answer) is nobody's fault: nothing is counted, and all waits
until it works. A *destination* is tried again, later and later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headclip_med.errors import HeadClipError, OutOfMemory, UnwritableOutput, own_error
from headclip_med.pipelines.service.database.opening import UnusableDatabase
from headclip_med.store import StoreFull

FailureKind = Literal["study", "worker", "environment", "destination"]
Cause = Literal["database", "disk"]

CAUSES: tuple[tuple[type[HeadClipError], Cause], ...] = (
    (UnusableDatabase, "database"),
    (UnwritableOutput, "disk"),
    (StoreFull, "disk"),
)
"""Errors of the environment, and what of it fails."""


@dataclass(frozen=True)
class JobFailure:
    """Why a job, or a delivery, did not come to its end.

    Attributes:
        kind: Who is at fault.
        code: As on errors.
        reason: What was found.
        advice: What to do.
        cause: What of the environment fails; None of the others.
    """

    kind: FailureKind
    code: str
    reason: str
    advice: str
    cause: Cause | None = None


def failure_of(error: Exception) -> JobFailure:
    """Say who is at fault for an error that was raised while a study was worked on."""
    own = own_error(error)
    cause = next((cause for kind, cause in CAUSES if isinstance(own, kind)), None)
    kind: FailureKind = "study" if cause is None else "environment"
    if isinstance(own, OutOfMemory):  # of a process that has worked for long, perhaps
        kind = "worker"
    return JobFailure(kind, own.code, own.reason, own.advice, cause)


def worker_lost(code: str, reason: str) -> JobFailure:
    """Say that the process that did the work is gone.

    Args:
        code: ``worker-lost``, ``worker-memory`` or ``worker-time``.
        reason: What ended it.
    """
    advice = "It is tried again by itself, alone; after three attempts it waits for a retry."
    return JobFailure("worker", code, reason, advice)
