"""Whether the p-values of a folder still look like those of what was calibrated.

An alarm marks a stratum stale: from then on its scores are uncalibrated, in words, until normal
studies are calibrated anew. The calibration itself is never changed.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from headclip_med.calibration import Stratum
from headclip_med.metrics.drift import Drift
from headclip_med.pipelines.calibration import Calibration, watch_rows
from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.batch import row_of
from headclip_med.pipelines.service.database import Database
from headclip_med.pipelines.service.database.tables import DriftEntry, ResultEntry


def note_drift(database: Database, calibration: Calibration) -> frozenset[Stratum]:
    """Watch the p-values of all results that stand, and write down which strata drifted.

    Returns:
        Those that are stale; once so, a stratum stays so.
    """
    with database.write() as session:
        standing = select(ResultEntry).where(ResultEntry.superseded_by.is_(None))
        rows = [row_of(one) for one in session.scalars(standing.order_by(ResultEntry.created_at))]
        found = watch_rows(calibration, rows)
        return frozenset(
            stratum
            for stratum, drift in found.items()
            if _note(session, calibration.digest, stratum, drift).is_stale
        )


def _note(session: Session, digest: str, stratum: Stratum, drift: Drift) -> DriftEntry:
    known: dict[str, Any] = {"calibration_digest": digest, "stratum": stratum.words()}
    entry = session.scalar(select(DriftEntry).filter_by(**known))
    if entry is None:
        entry = DriftEntry(**known, is_stale=False, alarm={})
        session.add(entry)
    if drift.is_stale and not entry.is_stale:
        entry.is_stale, entry.since = True, time.time()
        entry.alarm = {"alarms": [asdict(one) for one in drift.alarms]}
        audit.record(session, "stale", subject=digest, stratum=stratum.words())
    return entry
