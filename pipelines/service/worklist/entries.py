"""A line of the worklist: one series to be screened in one way, with all that became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from headclip_med.calibration import CalibrationUsed
from headclip_med.pipelines.service.database.tables import DeliveryEntry, JobEntry, ResultEntry
from headclip_med.write import SummaryRow

_UNITS = ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)


@dataclass(frozen=True)
class Sent:
    """A result on its way to one destination.

    Attributes:
        destination: Its name.
        state: Of ``DELIVERY_STATES``.
        words: The state in words, with the reason of a failure and the next attempt.
        attempts: Begun so far.
    """

    destination: str
    state: str
    words: str
    attempts: int

    @classmethod
    def of(cls, entry: DeliveryEntry, now: float) -> Sent:
        """Put a row of the database into words."""
        return cls(entry.destination, entry.state, _delivery_words(entry, now), entry.attempts)


@dataclass(frozen=True)
class WorkEntry:
    """One line.

    Attributes:
        job: Number of the job, by which it is tried again.
        result: Number of the result, by which it is sent again; None while there is none.
        state: Of ``JOB_STATES``.
        words: The state in words.
        next_attempt: Unix time at which it is tried again; None where it is not.
        failure: Whose fault the last failure was, with its ``code``, ``reason`` and ``advice``.
        attempts: Begun so far.
        names: What the series is called: a file, or its identifiers.
        facts: What else is known of it, by name.
        folder: Of the results, relative to the folder of results.
        plain: The row of the results in plain values; empty while there are none.
        files: What it was read from, as the summary calls them.
        deliveries: Where the result goes.
        is_superseded: Whether a later result stands for it.
    """

    job: int
    result: int | None
    state: str
    words: str
    next_attempt: float | None
    failure: str | None
    code: str | None
    reason: str | None
    advice: str | None
    attempts: int
    names: tuple[str, ...]
    facts: Mapping[str, Any]
    folder: str | None
    plain: Mapping[str, Any]
    files: tuple[str, ...]
    deliveries: tuple[Sent, ...]
    is_superseded: bool

    @classmethod
    def of(cls, job: JobEntry, result: ResultEntry | None, now: float) -> WorkEntry:
        """Put a job, its series, one of its results and that one's deliveries together.

        Args:
            job: With them loaded.
            result: Of the job.
            now: Unix time.
        """
        series = job.series
        waits = job.state == "queued" and job.not_before > now
        uids = (series.study_instance_uid, series.series_instance_uid)
        names = (series.name,) if series.name else uids
        return cls(
            job=job.id,
            result=result.id if result else None,
            state=job.state,
            words=_state_words(job, result, now),
            next_attempt=job.not_before if waits else None,
            failure=job.failure,
            code=job.code,
            reason=job.reason,
            advice=job.advice,
            attempts=job.attempts,
            names=tuple(name for name in names if name) or (f"series {series.id}",),
            facts={
                "name": series.name,
                "study_instance_uid": series.study_instance_uid,
                "series_instance_uid": series.series_instance_uid,
                "part": series.part,
                "revision": series.revision,
                "modality": series.modality,
                "body_part": series.body_part,
                "slices": series.slices,
                "source": series.source,
                "peer": series.peer,
                "rule": job.rule,
                "received_at": moment(series.received_at),
                "screened_at": moment(result.created_at if result else None),
                "version": result.version if result else None,
            },
            folder=result.folder if result else None,
            plain=result.row if result else {},
            files=tuple(series.names),
            deliveries=tuple(Sent.of(one, now) for one in (result.deliveries if result else ())),
            is_superseded=result is not None and result.superseded_by is not None,
        )

    @cached_property
    def row(self) -> SummaryRow | None:
        """What was found; None while there is no result."""
        return SummaryRow.from_plain(self.plain) if self.plain else None

    @property
    def used(self) -> CalibrationUsed | None:
        """The p-value of the score, or why there is none."""
        return self.row.calibration if self.row else None

    @property
    def can_be_retried(self) -> bool:
        """Whether it failed for good, unless somebody asks."""
        return self.state == "quarantined"

    @property
    def can_be_resent(self) -> bool:
        """Whether there is a destination that it could be sent to again."""
        return bool(self.deliveries) and not self.is_superseded


def _state_words(job: JobEntry, result: ResultEntry | None, now: float) -> str:
    """Say where a job is."""
    if job.state == "queued" and job.attempts and job.not_before > now:
        return f"attempt {job.attempts + 1} follows {until(job.not_before, now)}"
    if job.state == "queued" and job.attempts:
        return f"for attempt {job.attempts + 1}"
    if job.state == "running" and job.lease_until is not None and job.lease_until < now:
        return "its worker was lost; it is taken up again"
    if job.state == "screened" and result is not None and result.superseded_by is not None:
        return "a later result stands for it"
    return {
        "queued": f"for {since(job.created_at, now)}",
        "running": f"begun {since(job.started_at, now)} ago",
        "screened": f"finished {since(job.ended_at, now)} ago",
        "quarantined": f"after {job.attempts} attempt{'' if job.attempts == 1 else 's'}; "
        "tried again on request only",
        "superseded": "a later revision came before it was screened",
        "skipped": f"skipped by the rule '{job.rule}'" if job.rule else "skipped by a rule",
    }.get(job.state, job.state)


def _delivery_words(entry: DeliveryEntry, now: float) -> str:
    """Say where a delivery is."""
    why = f": {entry.reason}" if entry.reason else ""
    if entry.state == "queued" and entry.attempts:
        when = until(entry.not_before, now)
        return f"failed {entry.attempts} times, next attempt {when}{why}"
    return {
        "queued": "waits",
        "sending": "is being sent",
        "sent": f"sent {since(entry.sent_at, now)} ago, not verified yet",
        "verified": f"there: verified {since(entry.verified_at, now)} ago",
        "dead": f"given up after {entry.attempts} attempts{why}",
    }.get(entry.state, entry.state)


def moment(at: float | None) -> str | None:
    """Write Unix time as UTC by ISO 8601, to the second; None where there is none."""
    return None if at is None else datetime.fromtimestamp(int(at), UTC).isoformat()


def since(at: float | None, now: float) -> str:
    """Say how long ago it was, in the largest unit that fits."""
    return "an unknown time" if at is None else lasting(now - at)


def until(at: float, now: float) -> str:
    """Say when it will be."""
    return "now" if at <= now else f"in {lasting(at - now)}"


def lasting(seconds: float) -> str:
    """Say how long it lasts, in the largest unit that fits: "3 minutes"."""
    left = max(0, round(seconds))
    name, size = next((one for one in _UNITS if left >= one[1]), _UNITS[-1])
    count = left // size
    return f"{count} {name}{'' if count == 1 else 's'}"
