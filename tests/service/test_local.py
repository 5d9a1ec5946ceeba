"""Work in processes: what ends one costs one study, and as many processes give the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headclip_med.pipelines.service import dispatch, queue
from headclip_med.pipelines.service.batch import BatchRequest, run_batch
from headclip_med.pipelines.service.execution.local import LocalExecutor
from headclip_med.pipelines.service.settings import WorkSettings
from headclip_med.pipelines.work.report import BatchReport
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs
from tests.bright import write_picture
from tests.service.workers import FATAL, Building

pytestmark = pytest.mark.slow  # each process imports torch

BRIGHTNESS = {"1": 90, "2": FATAL, "3": 150, "4": 200}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "AFTER_A_LOSS_S", 0.0)
    monkeypatch.setattr(dispatch, "RENEW_EVERY_S", 0.5)


def studies(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    folder.mkdir()
    for name, brightness in BRIGHTNESS.items():
        if name in without:
            continue
        if brightness == FATAL:
            even = np.full((20, 24), FATAL, dtype=np.uint8)
            Image.fromarray(even).save(folder / f"{name}.png")
        else:
            write_picture(folder / f"{name}.png", brightness)
    return folder


def batch(place: Path, out: Path, end: str = "kill", **limits: float | int) -> BatchReport:
    executor = LocalExecutor(Building(out, end), WorkSettings(**limits))
    return run_batch(find_inputs([place]), out, executor, BatchRequest(run_key="r"))


def results(out: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(out.glob("*/*/*")):
        if path.is_file():
            content = path.read_bytes()
            if path.name == "result.json":
                content = json.dumps({**json.loads(content), "timings_s": None}).encode()
            found[path.relative_to(out).as_posix()] = content
    return found


@pytest.mark.parametrize(
    ("end", "code", "limits"),
    [
        ("kill", "worker-lost", {}),
        ("abort", "worker-lost", {}),
        ("hang", "worker-time", {"time_limit_min": 0.05}),
        ("memory", "worker-memory", {"memory_limit_gb": 3.0}),
    ],
)
def test_a_study_that_ends_its_worker_every_time_costs_itself(
    end: str, code: str, limits: dict[str, float], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = batch(studies(tmp_path / "in"), out, end, **limits)
    assert [(one.input, one.code) for one in report.failures] == [("2.png", code)]
    assert sorted(str(row.name) for row in report.rows) == ["1.png", "3.png", "4.png"]
    assert report.exit_code == 3
    assert (out / "index.html").is_file()
    assert not list(out.rglob("*.unfinished"))
    whole = tmp_path / "whole"
    batch(studies(tmp_path / "sound", without=("2",)), whole)
    without_places = {name.split("/")[-1]: None for name in results(whole)}
    assert {name.split("/")[-1] for name in results(out)} == set(without_places)


def test_two_workers_give_the_bytes_of_one(tmp_path: Path) -> None:
    place = studies(tmp_path / "in", without=("2",))
    one, two = tmp_path / "one", tmp_path / "two"
    batch(place, one)
    batch(place, two, workers=2)
    assert results(one) == results(two)
    for name in ("summary.json", "summary.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_no_worker_is_left_behind(tmp_path: Path) -> None:
    batch(studies(tmp_path / "in", without=("2",)), tmp_path / "out", workers=2)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    names = [Path(f"/proc/{one}/cmdline").read_text() for one in children.read_text().split()]
    assert not [name for name in names if "spawn_main" in name]


@dataclass(frozen=True)
class Counting(Building):
    """Notes how many threads a worker has."""

    def __call__(self, report: Callable[[int], None]) -> Screener:
        (self.out / f"threads-{os.getpid()}").write_text(str(torch.get_num_threads()))
        return super().__call__(report)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("allowed", [None, "1"])
def test_workers_share_the_threads_that_one_may_have(
    allowed: str | None, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    count = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    one_has = int(subprocess.run(count, check=True, capture_output=True).stdout)
    (out := tmp_path / "out").mkdir()
    executor = LocalExecutor(Counting(out), WorkSettings(workers=workers))
    place = studies(tmp_path / "in", without=("2",))
    run_batch(find_inputs([place]), out, executor, BatchRequest(run_key="r"))
    found = [int(one.read_text()) for one in out.glob("threads-*")]
    assert found == [max(1, one_has // workers)] * workers
