"""The queue: one job for one wish, leases that end, failures of four kinds, rows that stay."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError

from headclip_med.calibration import CalibrationUsed
from headclip_med.errors import InvalidSettings, OutOfMemory, UnreadableInput, UnwritableOutput
from headclip_med.pipelines.service.database import Database, open_database, opening
from headclip_med.pipelines.service.database.opening import UnusableDatabase
from headclip_med.pipelines.service.database.tables import (
    AuditEntry,
    DeliveryEntry,
    JobEntry,
    Record,
    ResultEntry,
    SeriesEntry,
)
from headclip_med.pipelines.service.dispatch import is_gone, own_name
from headclip_med.pipelines.service.failures import failure_of, worker_lost
from headclip_med.pipelines.service.queue import MOST_ATTEMPTS, Claim, SeriesOffer, WorkQueue
from headclip_med.write import SummaryRow
from tests.service.postgres import Server, postgres

LEASE_S = 60.0
LOST = worker_lost("worker-lost", "It is gone.")
BAD = failure_of(UnreadableInput("It is damaged.", "Export it again."))
FULL = failure_of(UnwritableOutput("The disk is full.", "Make room."))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is to be; every test is done in both."""
    if request.param == "sqlite":
        return tmp_path
    server: Server = request.getfixturevalue("server")
    return server.new_database()


@contextmanager
def opened(place: Path | str) -> Iterator[Database]:
    database = open_database(place)
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    with opened(place) as database:
        yield database


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(database: Database, clock: Clock) -> WorkQueue:
    return WorkQueue(database, clock)


def series(key: str = "a", *, size: int = 10, folder: str = "/in") -> SeriesOffer:
    return SeriesOffer(key=key, files=((f"{folder}/1.dcm", size, 5),), source="files")


def row(folder: str = "1.2/3", score: float = 0.5) -> SummaryRow:
    return SummaryRow(
        folder=folder, score=score, calibrated=False, threshold=0.5, slice_scores=(score,),
        lesions=(), modality="CT", window="brain", name=None, study_instance_uid="1.2",
        series_instance_uid="3", part=1, has_patient_geometry=True, model="m", outputs={},
        picture=None, notes=(), calibration=CalibrationUsed(),
    )  # fmt: skip


def states(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(JobEntry.state).order_by(JobEntry.id)))


def test_the_tables_are_those_that_the_steps_make(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Record.metadata) == []


def test_what_an_earlier_version_wrote_is_brought_up_to_date_and_stays(
    place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(opening, "HEAD", "0001")
        with opened(place) as database, database.write() as session:
            session.add(AuditEntry(at=1.0, event="received"))
            assert not inspect(session.connection()).has_table("commitment")
    with opened(place) as database, database.read() as session:
        assert list(session.scalars(select(AuditEntry.event))) == ["received"]
        assert inspect(session.connection()).has_table("commitment")


def test_a_file_syncs_every_transaction(tmp_path: Path) -> None:
    with opened(tmp_path) as database, database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_what_a_later_version_wrote_is_refused(place: Path | str) -> None:
    database = open_database(place)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(UnusableDatabase, match="later version") as raised:
        open_database(place)
    assert raised.value.code == "newer-database"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSettings) as raised:
        open_database("nonsense://x")
    assert raised.value.code == "bad-database"


def test_many_open_a_new_database_at_once(place: Path | str) -> None:
    failed: list[Exception] = []

    def use() -> None:
        try:
            with opened(place) as own:
                WorkQueue(own).offer(series(), {}, "r")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    with opened(place) as database:
        assert states(database) == ["queued"]


def test_the_same_wish_twice_is_one_job(queue: WorkQueue, database: Database) -> None:
    first = queue.offer(series(), {}, "r")
    assert queue.offer(series(folder="/moved"), {}, "r") == first
    assert queue.offer(series(), {}, "other settings") != first
    assert states(database) == ["queued", "queued"]
    with database.read() as session:
        assert [one.files for one in session.scalars(select(SeriesEntry))] == [
            [["/in/1.dcm", 10, 5]]
        ]


def test_changed_files_are_a_revision_that_ends_what_waits(
    queue: WorkQueue, database: Database
) -> None:
    queue.offer(series(), {}, "r")
    queue.offer(series(size=11), {}, "r")
    assert states(database) == ["superseded", "queued"]
    with database.read() as session:
        assert list(session.scalars(select(SeriesEntry.revision))) == [1, 2]


def test_jobs_are_taken_by_priority_then_in_order(queue: WorkQueue) -> None:
    a, b = queue.offer(series("a"), {}, "r"), queue.offer(series("b"), {}, "r")
    urgent = queue.offer(series("c"), {"window": "brain"}, "r", priority=5)
    taken = [queue.claim("w", LEASE_S) for _ in range(4)]
    assert [one and one.job_id for one in taken] == [urgent, a, b, None]
    assert taken[0] is not None
    assert taken[0].request == {"window": "brain"}
    assert (taken[0].attempt, taken[0].files) == (1, ("/in/1.dcm",))


