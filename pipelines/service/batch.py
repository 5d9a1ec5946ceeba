"""A batch: offer what was found to the folder's queue, work it off, and write the worklist.

The worklist is of the folder: what earlier batches found stands on it too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import joinedload

from headclip_med.atomic import check_writable, remove_abandoned
from headclip_med.errors import HeadClipError
from headclip_med.pipelines.plan import Job, Plan
from headclip_med.pipelines.service.database import Database, open_database
from headclip_med.pipelines.service.database.opening import UnusableDatabase
from headclip_med.pipelines.service.database.tables import (
    FileEntry,
    JobEntry,
    ResultEntry,
    SeriesEntry,
)
from headclip_med.pipelines.service.dispatch import Dispatcher, waited_out
from headclip_med.pipelines.service.execution.executor import Executor
from headclip_med.pipelines.service.queue import Claim, SeriesOffer, WorkQueue
from headclip_med.pipelines.service.worklist.queries import unused_files
from headclip_med.pipelines.work.report import BatchReport, summed_up
from headclip_med.pipelines.work.tasks import StudyTask
from headclip_med.read import Inputs
from headclip_med.write import FailedInput, FileRow, SummaryRow
from headclip_med.write.result import SCHEMA_VERSION

OFFERED_AT_ONCE = 200
"""In a transaction, for which others wait."""

STEP_S = 1.0
WRITE_EVERY_S = 60.0
"""Between two worklists while work goes on."""


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What a batch does beside screening.

    Attributes:
        run_key: Digest of the model, the settings and the outputs; see ``WorkQueue.offer``.
        hide_names: Whether no name of a file is written anywhere.
        retries: Whether what was set aside is tried again.
        verifies: Whether finished results are compared with the voxels, which are read for it.
        is_stopped: Asked between two steps; True lets the work end after its slice.
        report: Called with the number of slices done since the last call.
        say: Told in a sentence where the environment fails, once each time.
        is_scripted: Whether the worklist's page has its script.
    """

    run_key: str
    hide_names: bool = False
    retries: bool = False
    verifies: bool = False
    is_stopped: Callable[[], bool] = lambda: False
    report: Callable[[int], None] = lambda slices: None
    say: Callable[[str], None] = lambda sentence: None
    is_scripted: bool = True


def run_batch(inputs: Inputs, out: Path, executor: Executor, settings: BatchRequest) -> BatchReport:
    """Screen every input that has no result yet, and write the folder's worklist.

    Args:
        inputs: As ``find_inputs`` gives them.
        out: The folder of results, which holds the queue.
        executor: Who does the work; closed in the end.
        settings: Of the batch.

    Returns:
        Of these inputs what was found and what failed; ``left_alone`` counts what was finished.

    Raises:
        InvalidSettings: An option does not suit the model.
        UnwritableOutput: The folder takes no files; said before any work.
        UnusableDatabase: A later version wrote the queue, or it cannot be used.
    """
    check_writable(out)
    for folder in (out, *out.glob("*/")):
        remove_abandoned(folder)
    database = open_database(out)
    try:
        batch = _Batch(WorkQueue(database), out, Plan(inputs, settings.hide_names), settings)
        batch.offer()
        try:
            batch.work(executor)
        finally:
            executor.close()
            batch.write()
        return batch.report()
    finally:
        database.close()


