"""Synthetic series: valid DICOM, deterministic, and read back where they were written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from headclip_med.errors import UnusableGeometry
from headclip_med.geometry import Grid
from headclip_med.read import read_volume
from headclip_med.write.dicom.series import write_ct_series, write_mr_series
from tests.phantoms import make_grid, make_voxels, read_at, write_phantom


def test_a_ct_slice_says_in_dicom_what_the_grid_says(tmp_path: Path) -> None:
    grid = make_grid(spacing_mm=(0.8, 0.5), origin_lps_mm=(-20, -30, 40))
    dataset = read_at(write_phantom(tmp_path, grid)[2])
    assert dataset.ImagePositionPatient == [-20, -30, 46]
    assert dataset.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert dataset.PixelSpacing == [0.8, 0.5]  # between rows, then between columns
    assert dataset.SliceThickness == 3
    assert (dataset.Rows, dataset.Columns, dataset.Modality) == (6, 7, "CT")
    assert dataset.pixel_array[0, 0] * dataset.RescaleSlope + dataset.RescaleIntercept == -16


def test_values_are_rounded_and_kept_within_sixteen_bits(tmp_path: Path) -> None:
    grid = make_grid(shape=(1, 1, 4))
    voxels = np.array([[[-1000.4, 0.6, 1e6, -1e6]]])
    write_ct_series(tmp_path / "ct", voxels, grid)
    np.testing.assert_array_equal(
        read_volume(tmp_path / "ct").voxels, [[[-1000, 1, 31743, -33792]]]
    )
    write_mr_series(tmp_path / "mr", voxels, grid)
    np.testing.assert_array_equal(read_volume(tmp_path / "mr").voxels, [[[0, 1, 65535, 0]]])


def test_equal_arguments_give_equal_bytes_and_other_voxels_other_uids(tmp_path: Path) -> None:
    first, again = (write_phantom(tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [path.name for path in again]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    grid = make_grid()
    other = write_ct_series(tmp_path / "c", make_voxels() + 1, grid)
    one, two = read_at(first[0]), read_at(other[0])
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.SOPInstanceUID.startswith("2.25.")
    seeded = read_at(write_phantom(tmp_path / "d", study_seed="another")[0])
    assert seeded.StudyInstanceUID != one.StudyInstanceUID


def test_a_series_can_be_added_to_a_folder(tmp_path: Path) -> None:
    write_phantom(tmp_path)
    write_mr_series(tmp_path, make_voxels(), make_grid())
    assert len(list(tmp_path.iterdir())) == 10


def test_a_grid_that_dicom_cannot_express_is_refused(tmp_path: Path) -> None:
    pixels = Grid.of_pixels(slices=5, rows=6, columns=7)
    sheared = make_grid(down=(0.1, 0.99, 0))
    other_shape = make_grid(shape=(5, 6, 8))
    for grid, code in (
        (pixels, "no-patient-geometry"),
        (sheared, "sheared-plane"),
        (other_shape, "shape-mismatch"),
    ):
        with pytest.raises(UnusableGeometry) as refused:
            write_ct_series(tmp_path / "never", make_voxels(), grid)
        assert refused.value.code == code
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("write", [write_ct_series, write_mr_series])
def test_a_validator_finds_nothing_to_complain_about(
    tmp_path: Path, write: object, dciodvfy: str
) -> None:
    path = write(tmp_path, make_voxels(), make_grid(step_lps_mm=(0, 0.7, -2.5)))[1]  # type: ignore[operator]
    told = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr.strip()) in {(0, "CTImage"), (0, "MRImage")}
