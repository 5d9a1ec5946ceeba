"""A batch can be stopped and given again: what is finished stays, what changed is done anew."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pydicom
import pytest
from sqlalchemy import select

from headclip_med.atomic import write_folder
from headclip_med.cli import main
from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.service import dispatch
from headclip_med.pipelines.service.batch import BatchRequest, run_batch
from headclip_med.pipelines.service.database import open_database
from headclip_med.pipelines.service.database.tables import JobEntry
from headclip_med.pipelines.service.execution.local import InlineExecutor
from headclip_med.pipelines.work.report import BatchReport
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs, read_volume
from headclip_med.settings import ScoreSettings, ScreenSettings
from headclip_med.store import digest_of
from headclip_med.write import USUAL_OUTPUTS, screening
from tests.bright import BrightModel, stand_in, write_inputs, write_picture
from tests.phantoms import edit, write_phantom

ROOT = Path(__file__).parents[2]
SETTINGS = ScreenSettings(threshold=0.1, minimum_size=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "in")


def run(
    place: Path, out: Path, model: BrightModel, settings: ScreenSettings = SETTINGS, **more: Any
) -> BatchReport:
    """Do a batch in this process."""
    known = settings.to_json(), model.describe(), model.scores.to_json(), sorted(more)
    options = {name: more.pop(name) for name in ("verifies", "retries", "say") if name in more}

    def build(report: Callable[[int], None]) -> Screener:
        return Screener(model=model, out=out, settings=settings, report=report, **more)

    batch = BatchRequest(run_key=str(digest_of({"known": str(known)})), **options)
    return run_batch(find_inputs([place]), out, InlineExecutor(build), batch)


@dataclass
class Batch:
    """Screens a folder again and again, and tells how often the model was asked."""

    folder: Path
    out: Path

    def __call__(
        self, model: BrightModel | None = None, settings: ScreenSettings = SETTINGS, **more: Any
    ) -> tuple[BatchReport, int]:
        model = model or BrightModel()
        return run(self.folder, self.out, model, settings, **more), len(model.calls)


@pytest.fixture
def batch(folder: Path, tmp_path: Path) -> Batch:
    return Batch(folder, tmp_path / "out")


def files(out: Path) -> dict[str, bytes]:
    """Everything below a folder; of results, what is not a matter of time."""
    found = {}
    results = (one for one in out.rglob("*") if one.is_file() and "sqlite" not in one.name)
    for path in sorted(results):
        content = path.read_bytes()
        if path.name == "result.json":
            content = json.dumps({**json.loads(content), "timings_s": None}).encode()
        found[path.relative_to(out).as_posix()] = content
    return found


def test_a_batch_writes_what_screen_writes(batch: Batch, tmp_path: Path) -> None:
    found, _ = batch()
    plain = Screener(model=BrightModel(), out=tmp_path / "plain", settings=SETTINGS)
    screen_inputs(find_inputs([batch.folder]), plain)
    assert files(tmp_path / "out") == files(tmp_path / "plain")
    assert (len(found.rows), found.left_alone, found.exit_code) == (3, 0, 0)


def test_what_is_finished_is_left_alone_and_stands_in_the_summary(batch: Batch) -> None:
    first, _ = batch()
    before = {path: path.stat().st_mtime_ns for path in batch.out.glob("*/*/*")}
    summary = (batch.out / "summary.json").read_bytes()
    again, calls = batch()
    assert (again.left_alone, calls, again.rows) == (3, 0, first.rows)
    assert {path: path.stat().st_mtime_ns for path in batch.out.glob("*/*/*")} == before
    assert (batch.out / "summary.json").read_bytes() == summary


def test_the_report_writes_the_page_that_the_batch_wrote(batch: Batch) -> None:
    (batch.folder / "broken.dcm").write_bytes(b"no image")
    (batch.folder / "note.txt").write_text("left out")
    found, _ = batch()
    assert (len(found.rows), len(found.failures)) == (3, 1)
    page = batch.out / "index.html"
    before = page.read_bytes()
    page.unlink()
    assert main(["report", str(batch.out), "--html"]) == 0
    assert page.read_bytes() == before


def test_only_what_is_new_is_screened(batch: Batch) -> None:
    batch()
    write_picture(batch.folder / "new.png", 200)
    found, calls = batch()
    assert (len(found.rows), found.left_alone, calls) == (4, 3, 1)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (BrightModel(), ScreenSettings(threshold=0.2, minimum_size=0.0)),
        (BrightModel(scores=ScoreSettings(top_percent=9.0)), SETTINGS),
    ],
)
def test_other_settings_are_done_anew(
    model: BrightModel, settings: ScreenSettings, batch: Batch
) -> None:
    batch()
    found, calls = batch(model, settings)
    assert (found.left_alone, calls) == (0, 3)


def test_another_model_is_done_anew(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    batch()
    other = {**BrightModel().describe(), "digest": "another"}
    monkeypatch.setattr(BrightModel, "describe", lambda model: other)
    assert batch()[0].left_alone == 0


def test_another_version_leaves_results_as_they_are_unless_asked(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch()
    monkeypatch.setattr("headclip_med.pipelines.work.screener.__version__", "99.0")
    assert batch()[0].left_alone == 3
    assert batch(of_version=True)[0].left_alone == 0


def test_a_result_of_an_earlier_form_is_done_anew(batch: Batch) -> None:
    """Its heatmap held floats."""
    found, _ = batch()
    path = batch.out / found.rows[0].folder / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": "2.0"}))
    assert batch()[0].left_alone == 2


def brighten(folder: Path) -> None:
    edit(
        sorted((folder / "ct").glob("*")),
        lambda dataset, index: setattr(dataset, "RescaleIntercept", 50),
    )


def shorten(folder: Path) -> None:
    sorted((folder / "ct").glob("*"))[-1].unlink()


@pytest.mark.parametrize("change", [brighten, shorten])
def test_a_series_with_other_voxels_is_done_anew(
    change: Callable[[Path], None], batch: Batch
) -> None:
    batch()
    change(batch.folder)
    found, calls = batch()
    assert (found.left_alone, calls) == (2, 1)


def test_a_damaged_result_is_done_anew(batch: Batch) -> None:
    found, _ = batch()
    (batch.out / found.rows[0].folder / "result.json").write_text("{")
    assert batch()[0].left_alone == 2


def test_a_segmentation_that_is_wanted_now_is_made(batch: Batch) -> None:
    others = tuple(name for name in USUAL_OUTPUTS if name != "seg")
    batch(outputs=others)
    found, calls = batch()
    assert (found.left_alone, calls) == (2, 1)
    assert any("seg" in row.outputs for row in found.rows)
    assert batch(outputs=others)[0].left_alone == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_where_nothing_can_be_written_it_waits_and_goes_on_by_itself(
    number: int, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter(range(2))
    said: list[str] = []

    @contextmanager
    def refusing(target: Path) -> Iterator[Path]:
        if next(refusals, None) is not None:
            raise OSError(number, os.strerror(number))
        with write_folder(target) as unfinished:
            yield unfinished

    monkeypatch.setattr(screening, "write_folder", refusing)
    monkeypatch.setattr(dispatch, "PROBE_EVERY_S", 0.0)
    has_room = cycle([False, True])
    monkeypatch.setattr(dispatch, "has_room", lambda _folder: next(has_room))
    found, calls = batch(say=said.append)
    assert (len(found.rows), found.exit_code, calls) == (3, 0, 3 + 2)
    assert [one.split(",")[0] for one in said] == ["Waiting: The results cannot be written"] * 2
    assert attempts(batch.out) == [1, 1, 1]


def attempts(out: Path) -> list[int]:
    database = open_database(out)
    with database.read() as session:
        found = list(session.scalars(select(JobEntry.attempts)))
    database.close()
    return found


KILLED = """
import os, signal, sys
from headclip_med.cli import main
from types import SimpleNamespace
from headclip_med.pipelines import loading
from headclip_med.pipelines.plan import Job, Plan
from tests.bright import BrightModel

