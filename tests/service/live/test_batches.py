"""Batches in processes of their own, in one folder: they share, and one that is gone is replaced;
on a disk that is full they wait."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs
from tests.bright import BrightModel, write_picture
from tests.service.live.disks import fill, free, make_read_only, small_disk
from tests.service.programs import wait_until
from tests.service.test_batch import files

pytestmark = pytest.mark.slow  # each process imports torch

ROOT = Path(__file__).parents[3]
PICTURES = 20
SLOW = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from headclip_med.cli import main
from headclip_med.pipelines import loading
from headclip_med.pipelines.service import dispatch, queue
from tests.bright import BrightModel

queue.AFTER_A_LOSS_S = 0.0
dispatch.RENEW_EVERY_S, dispatch.PROBE_EVERY_S, dispatch.ROOM_BYTES = 1.0, 0.5, 1_000_000
NOTES, TOGETHER = Path(sys.argv[1]), int(sys.argv[2])

class Slow(BrightModel):
    def predict(self, images):
        with (NOTES / "calls").open("a") as calls:
            calls.write(f"{os.getpid()}\\n")
        time.sleep(0.2)
        return super().predict(images)

def load(request):
    (NOTES / f"{os.getpid()}.ready").touch()
    while len(list(NOTES.glob("*.ready"))) < TOGETHER:
        time.sleep(0.02)
    return SimpleNamespace(models={"slow": Slow()})

loading.load_models = load
sys.exit(main(sys.argv[3:]))
"""


class Shared:
    """A folder of pictures, a folder of results, and the batches between them."""

    def __init__(self, folder: Path, out: Path, count: int = PICTURES) -> None:
        self.place, self.out, self.notes = folder / "in", out, folder / "notes"
        self.place.mkdir()
        self.notes.mkdir()
        for number in range(count):
            write_picture(self.place / f"{number:02}.png", 60 + 9 * number)

    def begin(self, together: int = 1) -> subprocess.Popen[str]:
        arguments = ["batch", str(self.place), "--out", str(self.out), "--workers", "0"]
        command = [sys.executable, "-c", SLOW, str(self.notes), str(together), *arguments]
        with (self.notes / "said").open("a") as said:
            return subprocess.Popen(command, cwd=ROOT, text=True, stdout=said, stderr=said)

    def calls(self) -> Counter[int]:
        """How often each process asked the model."""
        path = self.notes / "calls"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def said(self) -> str:
        return (self.notes / "said").read_text()

    def rows(self, query: str) -> list[tuple[int, ...]]:
        with closing(sqlite3.connect(self.out / "worklist.sqlite", timeout=60)) as database:
            return database.execute(query).fetchall()

    def screened(self) -> int:
        return len(list(self.out.glob("*/*/result.json")))

    def is_whole(self, unbroken: Path) -> bool:
        """Compare with what 'headclip screen' writes of the same."""
        model = BrightModel()
        screen_inputs(find_inputs([self.place]), Screener(model=model, out=unbroken))
        return files(self.out) == files(unbroken)


def test_two_batches_share_the_work_and_the_worklist(tmp_path: Path) -> None:
    shared = Shared(tmp_path, tmp_path / "out")
    both = [shared.begin(together=2) for _ in range(2)]
    assert [one.wait(300) for one in both] == [0, 0], shared.said()
    calls = shared.calls()
    assert sorted(calls) == sorted(one.pid for one in both)
    assert sum(calls.values()) == PICTURES
    assert shared.rows("select count(*), count(distinct subject) from audit "
                       "where event = 'screened'") == [(PICTURES, PICTURES)]  # fmt: skip
    assert shared.rows("select distinct state, attempts from job") == [("screened", 1)]
    assert shared.is_whole(tmp_path / "unbroken")
    summary = json.loads((shared.out / "summary.json").read_text())
    assert (summary["screened"], summary["failed"]) == (PICTURES, 0)


def test_what_a_killed_batch_held_is_done_by_the_other(tmp_path: Path) -> None:
    shared = Shared(tmp_path, tmp_path / "out")
    first, second = (shared.begin(together=2) for _ in range(2))
    wait_until(lambda: shared.calls()[first.pid] >= 2, "it is in the middle", 120)
    first.kill()
    first.wait()
    assert shared.screened() < PICTURES
    assert second.wait(300) == 0, shared.said()
    assert shared.rows("select distinct state from job") == [("screened",)]
    assert sum(shared.calls().values()) <= PICTURES + 1
    assert shared.is_whole(tmp_path / "unbroken")


def test_on_a_full_disk_a_batch_waits_counts_nothing_and_goes_on_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 24) as disk:
        shared = Shared(tmp_path, disk)
        process = shared.begin()
        wait_until(lambda: shared.screened() >= 2, "it is in the middle", 120)
        fill(disk)
        wait_until(lambda: "Waiting: " in shared.said(), "it says so", 120)
        before = shared.screened()
        assert before < PICTURES
        assert process.poll() is None
        free(disk)
        assert process.wait(300) == 0, shared.said()
        assert shared.said().count("Waiting: ") == 1
        assert shared.rows("select distinct state, attempts from job") == [("screened", 1)]
        assert sum(shared.calls().values()) <= PICTURES + 1
        assert shared.rows("select count(*) from pause") == [(0,)]
        assert shared.is_whole(tmp_path / "unbroken")


def test_a_disk_that_is_read_only_is_told_before_any_work(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        make_read_only(disk)
        shared = Shared(tmp_path, disk)
        assert shared.begin().wait(300) == 1
        assert "The results cannot be written, since the system says" in shared.said()
        assert not shared.calls()
