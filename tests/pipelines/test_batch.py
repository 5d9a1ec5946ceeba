"""Volumes as they come: read one ahead, each costs itself, from any iterator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from headclip_med.errors import UnreadableInput
from headclip_med.pipelines.batch import work_through
from headclip_med.pipelines.plan import Job, Plan
from headclip_med.pipelines.work.ahead import read_ahead
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs
from headclip_med.settings import ScreenSettings
from headclip_med.volume import Volume
from tests.bright import BrightModel, write_inputs

SETTINGS = ScreenSettings(threshold=0.1, minimum_size=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "in")


def forget() -> Volume:
    raise KeyError("Zyxwvut^Qponml")


def test_volumes_come_in_order(folder: Path) -> None:
    jobs = list(Plan(find_inputs([folder])).jobs())
    ahead = [(job.name, job.read().content_digest) for job in read_ahead(jobs)]
    assert ahead == [(job.name, job.read().content_digest) for job in jobs]
    assert list(read_ahead(())) == []


def test_one_volume_is_read_while_the_one_before_it_is_in_use(folder: Path) -> None:
    log: list[str] = []

    def noted(name: str) -> Volume:
        log.append(f"read {name}")
        return find_inputs([folder / "dim.png"]).readable[0].read()

    for job in read_ahead(Job(name, partial(noted, name)) for name in "abcd"):
        deadline = time.monotonic() + 20
        while f"read {chr(ord(job.name) + 1)}" not in (*log, "read e"):
            assert time.monotonic() < deadline
        log.append(f"use {job.name}")
    assert log == [
        "read a", "read b", "use a", "read c", "use b", "read d", "use c", "use d",
    ]  # fmt: skip


def test_a_fault_of_reading_names_no_patient() -> None:
    (found,) = read_ahead([Job("one.png", forget)])
    with pytest.raises(UnreadableInput) as caught:
        found.read()
    assert caught.value.code == "unexpected"
    assert "Zyxwvut" not in repr(caught.value)


# --- jobs of any origin ------------------------------------------------------------------------


def test_a_batch_takes_jobs_from_any_iterator_as_they_come(folder: Path, tmp_path: Path) -> None:
    log: list[str] = []

    def queue() -> Iterator[Job]:
        for job in Plan(find_inputs([folder])).jobs():
            log.append(f"taken {job.name}")
            yield job
        yield Job("lost", forget)

    screener = Screener(
        model=BrightModel(),
        out=tmp_path / "out",
        settings=SETTINGS,
        report=lambda slices: log.append(f"screened {slices}"),
    )
    report = work_through(queue(), screener)
    kinds = [one.split()[0] for one in log]
    assert [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before] == [
        "taken", "screened",
    ] * 3  # fmt: skip
    assert (len(report.rows), report.exit_code) == (3, 3)
    assert [(one.input, one.code) for one in report.failures] == [("lost", "unexpected")]
