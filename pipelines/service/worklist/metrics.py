"""Numbers to watch, for Prometheus: no patient's value and no identifier among them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily as Counter
from prometheus_client.metrics_core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.database.tables import (
    DeliveryEntry,
    DriftEntry,
    JobEntry,
    PauseEntry,
    ResultEntry,
    SeriesEntry,
)
from headclip_med.pipelines.service.worklist.queries import FLAGGED, counts
from headclip_med.pipelines.service.worklist.wanted import Wanted

JOB_STATES = Wanted.choices("state")[1:-1]
"""All but ``current`` and ``all``, which stand for several."""

UNKNOWN = "unknown"
"""A label for what has none."""


class WorkCollector(Collector):
    """Counts in the database whenever it is asked.

    Args:
        database: Of the folder of results.
        out: That folder, whose disk is watched.
        clock: Gives Unix time.
    """

    def __init__(self, database: Database, out: Path, clock: Callable[[], float]) -> None:
        self._database, self._out, self._clock = database, out, clock

    def collect(self) -> Iterator[Metric]:
        """Give all numbers."""
        with self._database.read() as session:
            yield from _queue(session, self._clock())
            yield from _failures(session)
            yield from _received(session)
            yield from _deliveries(session)
            yield from _judged(session)
            yield from _states(session)
        free = shutil.disk_usage(self._out).free
        yield Gauge("headclip_disk_free_bytes", "Free space where results are written", free)


def exposition(collector: WorkCollector) -> bytes:
    """Write a collector's numbers as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


def _queue(session: Session, now: float) -> Iterator[Metric]:
    found = counts(session)
    yield _labelled(
        Gauge("headclip_jobs", "Series to be screened in one way", labels=["state"]),
        [((state,), found.get(state, 0)) for state in JOB_STATES],
    )
    ages = Gauge("headclip_oldest_job_age_seconds", "Age of the oldest job", labels=["state"])
    for state in ("queued", "running"):
        oldest = session.scalar(
            select(func.min(JobEntry.created_at)).where(JobEntry.state == state)
        )
        ages.add_metric([state], 0.0 if oldest is None else max(0.0, now - oldest))
    yield ages
    begun = session.scalar(select(func.sum(JobEntry.attempts)))
    yield Counter("headclip_attempts", "Attempts at screening that were begun", begun or 0)


def _failures(session: Session) -> Iterator[Metric]:
    kinds = JobEntry.failure, JobEntry.code
    found = session.execute(
        select(*kinds, func.count()).where(JobEntry.state == "quarantined").group_by(*kinds)
    )
    yield _labelled(
        Gauge("headclip_quarantined", "Jobs tried again on request only", labels=["kind", "code"]),
        [((kind, code), count) for kind, code, count in found],
    )


def _received(session: Session) -> Iterator[Metric]:
    source = SeriesEntry.source
    found = session.execute(
        select(source, func.count(), func.max(SeriesEntry.received_at)).group_by(source)
    ).all()
    yield _labelled(
        Counter("headclip_series_received", "Series that came in", labels=["source"]),
        [((name,), count) for name, count, _ in found],
    )
    yield _labelled(
        Gauge("headclip_last_received_timestamp_seconds", "When the last came", labels=["source"]),
        [((name,), last) for name, _, last in found],
    )


def _deliveries(session: Session) -> Iterator[Metric]:
    by = DeliveryEntry.destination, DeliveryEntry.state
    found = session.execute(
        select(*by, func.count(), func.sum(DeliveryEntry.attempts)).group_by(*by)
    ).all()
    yield _labelled(
        Gauge("headclip_deliveries", "Results on their way", labels=["destination", "state"]),
        [((where, state), count) for where, state, count, _ in found],
    )
    attempts: dict[str, int] = {}
    for where, _, _, begun in found:
        attempts[where] = attempts.get(where, 0) + begun
    yield _labelled(
        Counter("headclip_delivery_attempts", "Attempts at sending", labels=["destination"]),
        [((where,), count) for where, count in sorted(attempts.items())],
    )


def _judged(session: Session) -> Iterator[Metric]:
    stratum, p_value = ResultEntry.stratum, ResultEntry.p_value
    yield Counter("headclip_results", "Results written", _count(session, ResultEntry.id))
    seen = session.execute(
        select(
            stratum,
            func.count(),
            func.count().filter(FLAGGED.is_(True)),
            func.count().filter(p_value > 0.5),
        )
        .where(p_value.is_not(None), ResultEntry.superseded_by.is_(None))
        .group_by(stratum)
    ).all()
    yield _labelled(
        Gauge("headclip_judged", "Results with a p-value", labels=["stratum"]),
        [((name,), count) for name, count, _, _ in seen],
    )
    yield _labelled(
        Gauge("headclip_flag_rate", "Share that is flagged", labels=["stratum"]),
        [((name,), flagged / count) for name, count, flagged, _ in seen],
    )
    yield _labelled(
        Gauge("headclip_high_p_share", "Share with p above 0.5", labels=["stratum"]),
        [((name,), high / count) for name, count, _, high in seen],
    )


def _states(session: Session) -> Iterator[Metric]:
    drifts = session.execute(
        select(DriftEntry.stratum, func.max(DriftEntry.since))
        .where(DriftEntry.is_stale.is_(True))
        .group_by(DriftEntry.stratum)
    )
    yield _labelled(
        Gauge("headclip_calibration_stale", "1 where p-values drifted", labels=["stratum"]),
        [((name,), 1) for name, _ in drifts],
    )
    causes = session.scalars(select(PauseEntry.cause))
    yield _labelled(
        Gauge("headclip_paused", "1 while nothing is begun for this cause", labels=["cause"]),
        [((cause,), 1) for cause in causes],
    )


def _count(session: Session, column: Any) -> int:
    return session.scalar(select(func.count(column))) or 0


def _labelled(metric: Any, values: list[tuple[tuple[str | None, ...], int | float]]) -> Metric:
    for labels, value in values:
        metric.add_metric([label or UNKNOWN for label in labels], value)
    found: Metric = metric
    return found
