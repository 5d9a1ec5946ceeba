"""What the database remembers of storage commitment: what was asked, and what was reported.

A report comes minutes or hours after it was asked for, perhaps to another process than asked. So a
transaction is written down before the archive hears of it, and its report whenever it comes.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from headclip_med.pipelines.service.database.tables import CommitmentEntry, DeliveryEntry

NOT_CONFIRMED = "not-confirmed"


def note_asked(session: Session, transaction_uid: str, delivery: int, now: float) -> None:
    """Write down that a delivery's objects are asked about."""
    session.add(
        CommitmentEntry(transaction_uid=transaction_uid, delivery_id=delivery, asked_at=now)
    )


def note_reported(
    session: Session, transaction_uid: str, committed: Iterable[str], now: float
) -> bool:
    """Write down a report, and let its delivery's turn come at once, also where it was given up.

    Args:
        session: Of the transaction that writes it.
        transaction_uid: That the report names.
        committed: SOP instance UIDs that the archive has taken over.
        now: Seconds of Unix time.

    Returns:
        False where no such transaction waits for a report.
    """
    entry = session.get(CommitmentEntry, transaction_uid, with_for_update=True)
    if entry is None or entry.reported_at is not None:
        return False
    entry.reported_at, entry.committed = now, sorted(committed)
    row = session.get_one(DeliveryEntry, entry.delivery_id, with_for_update=True)
    if row.state == "dead" and row.code == NOT_CONFIRMED:
        row.state = "sent"
    if row.state == "sent" and row.verified_at is None:
        row.not_before = now
    return True


def take_report(session: Session, delivery: int) -> frozenset[str] | None:
    """Give what the newest report on a delivery says is committed, once; None without one."""
    reported = session.scalars(
        select(CommitmentEntry)
        .where(
            CommitmentEntry.delivery_id == delivery,
            CommitmentEntry.reported_at.is_not(None),
            CommitmentEntry.is_settled.is_(False),
        )
        .order_by(CommitmentEntry.reported_at)
    ).all()
    for one in reported:
        one.is_settled = True
    return frozenset(reported[-1].committed) if reported else None
