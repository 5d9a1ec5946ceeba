"""The whole service: from senders to results, whatever is killed meanwhile."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.phantoms import PATIENT_NAME, edit, make_grid, write_phantom
from tests.service.intake.senders import send, send_until_taken
from tests.service.live.disks import fill, free, small_disk
from tests.service.programs import free_port, wait_until

pytestmark = [
    pytest.mark.slow,  # each process imports torch
    # pynetdicom leaves a connection that was refused to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

ROOT = Path(__file__).parents[3]
STUDIES, SLICES, KILLS = 20, 20, 50
LEAST = 12
"""Kills of workers, and of receivers."""
PAUSE_S = 0.4
"""Between two instances of a sender, so that there is time to kill who takes them."""
FRESH = 8
"""Instances that are taken before a receiver is killed."""
LISTENING = "0A"


class Service:
    """A service in a process of its own, that can be killed and started again."""

    def __init__(self, folder: Path, end: str, more: str, quiet_s: float) -> None:
        self.port, self.end = free_port(), end
        self.out = folder / "out"
        self.config = folder / f"service-{self.port}.toml"
        self.log = folder / "log"
        self.config.write_text(
            f'[service]\nout = "{self.out}"\nquiet_s = {quiet_s}\nroom_gb = 0.0\n'
            f'[receiver]\nport = {self.port}\nallow = ["SENDER"]\n{more}'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.out.mkdir(exist_ok=True)
        (self.out / "ready").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.service.intake.serving", str(self.config), self.end]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        wait_until((self.out / "ready").exists, "the service runs", 120)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()[-3000:]

    def worker(self) -> int | None:
        """The process that has begun with its first job, and is still at one that may be lost."""
        begun = self.out / "worker"
        lost = self._rows("select attempts from job where state = 'running'")
        if not begun.exists() or not lost or lost[0][0] > 2:
            return None
        pid = int(begun.read_text() or 0)
        return pid if pid in self._children() else None

    def receivers(self) -> list[int]:
        """The processes that listen just now."""
        line = f"socket:[{self._listening()}]"
        return [one for one in self._children() if line in _open_files(one)]

    def _listening(self) -> str:
        for line in Path("/proc/net/tcp").read_text().splitlines():
            words = line.split()
            if words[1].endswith(f":{self.port:04X}") and words[3] == LISTENING:
                return words[9]
        raise AssertionError("nobody listens")

    def _children(self) -> list[int]:
        assert self.process is not None
        pid, found = self.process.pid, []
        for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes():
                    found.append(int(one))
        return found

    def states(self) -> dict[str, int]:
        return dict(self._rows("select state, count(*) from job group by state"))

    def is_waiting(self) -> bool:
        """Whether it says that the disk or the database fails."""
        paused = self._rows("select cause, since from pause")
        return bool(paused) or "waiting: " in self.log.read_text()

    def _rows(self, query: str) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self.out / "worklist.sqlite", timeout=60)) as database:
            return database.execute(query).fetchall()

    def count(self) -> int:
        return sum(1 for _ in (self.out / "spool/data").rglob("*.dcm"))

    def kept(self) -> list[bytes]:
        return sorted(one.read_bytes() for one in (self.out / "spool/data").rglob("*.dcm"))

    def results(self) -> dict[str, bytes]:
        found = {}
        for path in sorted(self.out.glob("*/*/*")):
            if path.is_file() and not path.is_relative_to(self.out / "spool"):
                content = path.read_bytes()
                if path.name == "result.json":
                    content = json.dumps({**json.loads(content), "timings_s": None}).encode()
                found[path.relative_to(self.out).as_posix()] = content
        return found

    def leftovers(self) -> list[Path]:
        return [
            path
            for path in self.out.rglob("*")
            if path.name.endswith((".part", ".unfinished", ".segment"))
        ]


def _open_files(pid: int) -> list[str]:
    found = []
    with suppress(OSError):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(one.readlink()))
    return found


def said(contents: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """Give what instances are and show; senders write their headers each in their own way."""
    found = (pydicom.dcmread(io.BytesIO(one)) for one in contents)
    return sorted((one.SOPInstanceUID, one.PixelData) for one in found)


@contextmanager
def serving(
    folder: Path, end: str = "kill", more: str = "", quiet_s: float = 2.0
) -> Iterator[Service]:
    folder.mkdir(exist_ok=True)
    service = Service(folder, end, more, quiet_s)
    service.start()
    try:
        yield service
    finally:
        assert service.process is not None
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def write_studies(folder: Path, count: int, slices: int, fatal: int | None = None) -> list[Path]:
    folder.mkdir()
    paths: list[Path] = []
    for number in range(1, count + 1):

        def change(one: Dataset, index: int, number: int = number) -> None:
            one.StudyInstanceUID, one.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.4.{number}"
            one.SOPInstanceUID = f"1.2.5.{number}.{index}"
            one.FrameOfReferenceUID = f"1.2.6.{number}"
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
            one.PatientID = str(number)
            if number == fatal:
                one.PixelData = bytes(len(one.PixelData))

        place = folder / str(number)
        place.mkdir()
        new = write_phantom(place, make_grid(shape=(slices, 32, 32)))
        edit(new, change)
        paths += new
    return paths


def test_fifty_kills_lose_nothing_and_change_nothing(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", STUDIES, SLICES)
    with serving(tmp_path / "whole") as whole:
        send_until_taken(whole.port, paths).join(120)
        wait_until(lambda: whole.states() == {"screened": STUDIES}, "all is screened", 300)
        whole.stop()
    chosen = random.Random(4)  # noqa: S311 - the same in every run
    with serving(tmp_path / "broken", quiet_s=15.0) as broken:
        senders = [
            send_until_taken(broken.port, paths[number::4], pause_s=PAUSE_S) for number in range(4)
        ]
        kills, taken = {"worker": 0, "receiver": 0}, 0
        end = time.monotonic() + 900
        while sum(kills.values()) < KILLS and time.monotonic() < end:
            time.sleep(chosen.uniform(0.05, 0.3))
            is_taking = kills["receiver"] < KILLS - LEAST and any(one.is_alive() for one in senders)
            if (victim := broken.worker()) is not None:
                kills["worker"] += 1
            elif is_taking and broken.count() >= taken + FRESH and (found := broken.receivers()):
                victim = chosen.choice(found)
                kills["receiver"] += 1
                taken = broken.count()
            else:
                continue
            os.kill(victim, signal.SIGKILL)
        for one in senders:
            one.join(120)
        assert not any(one.is_alive() for one in senders)
        wait_until(lambda: broken.states() == {"screened": STUDIES}, "all is screened", 600)
        assert sum(kills.values()) == KILLS
        assert min(kills.values()) >= LEAST
        broken.stop()
        assert broken.kept() == whole.kept()
        assert said(broken.kept()) == said(path.read_bytes() for path in paths)
        assert broken.results() == whole.results()
        assert not broken.leftovers()
        assert PATIENT_NAME not in broken.log.read_text()


def test_the_service_itself_may_be_killed(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", 2, 5)
    with serving(tmp_path / "service") as service:
        assert send(service.port, paths) == [0] * len(paths)
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        service.start()
        wait_until(lambda: service.states() == {"screened": 2}, "all is screened", 300)
        service.stop()
        assert said(service.kept()) == said(path.read_bytes() for path in paths)
        assert not service.leftovers()


def test_two_services_on_one_folder_share_what_comes_and_the_work(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", 6, 4)
    with serving(tmp_path / "one") as one, serving(tmp_path / "one") as other:
        # Of each study a part comes to either; one of them is lost meanwhile.
        threads = [
            send_until_taken(one.port, paths[::2]),
            send_until_taken(other.port, paths[1::2]),
        ]
        for thread in threads:
            thread.join(60)
        assert other.process is not None
        other.process.kill()
        wait_until(lambda: one.states() == {"screened": 6}, "all is screened", 300)
        assert said(one.kept()) == said(path.read_bytes() for path in paths)
        assert [slices for (slices,) in one._rows("select slices from series")] == [4] * 6
        one.stop()
        other.start()
        other.stop()
        assert not one.leftovers()


def test_a_study_that_kills_its_worker_costs_itself(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", 4, 3, fatal=2)
    with serving(tmp_path / "service", end="kill") as service:
        assert send(service.port, paths) == [0] * len(paths)
        wait_until(
            lambda: service.states() == {"screened": 3, "quarantined": 1}, "all is done", 600
        )
        assert sorted(name.split("/")[0] for name in service.results() if "result.json" in name) \
            == ["1.2.3.1", "1.2.3.3", "1.2.3.4"]  # fmt: skip
        service.stop()


def test_on_a_full_disk_senders_are_told_and_all_goes_on_by_itself(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", 3, 4)
    first, second, third = (paths[start : start + 4] for start in (0, 4, 8))
    with small_disk(tmp_path / "service/out", 48) as disk, serving(tmp_path / "service") as service:
        assert send(service.port, first) == [0] * 4
        wait_until(lambda: service.states() == {"screened": 1}, "the first is screened", 120)
        assert send(service.port, second) == [0] * 4  # and before they are complete
        fill(disk)
        assert send(service.port, third) == [0xA700] * 4
        wait_until(service.is_waiting, "it says so", 60)
        assert send(service.port, third) == [0xA700] * 4
        free(disk)
        assert send(service.port, third) == [0] * 4
        wait_until(lambda: service.states() == {"screened": 3}, "all is screened", 120)
        assert service._rows("select distinct attempts, failure from job") == [(1, None)]
        service.stop()
        assert said(service.kept()) == said(path.read_bytes() for path in paths)
        assert not service.leftovers()


def test_late_instances_make_a_revision_and_the_old_result_stays(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", 1, 6)
    with serving(tmp_path / "service") as service:
        send(service.port, paths[:4])
        wait_until(lambda: service.states() == {"screened": 1}, "the first part", 120)
        send(service.port, paths[4:])
        wait_until(lambda: service.states() == {"screened": 2}, "the rest", 120)
        rows = service._rows("select folder, superseded_by is not null from result order by id")
        assert [old for _, old in rows] == [1, 0]
        assert rows[0][0] != rows[1][0]
        assert all((service.out / folder / "result.json").is_file() for folder, _ in rows)
        service.stop()


RULES = """
[[rule]]
name = "unwanted"
when = {body_part = ["FOOT"]}
skip = true
"""


def test_own_results_and_what_no_rule_wants_are_skipped(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", 3, 2)
    changes = {"1": ("Manufacturer", "headclip_med"), "2": ("BodyPartExamined", "FOOT")}
    for path in paths:
        if (found := changes.get(path.parent.name)) is not None:
            one = pydicom.dcmread(path)
            setattr(one, *found)
            one.save_as(path)
    with serving(tmp_path / "service", more=RULES) as service:
        send(service.port, paths)
        wait_until(
            lambda: len(service._rows("select facts from audit where event = 'skipped'")) == 3,
            "all is skipped", 60,
        )  # fmt: skip
        facts = [json.loads(one) for (one,) in
                 service._rows("select facts from audit where event = 'skipped'")]  # type: ignore[misc]  # fmt: skip
        assert sorted(one.get("code", one.get("rule")) for one in facts) \
            == ["no-rule", "own-result", "unwanted"]  # fmt: skip
        assert service.states() == {"skipped": 1}
        service.stop()
