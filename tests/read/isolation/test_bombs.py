"""Small files that claim, or unpack to, very much: read within bounds, or refused by a code.

And what is large, or shrinks very much, and honest all the same: it is read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from headclip_med.read import DEFAULT_LIMITS, find_inputs
from tests.phantoms import edit, make_grid, write_phantom
from tests.read.dicom.test_multiframe import write_enhanced
from tests.read.isolation.bombs import BOMBS
from tests.read.isolation.measuring import cost_of

LONGEST_CPU_S = 10
MOST_BYTES = 1_000_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_read_within_bounds_or_refused(tmp_path: Path, name: str) -> None:
    BOMBS[name](tmp_path)
    cost = cost_of(tmp_path)
    assert cost.outcomes
    assert "unexpected" not in cost.outcomes
    assert cost.peak_bytes <= MOST_BYTES  # a process that was lost for it had no more
    assert cost.cpu_s < LONGEST_CPU_S


def test_a_process_that_reads_may_take_a_gigabyte() -> None:
    assert DEFAULT_LIMITS.memory_bytes <= MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("shown", ["breast", "black"])
def test_a_mammogram_is_read(tmp_path: Path, syntax: str | None, shown: str) -> None:
    (path,) = write_phantom(tmp_path, make_grid(shape=(1, 64, 64)))
    rows, columns = np.mgrid[:5120, :4096]
    values = (rows * 7 + columns * columns // 900) % 4000 if shown == "breast" else rows * 0

    def enlarge(dataset: Dataset, _: int) -> None:
        dataset.Rows, dataset.Columns = values.shape
        dataset.PixelSpacing = ["0.05", "0.05"]  # metres of pixels would be a page of tiles
        dataset.PixelData = values.astype("<i2").tobytes()
        if syntax:
            dataset.compress(syntax, generate_instance_uid=False)

    edit([path], enlarge)
    (one,) = find_inputs([path]).readable
    voxels = one.read().voxels
    intercept = float(pydicom.dcmread(path, stop_before_pixels=True).RescaleIntercept)
    np.testing.assert_array_equal(voxels[0], values + intercept)


@pytest.mark.slow
def test_many_black_slices_are_read(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path, make_grid(shape=(60, 512, 512)))

    def blacken(dataset: Dataset, index: int) -> None:
        if index:
            dataset.PixelData = bytes(512 * 512 * 2)
        dataset.compress(RLELossless, generate_instance_uid=False)

    edit(paths, blacken)
    (one,) = find_inputs([tmp_path]).readable
    assert one.read().voxels.shape == (60, 512, 512)


@pytest.mark.slow
def test_an_object_of_twenty_thousand_frames_is_read(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(shape=(20_000, 8, 8)))
    (one,) = find_inputs([path]).readable
    assert one.read().voxels.shape == (20_000, 8, 8)
