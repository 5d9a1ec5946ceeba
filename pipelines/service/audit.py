"""What came, from whom, and what was done: rows that nobody changes."""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from headclip_med.pipelines.service.database.tables import AuditEntry


def record(
    session: Session,
    event: str,
    *,
    peer: str | None = None,
    subject: str | None = None,
    **facts: object,
) -> None:
    """Add a row to the audit, in the transaction of what it tells of.

    Args:
        session: Of that transaction.
        event: One word, as ``AuditEntry`` lists them.
        peer: AE title, address or user.
        subject: UID of a series or an instance, or a series' key.
        facts: Plain values; no patient's.
    """
    session.add(
        AuditEntry(at=time.time(), event=event, peer=peer, subject=subject, facts=dict(facts))
    )
