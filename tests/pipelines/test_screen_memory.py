"""Memory is set by the batch: a long series takes hardly more than a short one."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headclip_med.write import USUAL_OUTPUTS
from headclip_med.write.dicom.series import write_ct_series
from tests.phantoms import make_grid

ROOT = Path(__file__).parents[2]
SIDE_PX = 512

MEASURED = """
import sys
from pathlib import Path
from headclip_med.cli import main
from types import SimpleNamespace
from headclip_med.pipelines import loading
from tests.bright import BrightModel

model = BrightModel(image_size=64, threshold=0.6)
if "--planted" in sys.argv:
    sys.argv.remove("--planted")
    from headclip_med.pipelines.screen import Prepared

    kept, images = [], Prepared.images
    Prepared.images = lambda self, voxels: (kept.append(voxels), images(self, voxels))[1]
loading.load_models = lambda request: SimpleNamespace(models={"bright": model})
assert main(sys.argv[1:]) == 0
lines = Path("/proc/self/status").read_text().splitlines()
(peak_kib,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
print(peak_kib, file=sys.stderr)
"""


def write_series(folder: Path, slices: int) -> Path:
    """Write a head in air, with a bright spot on every slice that wanders through it."""
    row, column = np.mgrid[:SIDE_PX, :SIDE_PX]
    head = np.where((row - 256) ** 2 + (column - 256) ** 2 < 180**2, 30, -1000)
    voxels = np.empty((slices, SIDE_PX, SIDE_PX), dtype=np.int16)
    for index in range(slices):
        voxels[index] = head + (row * column + 7 * index) % 13
        start = 160 + 40 * index % 160
        voxels[index, start : start + 20, 240:270] = 75
    write_ct_series(folder, voxels, make_grid(shape=(slices, SIDE_PX, SIDE_PX)))
    return folder


def peak_mib(source: Path, out: Path, *planted: str) -> float:
    """Screen in a process of its own, and give the most memory that it held at once."""
    command = [sys.executable, "-c", MEASURED, "screen", str(source), "--out", str(out), *planted]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (result,) = out.glob("*/*/result.json")
    content = json.loads(result.read_text())
    assert content["lesions"]  # so that every output was written
    assert set(USUAL_OUTPUTS) & {one["output"] for one in content["skipped_outputs"]} == set()
    return int(done.stderr.split()[-1]) / 1024


def is_set_by_the_batch(short_mib: float, long_mib: float) -> bool:
    """Whether ten times the slices take at most half more memory."""
    found = f"{short_mib:.0f} MiB at the peak of 60 slices, {long_mib:.0f} MiB of 600"
    logging.getLogger(__name__).info(found)  # shown by --log-cli-level=INFO
    return long_mib <= 1.5 * short_mib


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A short series and one ten times as long."""
    short, long = (write_series(tmp_path_factory.mktemp("in"), slices) for slices in (60, 600))
    return short, long


pytestmark = [
    pytest.mark.slow,  # 600 files of 512 x 512 are written, read and screened
    pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc"),
]


def test_ten_times_the_slices_take_at_most_half_more_memory(
    series: tuple[Path, Path], tmp_path: Path
) -> None:
    short, long = (peak_mib(source, tmp_path / str(i)) for i, source in enumerate(series))
    assert is_set_by_the_batch(short, long), (short, long)


def test_a_step_that_keeps_what_it_saw_is_found(series: tuple[Path, Path], tmp_path: Path) -> None:
    short, long = (
        peak_mib(source, tmp_path / str(i), "--planted") for i, source in enumerate(series)
    )
    assert not is_set_by_the_batch(short, long), (short, long)
