"""Arrays in a file without a name: ordinary to use, and out of memory once released."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headclip_med.mapped import allocate, blocks_of, release

SHAPE = (20, 512, 512)
"""Just above what stays in ordinary memory."""


def resident_bytes() -> int:
    """Memory of this process, file pages included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_of_bytes(run: Callable[[], object]) -> int:
    """Memory that a call takes at most, file pages included."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = resident_bytes()
    kept = run()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    del kept
    return int(status["VmHWM"].split()[0]) * 1024 - before


def filled(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Number the slices."""
    array = allocate(shape)
    for index in range(len(array)):
        array[index] = index
        release(array)
    return array


def test_a_small_array_lies_in_ordinary_memory() -> None:
    array = allocate((2, 3), np.uint8)
    assert array.dtype == np.uint8
    assert array.base is None
    assert not array.any()


def test_a_large_array_is_zero_and_keeps_what_is_written_to_it_when_it_is_released() -> None:
    assert not allocate(SHAPE).any()
    array = filled()
    assert array.shape == SHAPE
    np.testing.assert_array_equal(array[:, 7, 9], np.arange(20))


def test_what_is_released_is_no_longer_memory_of_this_process() -> None:
    array = filled()
    before = resident_bytes()
    assert array.sum() > 0
    touched = resident_bytes()
    release(array[3:5].reshape(-1))  # a view will do
    assert touched - before > array.nbytes / 2
    assert resident_bytes() - before < array.nbytes / 8


def test_no_file_of_it_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = filled()
    assert not list(tmp_path.iterdir())
    assert array.any()


def test_without_room_on_the_disk_it_lies_in_ordinary_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    array = filled()
    assert array.base is None
    release(array)  # means nothing then
    assert array[19, 0, 0] == 19


@pytest.mark.parametrize("shape", [SHAPE, (5, 6, 7)])
def test_blocks_are_copies_in_order_and_the_last_is_what_is_left(shape: tuple[int, ...]) -> None:
    array = filled(shape)
    blocks = list(blocks_of(array, 3))
    assert [part.start for part, _ in blocks] == list(range(0, len(array), 3))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), array)
    blocks[0][1][...] = -1
    assert array[0, 0, 0] == 0