class Mortal(BrightModel):
    def predict(self, images):
        if len(self.calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(images)

loading.load_models = lambda request: SimpleNamespace(models={"mortal": Mortal()})
main(sys.argv[1:])
"""


def test_a_killed_batch_goes_on_where_it_was(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["batch", str(batch.folder), "--out", str(batch.out), "--workers", "0"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], cwd=ROOT, check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list(batch.out.glob("*/*/result.json"))) == 2
    models = [BrightModel(), BrightModel()]
    rest = iter(models)
    stand_in(monkeypatch, lambda: next(rest))
    assert main(arguments) == 0
    assert main(["screen", str(batch.folder), "--out", str(tmp_path / "whole")]) == 0
    assert [len(model.calls) for model in models] == [1, 3]
    assert files(batch.out) == files(tmp_path / "whole")


# --- the same UIDs twice ------------------------------------------------------------------------


def of_patient(folder: Path, name: str) -> Path:
    """Write the one series, with the one set of UIDs, as that of a patient."""
    paths = write_phantom(folder / name)
    edit(paths, lambda dataset, _: setattr(dataset, "PatientID", name))
    return folder / name


@pytest.mark.parametrize("is_batch", [True, False])
def test_two_patients_under_equal_uids_keep_a_result_each(tmp_path: Path, is_batch: bool) -> None:
    out = tmp_path / "out"
    rows = {}
    for name in ("A", "B", "A", "B"):
        place = of_patient(tmp_path, name) if name not in rows else tmp_path / name
        if is_batch:
            found = run(place, out, BrightModel())
            assert found.left_alone == int(name in rows)
        else:
            screener = Screener(model=BrightModel(), out=out, settings=SETTINGS)
            found = screen_inputs(find_inputs([place]), screener)
        assert [row.folder for row in rows.setdefault(name, found.rows)] == [
            row.folder for row in found.rows
        ]
    folders = {row.folder for found in rows.values() for row in found}
    assert len(folders) == len(list(out.glob("*/*/result.json"))) == 2
    assert [any("stands beside it" in note for note in rows[name][0].notes) for name in "AB"] == [
        False,
        True,
    ]
    segmented = [pydicom.dcmread(path) for path in out.glob("*/*/seg.dcm")]
    assert sorted(str(one.PatientID) for one in segmented) == ["A", "B"]
    assert len({one.SOPInstanceUID for one in segmented}) == 2
    assert len({one.SeriesInstanceUID for one in segmented}) == 2


def test_two_patients_under_equal_uids_in_one_run_keep_a_result_each(tmp_path: Path) -> None:
    for name in ("A", "B"):
        of_patient(tmp_path / "in", name)
    found = run(tmp_path / "in", tmp_path / "out", BrightModel())
    assert len({row.folder for row in found.rows}) == 2
    assert run(tmp_path / "in", tmp_path / "out", BrightModel()).left_alone == 2


def test_no_value_of_a_patient_is_in_a_folder_s_name_or_can_be_searched(tmp_path: Path) -> None:
    volumes = [read_volume(of_patient(tmp_path, name)) for name in ("A", "B")]
    screener = Screener(model=BrightModel(), out=tmp_path / "out", settings=SETTINGS)
    for volume in volumes:
        screener.screen(volume)
    tails = [path.name.split("-")[1:] for path in (tmp_path / "out").glob("*/*")]
    assert sorted(tails) == [[], [volumes[1].content_digest[:16]]]


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, BrightModel)


def test_a_bad_study_costs_itself_and_the_exit_code_says_so(
    bright: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cut.png").write_bytes((folder / "dim.png").read_bytes()[:60])
    arguments = ["batch", str(folder), "--out", str(tmp_path / "out"), "--json", "--workers", "0"]
    for left_alone in (0, 3):
        assert main(arguments) == 3
        printed = capsys.readouterr()
        summary = json.loads(printed.out)
        assert (summary["screened"], summary["failed"]) == (3, 1)
        assert "headclip: cut.png: " in printed.err
        assert ("3 of 3 were finished" in printed.err) == bool(left_alone)
    assert summary == json.loads((tmp_path / "out/summary.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "No images were found"),
        (("--set", "overlap=1.5"), 2, "overlap must be a number"),
        (("--method", "wincilp"), 2, "wincilp"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "in").mkdir()
    if "--method" in arguments:
        write_picture(tmp_path / "in/one.png", 90)
    place = [str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(["batch", *place, *arguments]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err
    assert not (tmp_path / "out").exists()


def test_nothing_readable_is_1(bright: None, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert (
        main(
            ["batch", str(tmp_path / "empty.png"), "--out", str(tmp_path / "out"), "--workers", "0"]
        )
        == 1
    )


@pytest.mark.slow
def test_another_method_does_its_own_batch(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["batch", str(folder / "ct"), "--out", str(tmp_path / "out")]
    run = partial(main, [*arguments, "--method", "winclip"])
    assert main(arguments) == 0
    assert run() == 0
    assert "left alone" not in capsys.readouterr().err
    assert run() == 0
    assert "1 of 1 were finished" in capsys.readouterr().err
    (row,) = json.loads((tmp_path / "out/summary.json").read_text())["series"]
    assert row["model"].endswith("winclip + symmetry")
