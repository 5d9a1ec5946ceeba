"""The queue of a folder of results: what is to be done, who does it, and what came of it.

A job is taken by a *lease*: whoever holds it renews it, and where that ends another may take it.
The number of the attempt is counted when it is taken and tells holders apart, so that one whose
lease ran out can no longer say anything about the job.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import QueryableAttribute, Session

from headclip_med import __version__
from headclip_med.errors import HeadClipError
from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.database.opening import WAIT_S, Database
from headclip_med.pipelines.service.database.tables import (
    DeliveryEntry,
    JobEntry,
    PauseEntry,
    ResultEntry,
    SeriesEntry,
)
from headclip_med.pipelines.service.failures import Cause, JobFailure, worker_lost
from headclip_med.write import SummaryRow

MOST_ATTEMPTS = 3
"""That may lose their worker, or whose lease may run out."""

AFTER_A_LOSS_S = 5.0
"""Before a job that lost its worker is tried again, for each attempt so far."""

LONGEST_S = AFTER_A_LOSS_S * MOST_ATTEMPTS
SLACK_S = 2.0 * WAIT_S
"""Whoever waited for the database knows an earlier time than it holds, by so much at most."""

WAITING = "queued", "running"
"""States of jobs that have not come to an end."""


@dataclass(frozen=True, kw_only=True)
class SeriesOffer:
    """A volume that may be new; see ``SeriesEntry`` for what is not said here.

    Attributes:
        files: Of each file its path, bytes and time of change in nanoseconds.
        received_at: Seconds of Unix time; now by default.
    """

    key: str
    files: tuple[tuple[str, int, int], ...]
    source: str
    names: tuple[str, ...] = ()
    peer: str | None = None
    name: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    part: int = 1
    modality: str | None = None
    body_part: str | None = None
    slices: int = 0
    received_at: float | None = None

    @property
    def files_digest(self) -> str:
        """SHA-256 of names, sizes and times; a folder that moves as a whole changes nothing."""
        known = sorted((PurePath(path).name, *rest) for path, *rest in self.files)
        return hashlib.sha256(json.dumps(known).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Claim:
    """A job that is held.

    Attributes:
        job_id: Which.
        attempt: From 1; tells this holder from others of the same job.
        worker: Who holds it.
        series_id: What it is made of.
        files: Paths of that.
        request: How it is to be done.
        is_alone: Whether it lost a worker before.
    """

    job_id: int
    attempt: int
    worker: str
    series_id: int
    files: tuple[str, ...]
    request: Mapping[str, Any]
    is_alone: bool


@dataclass(frozen=True)
class WorkQueue:
    """Work that outlives whoever does it.

    Attributes:
        database: Where it stands.
        clock: Seconds of Unix time.
    """

    database: Database
    clock: Callable[[], float] = field(default=time.time)

    def offer(
        self,
        series: SeriesOffer,
        request: Mapping[str, Any],
        run_key: str,
        *,
        rule: str | None = None,
        priority: int = 0,
    ) -> int:
        """Ask for a series to be screened in one way; asked twice, it is one job.

        Files that differ from those known under the key are its next revision, which ends what
        still waits for an earlier one.

        Returns:
            The id of the job.
        """
        (job_id,) = self.offer_all([series], request, run_key, rule=rule, priority=priority)
        return job_id

    def offer_all(
        self,
        offers: Sequence[SeriesOffer],
        request: Mapping[str, Any],
        run_key: str,
        *,
        rule: str | None = None,
        priority: int = 0,
    ) -> list[int]:
        """Offer many in one transaction, which is so much cheaper; see ``offer``."""

        def found() -> list[int]:
            with self.database.write() as session:
                ids = []
                for series in offers:
                    entry = self._revision(session, series)
                    ids.append(self._job(session, entry, request, run_key, rule, priority))
                return ids

        try:
            return found()
        except (
            IntegrityError
        ):  # of a server: another offered one at this moment, so it is there now
            return found()

    def _job(
        self,
        session: Session,
        entry: SeriesEntry,
        request: Mapping[str, Any],
        run_key: str,
        rule: str | None,
        priority: int,
    ) -> int:
        job = session.scalar(select(JobEntry).filter_by(series_id=entry.id, run_key=run_key))
        if job is not None and job.state == "superseded":
            job.state, job.ended_at = "queued", None
        if job is None:
            job = JobEntry(
                series_id=entry.id,
                run_key=run_key,
                rule=rule,
                request=dict(request),
                priority=priority,
                created_at=self.clock(),
            )
            session.add(job)
            session.flush()
        return job.id

    def _revision(self, session: Session, series: SeriesOffer) -> SeriesEntry:
        found = session.scalar(
            select(SeriesEntry).filter_by(key=series.key).order_by(SeriesEntry.revision.desc())
        )
        digest, files = series.files_digest, [list(one) for one in sorted(series.files)]
        if found is not None and found.files_digest == digest:
            found.files, found.names = files, list(series.names)  # where they are by now
            found.name = series.name
            return found
        facts = {k: v for k, v in asdict(series).items() if k not in ("files", "names")}
        facts["received_at"] = facts["received_at"] or self.clock()
        entry = SeriesEntry(
            **facts,
            files=files,
            names=list(series.names),
            files_digest=digest,
            revision=1 if found is None else found.revision + 1,
        )
        session.add(entry)
        session.flush()
        if found is not None:
            earlier = (
                select(SeriesEntry.id).filter_by(key=series.key).where(SeriesEntry.id != entry.id)
            )
            session.execute(
                update(JobEntry)
                .where(
                    JobEntry.series_id.in_(earlier), JobEntry.state.in_(("queued", "quarantined"))
                )
                .values(state="superseded", ended_at=self.clock())
            )
        return entry

    def claim(
        self, worker: str, lease_s: float, *, among: Collection[int] | None = None
    ) -> Claim | None:
        """Take the job whose turn it is; the attempt counts from here on.

        Args:
            worker: Who takes it.
            lease_s: For how long, unless renewed.
            among: Ids of jobs; all by default.

        Returns:
            None where there is nothing to do now, or the environment fails.
        """
        now = self.clock()
        with self.database.write() as session:
            if session.scalar(select(func.count()).select_from(PauseEntry)):
                return None
            self._take_back(session, now, lease_s)
            due = (
                select(JobEntry)
                .where(JobEntry.state == "queued", _has_come(JobEntry.not_before, now, LONGEST_S))
                .order_by(JobEntry.priority.desc(), JobEntry.is_alone, JobEntry.id)
                .with_for_update(skip_locked=True)
            )
            if among is None:
                job = session.scalar(due.limit(1))
            else:
                job = next((one for one in session.scalars(due) if one.id in among), None)
            if job is None:
                return None
            job.state, job.worker = "running", worker
            job.attempts += 1
            job.started_at, job.lease_until = now, now + lease_s
            paths = tuple(path for path, *_ in job.series.files)
            return Claim(
                job.id, job.attempts, worker, job.series_id, paths, dict(job.request), job.is_alone
            )

    def _take_back(self, session: Session, now: float, lease_s: float) -> None:
        """Take jobs from those whose lease ran out: their worker, or all of it, is gone."""
        ran_out = _has_come(JobEntry.lease_until, now, lease_s)
        for job in session.scalars(
            select(JobEntry)
            .where(JobEntry.state == "running", ran_out)
            .with_for_update(skip_locked=True)
        ):
            self._lose(session, job, worker_lost("worker-lost", "Whoever worked on it is gone."))

    def take_back(self, is_gone: Callable[[str], bool]) -> None:
        """Take jobs from workers that are known to be gone, before their lease runs out."""
        with self.database.write() as session:
            running = select(JobEntry).where(JobEntry.state == "running")
            for job in session.scalars(running.with_for_update(skip_locked=True)):
                if job.worker is not None and is_gone(job.worker):
                    lost = worker_lost("worker-lost", "Whoever worked on it is gone.")
                    self._lose(session, job, lost)

    def renew(self, claim: Claim, lease_s: float) -> bool:
        """Hold on to a job; False where it was taken by another."""
        with self.database.write() as session:
            held = session.scalar(
                update(JobEntry)
                .where(_held(claim))
                .values(lease_until=self.clock() + lease_s)
                .returning(JobEntry.id)
            )
            return held is not None

    def release(self, claim: Claim) -> None:
        """Give a job back as if it had never been taken."""
        with self.database.write() as session:
            session.execute(
                update(JobEntry)
                .where(_held(claim))
                .values(state="queued", worker=None, lease_until=None, attempts=claim.attempt - 1)
            )

    def finish(self, claim: Claim, row: SummaryRow, *, content_digest: str | None = None) -> bool:
        """Record what was found, and queue its deliveries.

        Args:
            claim: Of the job.
            row: What the worklist says of it; its files lie in ``row.folder``.
            content_digest: Of what was screened.

        Returns:
            False where the job was taken by another meanwhile; then nothing is recorded.
        """
        now = self.clock()
        with self.database.write() as session:
            job = session.scalar(select(JobEntry).where(_held(claim)).with_for_update())
            if job is None:
                return False
            job.state, job.ended_at, job.lease_until, job.worker = "screened", now, None, None
            job.failure = job.code = job.reason = job.advice = None
            if content_digest is not None:
                job.series.content_digest = content_digest
            used = row.calibration
            plain = json.loads(json.dumps(asdict(row)))
            result = ResultEntry(
                job_id=job.id,
                folder=row.folder,
                score=row.score,
                p_value=used.p_value,
                calibration=used.code or "calibrated",
                stratum=None if used.stratum is None else used.stratum.words(),
                row=plain,
                version=__version__,
                created_at=now,
            )
            session.add(result)
            session.flush()
            self._supersede(session, job, result)
            for name in job.request.get("destinations", ()):
                session.add(DeliveryEntry(result_id=result.id, destination=name, not_before=now))
            audit.record(
                session, "screened", subject=job.series.key, score=row.score, attempt=claim.attempt
            )
            return True

    def _supersede(self, session: Session, job: JobEntry, result: ResultEntry) -> None:
        """Let the newest revision's newest result stand, whichever came first."""
        others = session.scalars(
            select(ResultEntry)
            .join(JobEntry)
            .join(SeriesEntry)
            .where(
                SeriesEntry.key == job.series.key,
                ResultEntry.superseded_by.is_(None),
                ResultEntry.id != result.id,
            )
        )
        for other in others:
            is_later = other.job.series.revision > job.series.revision
            old, new = (result, other) if is_later else (other, result)
            old.superseded_by = new.id

    def fail(self, claim: Claim, failure: JobFailure) -> None:
        """Record that a job came to no end, and see to what follows; see ``failures``."""
        with self.database.write() as session:
            job = session.scalar(select(JobEntry).where(_held(claim)).with_for_update())
            if job is None:
                return
            if failure.kind == "worker":
                self._lose(session, job, failure)
            elif failure.kind == "environment":
                job.state, job.worker, job.lease_until = "queued", None, None
                job.attempts -= 1
                self._pause(session, failure)
            else:
                self._quarantine(session, job, failure)

    def _lose(self, session: Session, job: JobEntry, failure: JobFailure) -> None:
        if job.attempts >= MOST_ATTEMPTS:
            self._quarantine(session, job, failure)
            return
        _tell(job, failure)
        job.state, job.worker, job.lease_until, job.is_alone = "queued", None, None, True
        job.not_before = self.clock() + AFTER_A_LOSS_S * job.attempts
        audit.record(session, "lost", subject=job.series.key, code=failure.code)

    def _quarantine(self, session: Session, job: JobEntry, failure: JobFailure) -> None:
        _tell(job, failure)
        job.state, job.ended_at = "quarantined", self.clock()
        job.worker, job.lease_until = None, None
        audit.record(session, "failed", subject=job.series.key, code=failure.code)

    def _pause(self, session: Session, failure: JobFailure) -> None:
        cause = failure.cause or "disk"
        if session.get(PauseEntry, cause) is None:
            texts = {"code": failure.code, "reason": failure.reason, "advice": failure.advice}
            session.add(PauseEntry(cause=cause, since=self.clock(), **texts))
            audit.record(session, "paused", cause=cause, code=failure.code)

    def pause(self, failure: JobFailure) -> None:
        """Let nothing begin until what fails of the environment works again."""
        with self.database.write() as session:
            self._pause(session, failure)

    def resume(self, cause: Cause | str) -> None:
        """Say that a part of the environment works again."""
        with self.database.write() as session:
            if (found := session.get(PauseEntry, cause)) is not None:
                session.delete(found)
                audit.record(session, "resumed", cause=cause)

    def pauses(self) -> dict[str, HeadClipError]:
        """Say what of the environment fails, by its cause."""
        with self.database.read() as session:
            return {
                one.cause: HeadClipError(one.reason, one.advice, code=one.code)
                for one in session.scalars(select(PauseEntry))
            }

    def retry(self, job_ids: Iterable[int] | None = None) -> int:
        """Queue quarantined jobs again, from their first attempt.

        Args:
            job_ids: Which; all by default.

        Returns:
            How many.
        """
        with self.database.write() as session:
            wanted = select(JobEntry).where(JobEntry.state == "quarantined")
            if job_ids is not None:
                wanted = wanted.where(JobEntry.id.in_(list(job_ids)))
            jobs = session.scalars(wanted).all()
            for job in jobs:
                job.state, job.attempts, job.not_before = "queued", 0, 0.0
                job.ended_at = None
                audit.record(session, "retried", subject=job.series.key)
            return len(jobs)

    def counts(self) -> dict[str, int]:
        """Count jobs by state."""
        with self.database.read() as session:
            counted = select(JobEntry.state, func.count().label("jobs")).group_by(JobEntry.state)
            return {one.state: one.jobs for one in session.execute(counted)}

    def reopen(self, job_id: int) -> None:
        """Queue a job that was screened, whose result is not there any more or was replaced."""
        with self.database.write() as session:
            job = session.get_one(JobEntry, job_id)
            if job.state == "screened":
                job.state, job.attempts, job.ended_at = "queued", 0, None

    def is_done(self, job_ids: Collection[int]) -> bool:
        """Tell whether nothing of these jobs is left to do."""
        with self.database.read() as session:
            left = session.scalars(select(JobEntry.id).where(JobEntry.state.in_(WAITING)))
            return not any(one in job_ids for one in left)


def _has_come(moment: QueryableAttribute[Any], now: float, most_s: float) -> ColumnElement[bool]:
    """Tell whether a moment is past, or so far ahead that the clock was set back since."""
    return or_(moment <= now, moment > now + most_s + SLACK_S)


def _held(claim: Claim) -> ColumnElement[bool]:
    return and_(
        JobEntry.id == claim.job_id,
        JobEntry.state == "running",
        JobEntry.worker == claim.worker,
        JobEntry.attempts == claim.attempt,
    )


def _tell(job: JobEntry, failure: JobFailure) -> None:
    job.failure, job.code = failure.kind, failure.code
    job.reason, job.advice = failure.reason, failure.advice