def test_only_jobs_that_are_known_are_taken(queue: WorkQueue) -> None:
    queue.offer(series("a"), {}, "r")
    mine = queue.offer(series("b"), {}, "r")
    found = queue.claim("w", LEASE_S, among={mine})
    assert found is not None
    assert found.job_id == mine
    assert queue.claim("w", LEASE_S, among={mine}) is None


def test_two_never_hold_one_job(place: Path | str, queue: WorkQueue) -> None:
    count = 40
    for index in range(count):
        queue.offer(series(str(index)), {}, "r")
    taken: list[int] = []

    def take(name: str) -> None:
        with opened(place) as own:
            while (claim := WorkQueue(own).claim(name, LEASE_S)) is not None:
                taken.append(claim.job_id)

    threads = [threading.Thread(target=take, args=(str(one),)) for one in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(taken) == list(range(1, count + 1))


def test_a_result_is_recorded_once_and_its_deliveries_queued(
    queue: WorkQueue, database: Database
) -> None:
    queue.offer(series(), {"destinations": ["pacs"]}, "r")
    claim = queue.claim("w", LEASE_S)
    assert claim is not None
    assert queue.finish(claim, row(), content_digest="c0ffee")
    assert not queue.finish(claim, row())
    with database.read() as session:
        (result,) = session.scalars(select(ResultEntry))
        (delivery,) = session.scalars(select(DeliveryEntry))
        assert (result.score, result.calibration) == (0.5, "no-calibration")
        assert (delivery.destination, delivery.state) == ("pacs", "queued")
        assert result.job.series.content_digest == "c0ffee"
        events = list(session.scalars(select(AuditEntry.event)))
    assert events == ["screened"]
    assert queue.counts() == {"screened": 1}


def test_a_lease_that_ran_out_gives_the_job_to_another(queue: WorkQueue, clock: Clock) -> None:
    queue.offer(series(), {}, "r")
    first = queue.claim("one", LEASE_S)
    assert first is not None
    clock.now += 59
    assert queue.renew(first, LEASE_S)
    clock.now += 59
    assert queue.claim("two", LEASE_S) is None
    clock.now += 2
    assert queue.claim("two", LEASE_S) is None  # it rests a little after a loss
    clock.now += 60
    second = queue.claim("two", LEASE_S)
    assert second is not None
    assert (second.attempt, second.is_alone) == (2, True)
    assert not queue.renew(first, LEASE_S)
    assert not queue.finish(first, row())
    assert queue.finish(second, row())


def test_a_study_that_cannot_be_used_is_set_aside_at_once(
    queue: WorkQueue, database: Database
) -> None:
    queue.offer(series(), {}, "r")
    claim = queue.claim("w", LEASE_S)
    assert claim is not None
    queue.fail(claim, BAD)
    with database.read() as session:
        job = session.get_one(JobEntry, claim.job_id)
        assert (job.state, job.failure, job.code) == ("quarantined", "study", "unreadable-input")
        assert job.reason == "It is damaged."
    assert queue.claim("w", LEASE_S) is None
    assert queue.retry() == 1
    again = queue.claim("w", LEASE_S)
    assert again is not None
    assert again.attempt == 1


def test_a_study_that_loses_its_worker_is_set_aside_after_three(
    queue: WorkQueue, clock: Clock
) -> None:
    queue.offer(series(), {}, "r")
    for attempt in range(1, MOST_ATTEMPTS + 1):
        claim = queue.claim("w", LEASE_S)
        assert claim is not None
        assert (claim.attempt, claim.is_alone) == (attempt, attempt > 1)
        queue.fail(claim, LOST)
        clock.now += 60
    assert queue.claim("w", LEASE_S) is None
    assert queue.counts() == {"quarantined": 1}


def test_a_full_disk_counts_nothing_and_stops_everything(queue: WorkQueue) -> None:
    queue.offer(series("a"), {}, "r")
    queue.offer(series("b"), {}, "r")
    claim = queue.claim("w", LEASE_S)
    assert claim is not None
    queue.fail(claim, FULL)
    assert queue.claim("w", LEASE_S) is None
    assert {cause: one.code for cause, one in queue.pauses().items()} == {
        "disk": "unwritable-output"
    }
    queue.resume("disk")
    again = queue.claim("w", LEASE_S)
    assert again is not None
    assert (again.job_id, again.attempt, again.is_alone) == (claim.job_id, 1, False)


def test_what_is_given_back_was_never_taken(queue: WorkQueue) -> None:
    queue.offer(series(), {}, "r")
    claim = queue.claim("w", LEASE_S)
    assert claim is not None
    queue.release(claim)
    again = queue.claim("w", LEASE_S)
    assert again is not None
    assert again.attempt == 1


def test_the_later_revision_stands_whichever_came_first(
    queue: WorkQueue, database: Database
) -> None:
    queue.offer(series(), {}, "r")
    early = queue.claim("one", LEASE_S)
    queue.offer(series(size=11), {}, "r")
    late = queue.claim("two", LEASE_S)
    assert early is not None
    assert late is not None
    assert queue.finish(late, row("new"))
    assert queue.finish(early, row("old"))
    with database.read() as session:
        stands = session.scalars(select(ResultEntry).filter_by(superseded_by=None))
        assert [one.folder for one in stands] == ["new"]


@pytest.mark.parametrize("change", ["UPDATE audit SET event = 'x'", "DELETE FROM audit"])
def test_rows_of_the_audit_stay(queue: WorkQueue, database: Database, change: str) -> None:
    queue.offer(series(), {}, "r")
    claim = queue.claim("w", LEASE_S)
    assert claim is not None
    queue.fail(claim, BAD)
    with pytest.raises(DBAPIError, match="stay as they are"), database.write() as session:
        session.execute(text(change))
    with database.read() as session:
        assert list(session.scalars(select(AuditEntry.event))) == ["failed"]


@pytest.mark.parametrize(
    ("error", "kind", "cause"),
    [
        (UnreadableInput("a"), "study", None),
        (ValueError("a fault of ours"), "study", None),
        (UnwritableOutput("a"), "environment", "disk"),
        (OutOfMemory("a"), "worker", None),
        (UnusableDatabase("a"), "environment", "database"),
    ],
)
def test_errors_say_who_is_at_fault(error: Exception, kind: str, cause: str | None) -> None:
    found = failure_of(error)
    assert (found.kind, found.cause) == (kind, cause)


def test_a_database_that_cannot_be_written_says_so_without_quoting(tmp_path: Path) -> None:
    def fill() -> None:
        with opened(tmp_path) as database, database.write() as session:
            session.execute(text("PRAGMA max_page_count = 1"))
            for index in range(3000):
                session.add(AuditEntry(at=0.0, event="received", peer="Zyxwvut" * 20 + str(index)))

    with pytest.raises(UnusableDatabase) as raised:
        fill()
    assert "Zyxwvut" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_damaged_claim_of_another_worker_changes_nothing(queue: WorkQueue) -> None:
    queue.offer(series(), {}, "r")
    claim = queue.claim("w", LEASE_S)
    assert claim is not None
    queue.fail(replace(claim, worker="someone else"), BAD)
    assert queue.counts() == {"running": 1}


def together(work: Callable[[int], None], count: int) -> None:
    """Do something in threads, and raise what one of them raised."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def test_one_series_that_is_offered_by_many_at_once_is_one_job(
    place: Path | str, database: Database
) -> None:
    def offer(_: int) -> None:
        with opened(place) as own:
            WorkQueue(own).offer(series(), {}, "r")

    together(offer, 8)
    assert states(database) == ["queued"]


def test_a_lease_that_ran_out_goes_to_one_of_many(
    place: Path | str, queue: WorkQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees it late must not take it from whoever has it by then."""
    monkeypatch.setattr("headclip_med.pipelines.service.queue.AFTER_A_LOSS_S", 0.0)
    for round_ in range(10):
        job = queue.offer(series(str(round_)), {}, "r")
        assert queue.claim("gone", LEASE_S) is not None
        clock.now += LEASE_S + 1
        held: list[Claim] = []

        def take(number: int, held: list[Claim] = held) -> None:
            with opened(place) as own:
                if (claim := WorkQueue(own, clock).claim(str(number), LEASE_S)) is not None:
                    held.append(claim)

        together(take, 6)
        assert [(one.job_id, one.attempt) for one in held] == [(job, 2)]
        assert queue.finish(held[0], row(str(round_)))


def test_what_a_killed_process_held_is_free_before_its_lease_ends(
    queue: WorkQueue, clock: Clock
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    names = [f"{host}-{ended.pid}-0a", own_name(), f"elsewhere-{ended.pid}-0a"]
    for name in names:
        queue.offer(series(name), {}, "r")
        assert queue.claim(name, LEASE_S) is not None
    assert [is_gone(name) for name in names] == [True, False, False]
    queue.take_back(is_gone)
    clock.now += 10
    taken = [queue.claim("w", LEASE_S) for _ in range(2)]
    assert [one and one.attempt for one in taken] == [2, None]


@pytest.mark.parametrize("jump_s", [-1e8, 1e8])
def test_a_clock_that_jumps_stops_nothing(queue: WorkQueue, clock: Clock, jump_s: float) -> None:
    clock.now = 2e9
    queue.offer(series("held"), {}, "r")
    queue.offer(series("lost"), {}, "r")
    assert queue.claim("gone", LEASE_S) is not None
    lost = queue.claim("w", LEASE_S)
    assert lost is not None
    queue.fail(lost, LOST)
    clock.now += jump_s
    taken = []
    for _ in range(4):
        if (claim := queue.claim("w", LEASE_S)) is not None:
            taken.append(claim)
            assert queue.finish(claim, row(str(len(taken))))
        clock.now += 30
    assert sorted(one.attempt for one in taken) == [2, 2]


def test_a_server_that_ends_its_connections_loses_nothing() -> None:
    with postgres() as server, opened(server.address()) as database:
        queue = WorkQueue(database)
        queue.offer(series(), {}, "r")
        claim = queue.claim("w", LEASE_S)
        assert claim is not None
        server.end_connections()
        assert queue.finish(claim, row())
        server.stop()
        with pytest.raises(UnusableDatabase, match="does not answer"):
            queue.counts()
