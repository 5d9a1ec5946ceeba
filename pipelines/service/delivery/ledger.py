"""What the database remembers of deliveries: whose turn it is, what became of it, what comes next.

    queued -> sending -> sent -> verified
       ^--- failed, later ---'       aside: dead

An attempt is counted before it begins. Whoever dies in the middle leaves a lease that runs out, and
the same objects are sent again: their UIDs are the same, so archives keep one of each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from headclip_med.errors import HeadClipError
from headclip_med.pipelines.service.audit import record
from headclip_med.pipelines.service.database.tables import DeliveryEntry, JobEntry, ResultEntry
from headclip_med.pipelines.service.delivery.destinations import Destination, DestinationFailed
from headclip_med.pipelines.service.delivery.objects import ResultObject

LEASE_S = 120.0
"""So long a delivery that was begun is left alone."""

MOST_AT_ONCE = 500
"""Deliveries that one transaction changes."""

_LOST_FOR_GOOD = "result-missing", "superseded", "unknown-destination"


@dataclass(frozen=True)
class Parcel:
    """A delivery whose turn it is.

    Attributes:
        delivery: Its number.
        attempt: The one that begins; who has an older one has lost it to another.
        is_sent: Whether it only remains to be verified.
        folder: Of the result, relative to the folder of results.
    """

    delivery: int
    attempt: int
    is_sent: bool
    folder: str


def claim(session: Session, destination: Destination, now: float) -> Parcel | None:
    """Take the next delivery to a destination, count the attempt, and lease it; None if none is.

    Those of urgent jobs come first. What a later revision superseded before it went out is ended.
    """
    states = ["queued", "sending", *(["sent"] if destination.verify != "none" else [])]
    due = (
        select(DeliveryEntry)
        .join(ResultEntry, DeliveryEntry.result_id == ResultEntry.id)
        .join(JobEntry, ResultEntry.job_id == JobEntry.id)
        .where(DeliveryEntry.state.in_(states), *_is_due(destination, now))
        .order_by(JobEntry.priority.desc(), DeliveryEntry.not_before, DeliveryEntry.id)
        .limit(1)
        .with_for_update(of=DeliveryEntry, skip_locked=True)
    )
    while (row := session.scalars(due).one_or_none()) is not None:
        row.attempts += 1
        row.lease_until = now + LEASE_S
        if row.state == "queued" and row.result.superseded_by is not None:
            _end(session, row, _SUPERSEDED)
            session.flush()
            continue
        is_sent = row.state == "sent"
        row.state = "sent" if is_sent else "sending"
        return Parcel(row.id, row.attempts, is_sent, row.result.folder)
    return None


def note_sent(
    session: Session, parcel: Parcel, objects: Sequence[ResultObject], now: float
) -> None:
    """Record that the destination has taken all objects."""
    row = _held(session, parcel)
    if row is not None:
        row.state, row.sent_at = "sent", now
        row.code = row.reason = row.advice = None
        _audit(session, row, "sent", objects=[one.sop_instance_uid for one in objects])


def note_done(session: Session, parcel: Parcel, now: float, *, is_verified: bool) -> None:
    """Record the end: the destination says it has all, or is not to be asked."""
    row = _held(session, parcel)
    if row is not None:
        row.lease_until = None
        if is_verified:
            row.state, row.verified_at = "verified", now
            row.code = row.reason = row.advice = None
            _audit(session, row, "verified")


def note_empty(session: Session, parcel: Parcel, now: float) -> None:
    """Record that the result holds nothing that this destination takes."""
    row = _held(session, parcel)
    if row is not None:
        row.state, row.verified_at, row.lease_until = "verified", now, None
        row.code = "nothing-to-send"
        row.reason = "The result holds none of the outputs that this destination takes."
        _audit(session, row, "verified", code=row.code)


def note_failure(
    session: Session, parcel: Parcel, destination: Destination, error: HeadClipError, now: float
) -> None:
    """Record a failed attempt; of a destination that is down, for all that is due there."""
    row = _held(session, parcel)
    if row is None:
        return
    _postpone(session, row, destination, error, now)
    if isinstance(error, DestinationFailed) and error.is_down:
        others = (
            select(DeliveryEntry)
            .where(DeliveryEntry.state == "queued", *_is_due(destination, now))
            .limit(MOST_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        session.flush()
        for other in session.scalars(others):
            other.attempts += 1
            _postpone(session, other, destination, error, now)


def end_strays(session: Session, known: Collection[str]) -> int:
    """End what waits for a destination that the configuration does not have; give the count."""
    strays = session.scalars(
        select(DeliveryEntry)
        .where(DeliveryEntry.state == "queued", DeliveryEntry.destination.not_in(known))
        .limit(MOST_AT_ONCE)
    ).all()
    for row in strays:
        _end(session, row, _UNKNOWN)
    return len(strays)


def requeue(session: Session, result_ids: Collection[int], now: float) -> int:
    """Queue the deliveries of results anew, whatever became of them; give the count.

    Those of superseded results stay as they are.
    """
    rows = session.scalars(
        select(DeliveryEntry)
        .join(ResultEntry, DeliveryEntry.result_id == ResultEntry.id)
        .where(ResultEntry.id.in_(result_ids), ResultEntry.superseded_by.is_(None))
    ).all()
    for row in rows:
        row.state, row.attempts, row.not_before, row.lease_until = "queued", 0, now, None
        row.code = row.reason = row.advice = row.sent_at = row.verified_at = None
        _audit(session, row, "resend")
    return len(rows)


def _is_due(destination: Destination, now: float) -> tuple[ColumnElement[bool], ...]:
    """What is due at a time; a time much too far ahead was written before the clock was set back.

    Whoever waited for the database has an earlier time than the one who wrote last; so much is
    allowed for.
    """
    turn, lease = DeliveryEntry.not_before, DeliveryEntry.lease_until
    longest_s = max(destination.backoff_cap_s, LEASE_S)
    return (
        DeliveryEntry.destination == destination.name,
        or_(turn <= now, turn > now + longest_s + LEASE_S),
        or_(lease.is_(None), lease <= now, lease > now + 2 * LEASE_S),
    )


def _held(session: Session, parcel: Parcel) -> DeliveryEntry | None:
    """Give the row of a delivery unless another took it meanwhile."""
    row = session.get(DeliveryEntry, parcel.delivery, with_for_update=True)
    return row if row is not None and row.attempts == parcel.attempt else None


def _postpone(
    session: Session, row: DeliveryEntry, destination: Destination, error: HeadClipError, now: float
) -> None:
    if row.attempts >= destination.attempts or error.code in _LOST_FOR_GOOD:
        _end(session, row, error)
        return
    # What the destination says it does not have is sent again; what it does not speak of is not.
    row.state = "sent" if row.state == "sent" and error.code != "not-there" else "queued"
    row.not_before, row.lease_until = now + destination.wait_s(row.attempts), None
    row.code, row.reason, row.advice = error.code, error.reason, error.advice
    _audit(session, row, "delivery-failed", code=error.code, attempt=row.attempts)


def _end(session: Session, row: DeliveryEntry, error: HeadClipError) -> None:
    row.state, row.lease_until = "dead", None
    row.code, row.reason, row.advice = error.code, error.reason, error.advice
    _audit(session, row, "dead", code=error.code, attempt=row.attempts)


def _audit(session: Session, row: DeliveryEntry, event: str, **facts: object) -> None:
    subject = row.result.job.series.key
    record(session, event, peer=row.destination, subject=subject, delivery=row.id, **facts)


_SUPERSEDED = HeadClipError(
    "A later result of this series took its place before it was sent.", code="superseded"
)
_UNKNOWN = HeadClipError(
    "The configuration has no destination of this name any more.",
    "Name the destination there again, then have the result sent again.",
    code="unknown-destination",
)
