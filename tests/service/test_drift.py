"""Drift of a folder's p-values: an alarm marks a stratum stale, once and for good, and a service
that runs judges its next study no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from headclip_med.cli import main
from headclip_med.pipelines.calibration import Calibration, Calibrator, read_calibration
from headclip_med.pipelines.service import serve
from headclip_med.pipelines.service.batch import row_of
from headclip_med.pipelines.service.configuration import Configuration, read_configuration
from headclip_med.pipelines.service.database import Database, open_database
from headclip_med.pipelines.service.database.tables import AuditEntry, DriftEntry, ResultEntry
from headclip_med.pipelines.service.drift import note_drift
from headclip_med.pipelines.service.execution.local import InlineExecutor
from headclip_med.pipelines.service.intake.completeness import Collector
from headclip_med.pipelines.service.intake.instances import Instance
from headclip_med.pipelines.service.intake.spool import Spool
from headclip_med.pipelines.service.queue import SeriesOffer, WorkQueue
from headclip_med.pipelines.work.building import ScreenerPlan
from tests.bright import BrightModel, stand_in
from tests.pipelines.calibration.known import BINDING, HEAD, calibration
from tests.pipelines.calibration.test_commands import write_study
from tests.service.programs import wait_until
from tests.write.test_summary import row as summary_row

KNOWN = calibration(*(0.005 * n for n in range(200)), alpha=0.05)
WINDOW = 100


def screened(
    database: Database, scores: list[float], *, first: int, known: Calibration = KNOWN
) -> None:
    """Record studies with these scores, as a service does."""
    queue, judge = WorkQueue(database), Calibrator(known).judge
    (normals,) = known.strata
    for number, score in enumerate(scores, start=first):
        queue.offer(SeriesOffer(key=str(number), files=(), source="receiver"), {}, "r")
        claim = queue.claim("w", 60.0)
        assert claim is not None
        used = judge(score, normals.stratum, normals.binding)
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


# --- a service that runs ------------------------------------------------------------------------


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """A service that screens in this process, calibrated on five heads."""
    stand_in(monkeypatch, BrightModel)
    monkeypatch.setattr(serve, "WATCH_EVERY_S", 0.0)
    for number in range(5):
        write_study(tmp_path / f"normals/head{number}", str(number), 30 + 5 * number)
    calibrated = tmp_path / "calibration.json"
    arguments = ["--out", str(calibrated), "--alpha", "0.2", "--window", "brain"]
    assert main(["calibrate", str(tmp_path / "normals"), *arguments]) == 0
    config = tmp_path / "service.toml"
    config.write_text(
        f'[service]\nout = "{tmp_path / "out"}"\nquiet_s = 0.001\n'
        f'calibration = "{calibrated}"\n[screen]\nwindow = "brain"\n'
    )
    return read_configuration(config)


class Running:
    """The parts of a service that complete and screen, and what they started."""

    def __init__(self, configuration: Configuration, database: Database) -> None:
        self.executors: list[InlineExecutor] = []
        self.closed: list[InlineExecutor] = []
        self._spool, self._database = configuration.spool, database
        self._queue = WorkQueue(database)
        self._collector = Collector(configuration, self._queue)
        self._benches = serve._Benches(configuration, self._queue, self._made)

    def _made(self, plan: ScreenerPlan) -> InlineExecutor:
        executor = InlineExecutor(plan)
        executor.close = lambda: self.closed.append(executor)  # type: ignore[method-assign]
        self.executors.append(executor)
        return executor

    def take(self, folder: Path) -> None:
        """Let a study come in, and be screened."""
        before = self._queue.counts().get("screened", 0)
        with Spool(self._spool, "test", self._database) as spool:
            for path in folder.glob("*"):
                spool.keep(Instance.of(path.read_bytes(), source="receiver", peer="CT1"))
        wait_until(self._step(before), "it is screened")

    def _step(self, before: int) -> Callable[[], bool]:
        def is_done() -> bool:
            self._collector.offer_complete()
            self._benches.step()
            return self._queue.counts().get("screened", 0) > before

        return is_done


def test_where_a_stratum_goes_stale_the_workers_start_anew_and_judge_it_no_more(
    configuration: Configuration, tmp_path: Path
) -> None:
    assert configuration.service.calibration is not None
    known = read_calibration(Path(configuration.service.calibration))
    configuration.out.mkdir()
    database = open_database(configuration.out)
    running = Running(configuration, database)
    write_study(tmp_path / "first", "x", 60)
    running.take(tmp_path / "first")
    write_study(tmp_path / "second", "y", 60)
    running.take(tmp_path / "second")
    assert (len(running.executors), running.closed) == (1, [])
    screened(database, [0.999] * WINDOW, first=0, known=known)
    write_study(tmp_path / "third", "z", 60)
    running.take(tmp_path / "third")
    assert running.closed == running.executors[:1]
    assert len(running.executors) == 2
    with database.read() as session:
        found = [
            (one.calibration, one.p_value is None, row_of(one).calibration.sentence())
            for one in session.scalars(select(ResultEntry).order_by(ResultEntry.id))
        ]
    database.close()
    assert [code for code, _, _ in (found[0], found[1], found[-1])] == [
        "calibrated", "calibrated", "stale",
    ]  # fmt: skip
    assert found[-1][1]
    assert str(found[-1][2]).startswith("Uncalibrated: ")
