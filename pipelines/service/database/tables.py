"""What the database of a folder of results holds.

A *series* is what came in, a *job* what is to be done with it, a *result* what was found, a
*delivery* a result on its way to a destination. Rows are never removed: a later revision of a
series supersedes the result of an earlier one, which stays.

    series 1 --- n job 1 --- n result 1 --- n delivery 1 --- n commitment

States of a job: ``queued`` -> ``running`` -> ``screened``; aside: ``quarantined`` (it failed, and
is tried again on request only), ``superseded`` (a later revision came first), ``skipped`` (a rule
says so). Of a delivery: ``queued`` -> ``sending`` -> ``sent`` -> ``verified``; aside: ``dead``.

All times are seconds of Unix time. No patient value stands in any column: files are known by path,
series by UIDs, people not at all.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

SHORT, LONG = 64, 1024


class Record(DeclarativeBase):
    """The root of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[Any]: JSON}


class SeriesEntry(Record):
    """One volume that came in, in one revision of it.

    Attributes:
        key: Its stable name over all revisions: UIDs and part, or a hash of a file's path.
        revision: From 1; instances that come after a series was complete make the next.
        files: Of each file ``[path, bytes, mtime_ns]``, sorted; by these it is recognised unread. A
            batch, which has the files at hand, keeps a digest of each name instead of the path.
        names: Of its files, as the summary calls them.
        files_digest: SHA-256 of ``files``, folders left out.
        content_digest: Of the voxels and the geometry, once they were read.
        name: Of the file, for inputs without identifiers; None where names are hidden.
        source: ``files``, ``receiver``, ``dicomweb`` or ``folder``.
        peer: AE title or address it came from; None for files.
        received_at: Of the last instance.
    """

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("key", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(LONG), index=True)
    revision: Mapped[int] = mapped_column(default=1)
    files: Mapped[list[Any]]
    names: Mapped[list[Any]] = mapped_column(default=list)
    files_digest: Mapped[str] = mapped_column(String(SHORT), index=True)
    content_digest: Mapped[str | None] = mapped_column(String(SHORT))
    name: Mapped[str | None] = mapped_column(String(LONG))
    study_instance_uid: Mapped[str | None] = mapped_column(String(SHORT), index=True)
    series_instance_uid: Mapped[str | None] = mapped_column(String(SHORT), index=True)
    part: Mapped[int] = mapped_column(default=1)
    modality: Mapped[str | None] = mapped_column(String(SHORT))
    body_part: Mapped[str | None] = mapped_column(String(SHORT))
    slices: Mapped[int] = mapped_column(default=0)
    source: Mapped[str] = mapped_column(String(SHORT))
    peer: Mapped[str | None] = mapped_column(String(LONG))
    received_at: Mapped[float]
    jobs: Mapped[list[JobEntry]] = relationship(back_populates="series")


class JobEntry(Record):
    """A series to be screened in one way.

    Attributes:
        run_key: Digest of the model, the settings, the outputs and the program's version.
        rule: Of the configuration, which asked for it; None for a batch.
        request: Plain values that say how: model, settings, outputs, destinations.
        priority: Higher first.
        attempts: Begun so far; counted *before* the work, so that one that kills its worker counts.
        is_alone: Whether it must be done in a capped process of its own, having lost a worker.
        not_before: Of the next attempt.
        worker: Who holds it.
        lease_until: After this another may take it.
        failure: The kind, as in ``failures``, with ``code``, ``reason`` and ``advice`` of an error.
    """

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("series_id", "run_key"),
        Index("job_by_turn", "state", "priority", "not_before"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), index=True)
    run_key: Mapped[str] = mapped_column(String(SHORT))
    rule: Mapped[str | None] = mapped_column(String(SHORT))
    request: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(SHORT), default="queued")
    priority: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    is_alone: Mapped[bool] = mapped_column(default=False)
    not_before: Mapped[float] = mapped_column(default=0.0)
    worker: Mapped[str | None] = mapped_column(String(LONG))
    lease_until: Mapped[float | None]
    failure: Mapped[str | None] = mapped_column(String(SHORT))
    code: Mapped[str | None] = mapped_column(String(SHORT))
    reason: Mapped[str | None] = mapped_column(String(LONG))
    advice: Mapped[str | None] = mapped_column(String(LONG))
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    series: Mapped[SeriesEntry] = relationship(back_populates="jobs")
    results: Mapped[list[ResultEntry]] = relationship(back_populates="job")


