"""Heatmaps as NIfTI: every voxel at its true place, and equal bytes for equal heatmaps."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float

from headclip_med.geometry import Grid
from headclip_med.write.nifti import HeatmapFile, affine_error_mm, ras_affine

SHAPE = (5, 4, 3)
ACROSS, DOWN = np.array([0.7, 0, 0]), np.array([0, 0.9, 0])


def stack(step_mm: tuple[float, float, float], missing_after: int | None = None) -> Grid:
    numbers = np.arange(5.0)
    if missing_after is not None:
        numbers[missing_after + 1 :] += 1
    origins = np.array([-31.5, 12.25, 101.75]) + numbers[:, None] * np.array(step_mm)
    return Grid(origins, DOWN, ACROSS, 4, 3)


def turned(angles: tuple[float, float, float], step_mm: float, shear_mm: float) -> Grid:
    turn = np.eye(3)
    for (first, second), angle in zip(((0, 1), (1, 2), (0, 2)), angles, strict=True):
        rotation = np.eye(3)
        rotation[[first, second], [first, second]] = np.cos(angle)
        rotation[first, second], rotation[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ rotation
    step = turn @ np.array([0, shear_mm, step_mm])
    origins = np.array([-20.0, 30.0, -400.0]) + np.arange(5.0)[:, None] * step
    return Grid(origins, turn @ DOWN, turn @ ACROSS, 4, 3)


def heat() -> Float[np.ndarray, "slices rows columns"]:
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


def write_heatmap(path: Path, values: np.ndarray, grid: Grid, *, block: int = 2) -> None:
    file = HeatmapFile(path, grid)
    for start in range(0, len(values), block):
        file.add(values[start : start + block])
    file.close()


def written(path: Path, grid: Grid) -> nibabel.Nifti1Image:
    write_heatmap(path, heat(), grid)
    return nibabel.load(path)


def indices() -> Float[np.ndarray, "points 3"]:
    return np.argwhere(np.ones(SHAPE)).astype(float)


def to_lps(affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "points 3"]:
    column_row_slice = indices()[:, ::-1]
    ras = column_row_slice @ affine[:3, :3].T + affine[:3, 3]
    return ras * [-1, -1, 1]


def test_voxels_are_stored_by_column_row_and_slice(tmp_path: Path) -> None:
    image = written(tmp_path / "h.nii.gz", stack((0, 0, 3.0)))
    assert image.shape == (3, 4, 5)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), heat().transpose(2, 1, 0))


def test_the_affine_of_an_axial_stack_is_the_one_worked_out_by_hand() -> None:
    expected = [[-0.7, 0, 0, 31.5], [0, -0.9, 0, -12.25], [0, 0, 3.0, 101.75], [0, 0, 0, 1]]
    np.testing.assert_allclose(ras_affine(stack((0, 0, 3.0))), expected, atol=1e-12)


@pytest.mark.parametrize(
    "grid",
    [
        stack((0, 0, 3.0)),
        stack((0, 0, -3.0)),
        stack((0, 1.2, 3.0)),
        turned((0.4, -0.3, 0.2), 3.0, 0.0),
        turned((0, np.pi / 2, 0), -1.5, 0.8),
    ],
    ids=["axial", "reversed", "tilted", "oblique", "sagittal and tilted"],
)
def test_every_voxel_of_an_even_stack_is_where_the_grid_says(grid: Grid, tmp_path: Path) -> None:
    image = written(tmp_path / "h.nii.gz", grid)
    np.testing.assert_allclose(to_lps(image.affine), grid.to_lps_mm(indices()), atol=1e-3)
    assert affine_error_mm(grid) < 1e-9


@settings(max_examples=25)
@given(
    st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    st.sampled_from([-4.0, 0.6, 7.5]),
    st.sampled_from([-1.0, 0.0, 2.5]),
)
def test_any_turned_and_tilted_stack_keeps_its_place(
    angles: tuple[float, float, float], step_mm: float, shear_mm: float
) -> None:
    grid = turned(angles, step_mm, shear_mm)
    np.testing.assert_allclose(to_lps(ras_affine(grid)), grid.to_lps_mm(indices()), atol=1e-9)


def test_a_tilted_stack_marks_the_qform_unknown_as_it_cannot_hold_shear(tmp_path: Path) -> None:
    straight = written(tmp_path / "a.nii.gz", stack((0, 0, 3.0)))
    tilted = written(tmp_path / "b.nii.gz", stack((0, 1.2, 3.0)))
    assert (int(straight.header["qform_code"]), int(straight.header["sform_code"])) == (1, 1)
    assert (int(tilted.header["qform_code"]), int(tilted.header["sform_code"])) == (0, 1)
    np.testing.assert_allclose(straight.header.get_qform(), straight.affine, atol=1e-4)
    assert straight.header.get_xyzt_units()[0] == "mm"


def test_a_gapped_stack_has_its_ends_in_place_and_says_how_far_the_rest_is_off(
    tmp_path: Path,
) -> None:
    grid = stack((0, 0, 3.0), missing_after=1)  # at 0, 3, 9, 12, 15 mm; evenly 0, 3.75, 7.5, ...
    image = written(tmp_path / "h.nii.gz", grid)
    off = np.linalg.norm(to_lps(image.affine) - grid.to_lps_mm(indices()), axis=1)
    by_slice = off.reshape(SHAPE).max(axis=(1, 2))
    np.testing.assert_allclose(by_slice, [0, 0.75, 1.5, 0.75, 0], atol=1e-4)
    assert affine_error_mm(grid) == pytest.approx(1.5)


def test_an_image_without_patient_geometry_claims_none(tmp_path: Path) -> None:
    image = written(tmp_path / "h.nii.gz", Grid.of_pixels(slices=5, rows=4, columns=3))
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (0, 0)
    assert image.header.get_xyzt_units()[0] == "unknown"


def test_a_single_slice_is_written(tmp_path: Path) -> None:
    grid = Grid(np.array([[1.0, 2, 3]]), DOWN, ACROSS, 4, 3)
    write_heatmap(tmp_path / "h.nii.gz", heat()[:1], grid)
    image = nibabel.load(tmp_path / "h.nii.gz")
    assert image.shape == (3, 4, 1)
    np.testing.assert_allclose(image.affine[:3, 3], [-1, -2, 3])


def test_equal_heatmaps_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        written(tmp_path / name, stack((0, 0, 3.0)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize(
    "grid", [turned((0.1, 0.2, 0.3), 3.0, 0.4), Grid.of_pixels(slices=9, rows=700, columns=500)]
)
def test_blocks_give_the_bytes_of_the_whole(grid: Grid, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(grid.shape).astype(np.float32).round(2)
    for block in (1, 4, len(values)):
        write_heatmap(tmp_path / f"{block}.nii.gz", values, grid, block=block)
    image = nibabel.load(tmp_path / "1.nii.gz")
    whole = gzip.compress(nibabel.Nifti1Image(values.T, None, image.header).to_bytes(), 1, mtime=0)
    for block in (1, 4, len(values)):
        assert (tmp_path / f"{block}.nii.gz").read_bytes() == whole
