"""The store: entries are whole or absent, believed for their identity only, or grow in place."""

from __future__ import annotations

import json
import logging
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from headclip_med.store import Entry, StoreFull, digest_of

IDENTITY = {"model": "a", "size": 8}


def write(entry: Entry, value: float, error: type[BaseException] | None = None) -> None:
    with entry.write() as new:
        new("maps", (2, 3), np.float32)[:] = value
        new.values["mean"] = value
        (new.folder / "note.txt").write_text("kept as it is")
        if error:
            raise error


def test_what_was_written_is_read_back_mapped(tmp_path: Path) -> None:
    entry = Entry.of(tmp_path, "BrainMRI, all of it", IDENTITY)
    assert entry.folder.name == f"BrainMRI_all_of_it-{digest_of(IDENTITY)}"
    assert entry.read() is None
    write(entry, 0.5)
    kept = entry.read()
    assert kept is not None
    assert kept.arrays.keys() == {"maps"}
    assert isinstance(kept.arrays["maps"], np.memmap)
    assert not kept.arrays["maps"].flags.writeable
    assert kept.arrays["maps"].tolist() == [[0.5] * 3] * 2
    assert kept.values == {"mean": 0.5}
    assert (kept.folder / "note.txt").read_text() == "kept as it is"


def test_a_block_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    entry = Entry.of(tmp_path, "set", IDENTITY)
    write(entry, 0.5)
    with pytest.raises(KeyboardInterrupt):
        write(entry, 1.0, KeyboardInterrupt)
    kept = entry.read()
    assert kept is not None
    assert kept.values == {"mean": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == [entry.folder.name]


@pytest.mark.parametrize("file", ["maps.npy", "note.txt", "about.json"])
def test_any_changed_file_is_damage(
    tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry = Entry.of(tmp_path, "set", IDENTITY)
    write(entry, 0.5)
    path = entry.folder / file
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert entry.read() is None
    assert "damaged; it is computed anew" in caplog.text


def test_another_identity_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = Entry.of(tmp_path, "set", IDENTITY)
    write(entry, 0.5)
    with caplog.at_level(logging.WARNING):
        assert Entry(entry.folder, {**IDENTITY, "size": 9}).read() is None
    assert "about something else" in caplog.text


def test_values_that_json_has_not_are_refused(tmp_path: Path) -> None:
    entry = Entry.of(tmp_path, "set", IDENTITY)
    with pytest.raises(ValueError, match="JSON"):
        write(entry, float("nan"))
    assert entry.read() is None


def test_processes_that_write_the_same_entry_leave_a_whole_one(tmp_path: Path) -> None:
    entry = Entry.of(tmp_path, "set", IDENTITY)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write, args=(entry, value)) for value in (0.25, 0.75)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    kept = entry.read()
    assert kept is not None
    assert kept.values["mean"] == kept.arrays["maps"][0, 0]
    assert [path.name for path in tmp_path.iterdir()] == [entry.folder.name]


def test_what_grows_is_gone_on_with(tmp_path: Path) -> None:
    entry = Entry.of(tmp_path, "features", IDENTITY)
    kinds = {"layers": ((4, 2), np.float32), "known": ((4,), np.uint8)}
    arrays = entry.grow(kinds)
    assert not arrays["known"].any()
    arrays["layers"][1], arrays["known"][1] = 7, 1
    again = entry.grow(kinds)
    assert again["known"].tolist() == [0, 1, 0, 0]
    assert again["layers"][1].tolist() == [7, 7]
    assert json.loads((entry.open() / "about.json").read_text()) == {"identity": IDENTITY}


def test_an_array_cut_short_grows_anew(tmp_path: Path) -> None:
    entry = Entry.of(tmp_path, "features", IDENTITY)
    entry.grow({"known": ((4,), np.uint8)})["known"][:] = 1
    path = entry.folder / "known"
    path.write_bytes(path.read_bytes()[:-1])
    assert not entry.grow({"known": ((4,), np.uint8)})["known"].any()


def test_a_full_disk_is_said_before_anything_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(StoreFull, match=r"no room on the store's disk for 0\.0 GB"):
        Entry.of(tmp_path, "features", IDENTITY).grow({"known": ((4,), np.uint8)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
