"""Trying again, and sending again, on request; whoever asked is in the audit."""

from __future__ import annotations

from collections.abc import Sequence

from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.queue import WorkQueue


def retry(database: Database, jobs: Sequence[int], user: str) -> int:
    """Queue jobs anew that failed, and give how many.

    Args:
        database: Of the folder of results.
        jobs: By number.
        user: Who asks.
    """
    count = WorkQueue(database).retry(jobs)
    _note(database, "retry-asked", jobs, user)
    return count


def resend(database: Database, results: Sequence[int], user: str) -> int:
    """Queue the deliveries of results anew, and give how many.

    Args:
        database: Of the folder of results.
        results: By number.
        user: Who asks.
    """
    # What sends is loaded with it, and nobody else here needs that.
    from headclip_med.pipelines.service import delivery

    count = delivery.resend(database, results)
    _note(database, "resend-asked", results, user)
    return count


def _note(database: Database, event: str, numbers: Sequence[int], user: str) -> None:
    with database.write() as session:
        audit.record(session, event, peer=user, numbers=list(numbers))
