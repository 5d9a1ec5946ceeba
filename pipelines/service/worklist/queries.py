"""What is asked of the database about the work; nothing here changes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy.orm import Session, aliased, contains_eager, selectinload

from headclip_med.pipelines.service.database.tables import (
    DeliveryEntry,
    DriftEntry,
    FileEntry,
    JobEntry,
    PauseEntry,
    ResultEntry,
    SeriesEntry,
)
from headclip_med.pipelines.service.worklist.entries import WorkEntry, since
from headclip_med.pipelines.service.worklist.wanted import Wanted
from headclip_med.write import FileRow

AT_ONCE = 200
"""Rows that are held in memory while all are listed."""

FLAGGED = ResultEntry.row["calibration"]["flagged"].as_boolean()
_LATER = aliased(ResultEntry)
_NEWEST = (
    select(func.max(_LATER.id)).where(_LATER.job_id == JobEntry.id).correlate(JobEntry)
).scalar_subquery()
"""Of the results of a job, which has several where it was screened again."""

_SEARCHED = (
    SeriesEntry.name, SeriesEntry.study_instance_uid, SeriesEntry.series_instance_uid,
    ResultEntry.folder, JobEntry.code,
)  # fmt: skip


@dataclass(frozen=True)
class WorkPage:
    """One page of a worklist.

    Attributes:
        entries: On this page.
        total: On all pages.
        page: Which it is, from 1; the last where a later one was asked for.
        pages: How many there are, at least 1.
        first_rank: Of the first entry, from 1.
    """

    entries: tuple[WorkEntry, ...]
    total: int
    page: int
    pages: int
    first_rank: int


def find(session: Session, wanted: Wanted, now: float) -> WorkPage:
    """Give the page that is wanted.

    Args:
        session: Of the database.
        wanted: Which entries, in which order, and which page.
        now: Unix time, for what is said of waiting.
    """
    chosen = _chosen(wanted)
    total = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
    pages = max(1, -(-total // wanted.per_page))
    page = min(wanted.page, pages)
    start = (page - 1) * wanted.per_page
    numbers = list(session.scalars(_sorted(chosen, wanted).limit(wanted.per_page).offset(start)))
    return WorkPage(_entries(session, numbers, now), total, page, pages, start + 1)


def every(session: Session, wanted: Wanted, now: float) -> Iterator[WorkEntry]:
    """Give all entries that are wanted, on whatever page, a few at a time.

    Args:
        session: Of the database.
        wanted: Which entries, in which order.
        now: Unix time.
    """
    numbers = list(session.scalars(_sorted(_chosen(wanted), wanted)))
    for start in range(0, len(numbers), AT_ONCE):
        yield from _entries(session, numbers[start : start + AT_ONCE], now)
        session.expunge_all()


def entry_of_result(session: Session, number: int, now: float) -> WorkEntry | None:
    """Give the entry with this result, the job's newest or not; None where there is none."""
    result = session.get(ResultEntry, number)
    return None if result is None else WorkEntry.of(result.job, result, now)


def quarantined(session: Session) -> list[int]:
    """List the jobs that are tried again on request only."""
    return list(session.scalars(select(JobEntry.id).where(JobEntry.state == "quarantined")))


def undelivered(session: Session) -> list[int]:
    """List the results with a delivery that was given up."""
    dead = DeliveryEntry.state == "dead"
    return list(session.scalars(select(DeliveryEntry.result_id).where(dead).distinct()))


def counts(session: Session) -> dict[str, int]:
    """Count the entries of each state."""
    return _counted(session, JobEntry.state)


def modalities(session: Session) -> list[str]:
    """List the modalities that there are."""
    return sorted(_counted(session, SeriesEntry.modality))


def unused_files(session: Session) -> list[FileRow]:
    """List the files that were left out, or repeat others."""
    return [
        FileRow(
            one.name, one.status, repeats=one.repeats, code=one.code, reason=one.reason,
            what_to_do=one.advice,
        )
        for one in session.scalars(select(FileEntry))
    ]  # fmt: skip


