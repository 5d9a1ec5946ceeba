"""Files and folders appear complete or not at all, whatever interrupts the writing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headclip_med import atomic
from headclip_med.atomic import (
    check_writable,
    remove_abandoned,
    reported_errors,
    write_file,
    write_folder,
)
from headclip_med.errors import UnwritableOutput


def write(target: Path, text: str) -> None:
    with write_folder(target) as folder:
        (folder / "a.txt").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep/b.txt").write_text(text)


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    target = tmp_path / "study" / "series"
    with write_folder(target) as folder:
        (folder / "a.txt").write_text("new")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_an_earlier_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "series"
    write(target, "old")
    (target / "leftover.txt").write_text("old")
    write(target, "new")
    assert {path.name for path in target.rglob("*.txt")} == {"a.txt", "b.txt"}
    assert (target / "deep/b.txt").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_it_is_replaced_where_folders_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    write(tmp_path / "series", "old")
    write(tmp_path / "series", "new")
    assert (tmp_path / "series/a.txt").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_takes_no_files_is_told_in_a_sentence(tmp_path: Path) -> None:
    check_writable(tmp_path / "new/deep")
    assert list((tmp_path / "new/deep").iterdir()) == []
    (tmp_path / "file").touch()
    for taken in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UnwritableOutput, match="choose another folder") as told:
            check_writable(taken)
        assert str(tmp_path) not in str(told.value)


def test_a_full_disk_is_told_in_a_sentence() -> None:
    with (
        pytest.raises(UnwritableOutput, match=r"No space left on device\. Free space"),
        reported_errors(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "/patient/Zyxwvut")


def test_a_failure_leaves_the_earlier_folder_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "series", "old")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "series", "half\ud800")
    assert (tmp_path / "series/a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_where_the_folder_should_stand_is_an_error_and_survives(tmp_path: Path) -> None:
    (tmp_path / "series").write_text("mine")
    with pytest.raises(OSError, match="series"):
        write(tmp_path / "series", "new")
    assert (tmp_path / "series").read_text() == "mine"


def test_results_are_readable_by_whom_the_mask_allows(tmp_path: Path) -> None:
    write(tmp_path / "series", "x")
    write_file(tmp_path / "file", b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "series").stat().st_mode & 0o777 == 0o777 & ~mask
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_a_killed_run_left_is_removed_once_it_is_surely_abandoned(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".series.old.unfinished", tmp_path / ".series.new.unfinished"
    old.mkdir()
    fresh.mkdir()
    long_ago = time.time() - 2 * atomic.ABANDONED_AFTER_S
    os.utime(old, (long_ago, long_ago))
    write(tmp_path / "series", "x")
    assert not old.exists()
    assert fresh.exists()


def test_what_another_still_fills_stays_however_long_it_takes(tmp_path: Path) -> None:
    slow, left = tmp_path / ".slow.x.unfinished", tmp_path / ".left.x.unfinished"
    for folder in (slow, left):
        folder.mkdir()
    file = tmp_path / ".summary.csv.x.unfinished"
    file.touch()
    lock = os.open(slow, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    long_ago = time.time() - 2 * atomic.ABANDONED_AFTER_S
    for path in (slow, left, file):
        os.utime(path, (long_ago, long_ago))
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [slow]
    os.close(lock)
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.csv"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(path, b"half")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys
from pathlib import Path
from headclip_med.atomic import write_folder
number = 0
while True:
    number += 1
    with write_folder(Path(sys.argv[1])) as folder:
        for name in range(5):
            (folder / str(name)).write_text(str(number))
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "series"
    for attempt in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(2 + attempt):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        contents = {(target / str(name)).read_text() for name in range(5)}
        assert len(contents) == 1
