"""Drift of a folder's p-values: an alarm marks a stratum stale, once and for good."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from headclip_med.pipelines.calibration import Calibrator
from headclip_med.pipelines.service.database import Database, open_database
from headclip_med.pipelines.service.database.tables import AuditEntry, DriftEntry
from headclip_med.pipelines.service.drift import note_drift
from headclip_med.pipelines.service.queue import SeriesOffer, WorkQueue
from tests.pipelines.calibration.known import BINDING, HEAD, calibration
from tests.write.test_summary import row as summary_row

KNOWN = calibration(*(0.005 * n for n in range(200)), alpha=0.05)
WINDOW = 100


def screened(database: Database, scores: list[float], *, first: int) -> None:
    """Record studies with these scores, as a service does."""
    queue, judge = WorkQueue(database), Calibrator(KNOWN).judge
    for number, score in enumerate(scores, start=first):
        queue.offer(SeriesOffer(key=str(number), files=(), source="receiver"), {}, "r")
        claim = queue.claim("w", 60.0)
        assert claim is not None
        used = judge(score, HEAD, BINDING)
        assert queue.finish(claim, summary_row(f"1.2.{number}/1", calibration=used))


def told(database: Database) -> tuple[list[bool], list[str]]:
    with database.read() as session:
        stale = list(session.scalars(select(DriftEntry.is_stale)))
        events = session.scalars(select(AuditEntry.event).where(AuditEntry.event == "stale"))
        return stale, list(events)


def test_a_window_of_flagged_studies_makes_the_stratum_stale_for_good(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    usual = [0.005 * (2 * n % 200) for n in range(WINDOW)]
    screened(database, usual, first=0)
    assert note_drift(database, KNOWN) == frozenset()
    assert told(database) == ([False], [])
    screened(database, [0.999] * WINDOW, first=WINDOW)
    assert note_drift(database, KNOWN) == {HEAD}
    assert told(database) == ([True], ["stale"])
    screened(database, usual * 2, first=2 * WINDOW)
    assert note_drift(database, KNOWN) == {HEAD}
    assert told(database) == ([True], ["stale"])
    used = Calibrator(KNOWN, stale=frozenset({HEAD})).judge(0.5, HEAD, BINDING)
    assert (used.p_value, used.code) == (None, "stale")
    database.close()