def pauses(session: Session, now: float) -> list[tuple[PauseEntry, str]]:
    """Give what in the environment fails, and for how long."""
    found = session.scalars(select(PauseEntry).order_by(PauseEntry.cause))
    return [(one, since(one.since, now)) for one in found]


def stale_strata(session: Session) -> list[str]:
    """Name the kinds of studies whose calibration no longer fits what comes."""
    is_stale = DriftEntry.is_stale.is_(True)
    found = select(DriftEntry.stratum).where(is_stale).distinct().order_by(DriftEntry.stratum)
    return list(session.scalars(found))


def _counted(session: Session, column: Any) -> dict[str, int]:
    found = session.execute(select(column, func.count()).group_by(column))
    return {name: count for name, count in found if name is not None}


def _chosen(wanted: Wanted) -> Select[Any]:
    """Choose jobs by number."""
    jobs = select(JobEntry.id).join(SeriesEntry).outerjoin(ResultEntry, ResultEntry.id == _NEWEST)
    conditions: list[ColumnElement[bool]] = []
    if wanted.state == "current":
        conditions += [JobEntry.state.not_in(("superseded", "skipped")),
                       ResultEntry.superseded_by.is_(None)]  # fmt: skip
    elif wanted.state != "all":
        conditions.append(JobEntry.state == wanted.state)
    if wanted.judged != "any":
        conditions += _JUDGED[wanted.judged]
    if wanted.modality:
        conditions.append(SeriesEntry.modality == wanted.modality)
    if wanted.delivery != "any":
        conditions.append(ResultEntry.deliveries.any(DeliveryEntry.state == wanted.delivery))
    if wanted.text:
        conditions.append(or_(*(one.icontains(wanted.text, autoescape=True) for one in _SEARCHED)))
    return jobs.where(*conditions)


_JUDGED: Mapping[str, Sequence[ColumnElement[bool]]] = {
    "flagged": (ResultEntry.p_value.is_not(None), FLAGGED.is_(True)),
    "not-flagged": (ResultEntry.p_value.is_not(None), FLAGGED.is_(False)),
    "uncalibrated": (ResultEntry.id.is_not(None), ResultEntry.p_value.is_(None)),
}


def _sorted(chosen: Select[Any], wanted: Wanted) -> Select[Any]:
    keys = _ORDERS[wanted.sort]
    if wanted.is_reversed:
        keys = [(key, not is_falling) for key, is_falling in keys]
    # Databases differ in where they put what is missing: it is last, whichever way round.
    placed = [part for key, is_falling in keys for part in
              (key.is_(None), key.desc() if is_falling else key.asc())]  # fmt: skip
    return chosen.order_by(*placed, JobEntry.id)


_SUSPICION = case(
    (ResultEntry.id.is_(None), 3),
    (ResultEntry.p_value.is_(None), 1),
    (FLAGGED.is_(True), 0),
    else_=2,
)
_BY_SCORE = (ResultEntry.score, True)
_ORDERS: Mapping[str, list[tuple[Any, bool]]] = {
    "suspicion": [(_SUSPICION, False), (ResultEntry.p_value, False), _BY_SCORE],
    "score": [_BY_SCORE],
    "p": [(ResultEntry.p_value, False), _BY_SCORE],
    "received": [(SeriesEntry.received_at, True)],
    "screened": [(ResultEntry.created_at, True)],
    "state": [(JobEntry.state, False), _BY_SCORE],
    "modality": [(SeriesEntry.modality, False), _BY_SCORE],
}


def _entries(session: Session, numbers: Sequence[int], now: float) -> tuple[WorkEntry, ...]:
    """Load jobs with all that belongs to them, in the order of their numbers."""
    jobs = session.scalars(
        select(JobEntry)
        .join(JobEntry.series)
        .where(JobEntry.id.in_(numbers))
        .options(
            contains_eager(JobEntry.series),
            selectinload(JobEntry.results).selectinload(ResultEntry.deliveries),
        )
    )
    found = {
        job.id: WorkEntry.of(job, max(job.results, key=lambda one: one.id, default=None), now)
        for job in jobs
    }
    return tuple(found[number] for number in numbers)
