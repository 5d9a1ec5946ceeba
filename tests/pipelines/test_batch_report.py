"""Many inputs at once: each is screened, one bad one costs itself, and no patient is named."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import pytest

from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.work.report import BatchReport
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs
from headclip_med.settings import ScreenSettings
from tests.bright import BrightModel, write_inputs
from tests.phantoms import PATIENT_NAME

SETTINGS = ScreenSettings(minimum_size=0.0)


def screen_all(
    folder: Path, out: Path, model: BrightModel | None = None, settings: ScreenSettings = SETTINGS
) -> BatchReport:
    screener = Screener(model=model or BrightModel(), out=out, settings=settings)
    return screen_inputs(find_inputs([folder]), screener)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "in")


def test_rows_are_sorted_by_score_and_written(inputs: Path, tmp_path: Path) -> None:
    report = screen_all(inputs, tmp_path / "out")
    assert [row.name for row in report.rows if row.name] == ["bright.png", "dim.png"]
    assert not report.failures
    for row in report.rows:
        for output in row.outputs.values():
            assert (tmp_path / "out" / row.folder / output).exists()
    with report.outputs["csv"].open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert "bright.png" in report.outputs["page"].read_text()


def test_a_bad_file_costs_only_itself(inputs: Path, tmp_path: Path) -> None:
    (inputs / "empty.png").touch()
    (inputs / "cut.png").write_bytes((inputs / "dim.png").read_bytes()[:60])
    report = screen_all(inputs, tmp_path / "out")
    assert len(report.rows) == 3
    assert {failure.input for failure in report.failures} == {"empty.png", "cut.png"}
    assert all(failure.code and failure.reason for failure in report.failures)
    for failure in report.failures:
        assert failure.what_to_do.startswith(("Copy or export it again", "Export or copy it again"))
    summary = json.loads(report.outputs["json"].read_text())
    assert len(summary["failures"]) == 2


def test_a_fault_of_ours_costs_one_input_and_names_no_patient(
    inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        report = screen_all(inputs, tmp_path / "out", BrightModel(breaks_at=1))
    assert len(report.rows) == 2
    assert [failure.code for failure in report.failures] == ["unexpected"]
    assert "KeyError" in report.failures[0].reason
    everything = caplog.text + "".join(
        report.outputs[kind].read_text() for kind in ("csv", "json", "page")
    )
    for part in PATIENT_NAME.split("^"):
        assert part not in everything


def test_our_own_results_among_the_inputs_are_passed_over(inputs: Path, tmp_path: Path) -> None:
    settings = ScreenSettings(threshold=0.1, minimum_size=0.0)
    first = screen_all(inputs / "ct", inputs / "ct" / "out", settings=settings)
    assert "seg" in first.rows[0].outputs
    again = find_inputs([inputs / "ct"])
    assert [one.kind for one in again.readable].count("dicom") == 1


def test_a_second_run_gives_the_same_bytes(inputs: Path, tmp_path: Path) -> None:
    contents = []
    settings = ScreenSettings(threshold=0.1, minimum_size=0.0)
    for name in ("one", "two"):
        screen_all(inputs, tmp_path / name, settings=settings)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        contents.append(
            {p.relative_to(tmp_path / name): p.read_bytes() for p in files if p.suffix != ".json"}
        )
    assert contents[0] == contents[1]
    assert any(path.name == "seg.dcm" for path in contents[0])