class ResultEntry(Record):
    """What was found, and where it lies.

    Attributes:
        folder: Of its files, relative to the folder of results, with forward slashes.
        score: In [0, 1].
        p_value: How often a normal study scores as high; None where it is uncalibrated.
        calibration: ``calibrated``, or the code of why not.
        stratum: Of the calibration.
        row: The ``SummaryRow`` in plain values.
        version: Of the program.
        superseded_by: The result of a later revision, or of screening again.
    """

    __tablename__ = "result"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    folder: Mapped[str] = mapped_column(String(LONG))
    score: Mapped[float] = mapped_column(index=True)
    p_value: Mapped[float | None]
    calibration: Mapped[str | None] = mapped_column(String(SHORT))
    stratum: Mapped[str | None] = mapped_column(String(LONG))
    row: Mapped[dict[str, Any]]
    version: Mapped[str] = mapped_column(String(SHORT))
    created_at: Mapped[float]
    superseded_by: Mapped[int | None] = mapped_column(ForeignKey("result.id"))
    job: Mapped[JobEntry] = relationship(back_populates="results")
    deliveries: Mapped[list[DeliveryEntry]] = relationship(back_populates="result")


class DeliveryEntry(Record):
    """A result on its way to one destination of the configuration.

    Attributes:
        destination: Its name there.
        not_before: Of the next attempt, by exponential back-off.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("result_id", "destination"),
        Index("delivery_by_turn", "state", "not_before"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("result.id"))
    destination: Mapped[str] = mapped_column(String(SHORT))
    state: Mapped[str] = mapped_column(String(SHORT), default="queued")
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[float] = mapped_column(default=0.0)
    lease_until: Mapped[float | None]
    code: Mapped[str | None] = mapped_column(String(SHORT))
    reason: Mapped[str | None] = mapped_column(String(LONG))
    advice: Mapped[str | None] = mapped_column(String(LONG))
    sent_at: Mapped[float | None]
    verified_at: Mapped[float | None]
    result: Mapped[ResultEntry] = relationship(back_populates="deliveries")


class CommitmentEntry(Record):
    """A transaction of storage commitment, which an archive may report on at any later time.

    Attributes:
        transaction_uid: That the report will name.
        asked_at: When the archive was asked.
        committed: SOP instance UIDs that it has taken over; empty until it reports.
        is_settled: Whether the report has been acted on.
    """

    __tablename__ = "commitment"

    transaction_uid: Mapped[str] = mapped_column(String(SHORT), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    asked_at: Mapped[float]
    reported_at: Mapped[float | None]
    committed: Mapped[list[Any]] = mapped_column(default=list)
    is_settled: Mapped[bool] = mapped_column(default=False)


class FileEntry(Record):
    """A file that no job is made of: left out, or the repeat of another.

    Attributes:
        name: As the summary calls it.
        status: ``left-out`` or ``repeat``.
        repeats: The name of the file that stands for it.
    """

    __tablename__ = "file"

    name: Mapped[str] = mapped_column(String(LONG), primary_key=True)
    status: Mapped[str] = mapped_column(String(SHORT))
    repeats: Mapped[str | None] = mapped_column(String(LONG))
    code: Mapped[str | None] = mapped_column(String(SHORT))
    reason: Mapped[str] = mapped_column(String(LONG))
    advice: Mapped[str] = mapped_column(String(LONG))


class DriftEntry(Record):
    """The state of one stratum of one calibration; an alarm marks it stale, and changes nothing."""

    __tablename__ = "drift"
    __table_args__ = (UniqueConstraint("calibration_digest", "stratum"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    calibration_digest: Mapped[str] = mapped_column(String(SHORT))
    stratum: Mapped[str] = mapped_column(String(LONG))
    is_stale: Mapped[bool] = mapped_column(default=False)
    alarm: Mapped[dict[str, Any]] = mapped_column(default=dict)
    since: Mapped[float | None]


class PauseEntry(Record):
    """A part of the environment that fails (``disk``): nothing is begun until it works.

    Attributes:
        cause: Which.
        since: When it was first met.
    """

    __tablename__ = "pause"

    cause: Mapped[str] = mapped_column(String(SHORT), primary_key=True)
    code: Mapped[str] = mapped_column(String(SHORT))
    reason: Mapped[str] = mapped_column(String(LONG))
    advice: Mapped[str] = mapped_column(String(LONG))
    since: Mapped[float]


class AuditEntry(Record):
    """What came, from whom, what was done and sent; triggers refuse to change or remove a row.

    Attributes:
        event: ``received``, ``refused``, ``conflict``, ``complete``, ``screened``, ``failed``,
            ``sent``, ``verified``, ``retried``, ``paused``, ``resumed``, ``stale`` ...
        peer: AE title, address or user that it concerns.
        subject: UID of a series or an instance, or a series' key.
        facts: Plain values; no patient's.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    event: Mapped[str] = mapped_column(String(SHORT), index=True)
    peer: Mapped[str | None] = mapped_column(String(LONG))
    subject: Mapped[str | None] = mapped_column(String(LONG))
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