@dataclass(eq=False)
class _Batch:
    queue: WorkQueue
    out: Path
    plan: Plan
    settings: BatchRequest
    jobs: dict[int, Job] = field(default_factory=dict)
    left_alone: int = 0
    told: frozenset[str] = frozenset()

    def offer(self) -> None:
        """Put every input into the queue; of what is finished only the slices are counted."""
        if self.settings.hide_names:
            _forget_names(self.queue.database)
        jobs = list(self.plan.jobs())
        for start in range(0, len(jobs), OFFERED_AT_ONCE):
            some = jobs[start : start + OFFERED_AT_ONCE]
            offers = [_offer_of(job) for job in some]
            ids = self.queue.offer_all(offers, {}, self.settings.run_key)
            self.jobs.update(zip(ids, some, strict=True))
        if self.settings.retries:
            self.queue.retry(self.jobs)
        for job_id in self._finished():
            self.left_alone += 1
            origin = self.jobs[job_id].origin
            self.settings.report(0 if origin is None else origin.slices)
        _note_unused(self.queue.database, self.plan.unused)

    def _finished(self) -> list[int]:
        """List jobs whose result stands; those whose result is gone are queued again."""
        with self.queue.database.read() as session:
            rows = session.execute(
                select(JobEntry.id, ResultEntry.folder, SeriesEntry.content_digest)
                .join(SeriesEntry)
                .outerjoin(
                    ResultEntry,
                    (ResultEntry.job_id == JobEntry.id) & ResultEntry.superseded_by.is_(None),
                )
                .where(JobEntry.state == "screened")
            ).all()
        finished = []
        for job_id, folder, digest in rows:
            if job_id not in self.jobs:
                continue
            is_there = _is_whole(self.out / str(folder) / "result.json", digest)
            if is_there and not self.settings.verifies:
                finished.append(job_id)
            else:
                self.queue.reopen(job_id)
        return finished

    def work(self, executor: Executor) -> None:
        """Keep the executor busy until nothing of these inputs is left, or all shall end."""
        dispatcher = Dispatcher(
            self.queue, executor, self._task, self.out, among=self.jobs.keys(),
            report=self.settings.report,
        )  # fmt: skip
        written_s = time.monotonic()
        while self._goes_on(dispatcher):
            if self.settings.is_stopped():
                dispatcher.stop()
                break
            with waited_out(lambda error: self._tell({"now": error}), STEP_S):
                dispatcher.step(STEP_S)
                self._tell(self.queue.pauses())
                if time.monotonic() - written_s > WRITE_EVERY_S:
                    written_s = time.monotonic()
                    self.write()
        self.left_alone += dispatcher.taken_up

    def _goes_on(self, dispatcher: Dispatcher) -> bool:
        """Tell whether something is left to do; while the database does not say, there is."""
        try:
            return dispatcher.is_busy or not self.queue.is_done(self.jobs.keys())
        except UnusableDatabase:
            return True

    def _task(self, claim: Claim) -> StudyTask:
        """Give a job, and the one that is likely to be next."""
        order = iter(self.jobs)
        for one in order:
            if one == claim.job_id:
                break
        following = next(order, None)
        return StudyTask(
            self.jobs[claim.job_id], None if following is None else self.jobs[following]
        )

    def _tell(self, pauses: Mapping[str, HeadClipError]) -> None:
        """Say what is waited for, once each time that it fails."""
        for cause in pauses.keys() - self.told:
            self.settings.say(f"Waiting: {pauses[cause]}")
        self.told = frozenset(pauses)

    def write(self) -> None:
        """Write the folder's worklist."""
        rows, failures = standing(self.queue.database)
        with self.queue.database.read() as session:
            unused = unused_files(session)
        self.written = summed_up(
            rows.values(), failures.values(), self.out, unused=unused,
            is_scripted=self.settings.is_scripted,
        )  # fmt: skip

    def report(self) -> BatchReport:
        """Say what became of these inputs."""
        rows, failures = standing(self.queue.database)
        own = {row.folder for row in _of(rows, self.jobs)}
        return BatchReport(
            tuple(row for row in self.written.rows if row.folder in own),
            tuple(_of(failures, self.jobs)),
            self.written.outputs,
            self.left_alone,
        )


def _is_whole(result: Path, content_digest: str | None) -> bool:
    """Tell whether a result.json is there, of this form, and of this content."""
    try:
        plain = json.loads(result.read_text("utf-8"))
        found = plain["schema_version"], plain["input"]["content_digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return found == (SCHEMA_VERSION, content_digest)


def _of(found: Mapping[int, Any], job_ids: Collection[int]) -> list[Any]:
    return [one for job_id, one in found.items() if job_id in job_ids]


def _offer_of(job: Job) -> SeriesOffer:
    origin = job.origin
    facts: dict[str, Any] = {}
    if origin is not None:
        names = ("study_instance_uid", "series_instance_uid", "part", "modality", "slices")
        facts = {name: getattr(origin, name) for name in names}
    return SeriesOffer(
        key=job.key, files=job.stamps, source="files", names=job.files, name=job.name, **facts
    )


def _forget_names(database: Database) -> None:
    """Remove the names of files that an earlier batch wrote down, from the disk as well."""
    with database.write() as session:
        session.execute(delete(FileEntry))
        session.execute(update(SeriesEntry).values(name=None, names=[]))
        for result in session.scalars(select(ResultEntry)):
            result.row = {**result.row, "name": None, "files": []}
    database.compact()


def _note_unused(database: Database, unused: Iterable[FileRow]) -> None:
    with database.write() as session:
        for one in unused:
            session.merge(
                FileEntry(
                    name=one.file, status=one.status, repeats=one.repeats, code=one.code,
                    reason=one.reason, advice=one.what_to_do,
                )
            )  # fmt: skip


def standing(database: Database) -> tuple[dict[int, SummaryRow], dict[int, FailedInput]]:
    """Read what stands on the worklist of a folder: results that nothing replaced, and failures.

    Returns:
        Both by the id of their job.
    """
    with database.read() as session:
        results = session.scalars(select(ResultEntry).where(ResultEntry.superseded_by.is_(None)))
        rows = {one.job_id: row_of(one) for one in results}
        failed = session.scalars(
            select(JobEntry)
            .join(SeriesEntry)
            .where(JobEntry.state == "quarantined")
            .options(joinedload(JobEntry.series))
        )
        failures = {
            one.id: FailedInput(
                one.series.name or one.series.key, one.code or "failed", one.reason or "",
                one.advice or "", tuple(one.series.names),
            )
            for one in failed
        }  # fmt: skip
    return rows, failures


def row_of(result: ResultEntry) -> SummaryRow:
    """Give the row of a result as it was recorded."""
    return SummaryRow.from_plain(result.row)
