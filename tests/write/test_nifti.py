"""Heatmaps as NIfTI: every voxel at its true place, and equal bytes for equal heatmaps."""

from __future__ import annotations

import gzip
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float

from headclip_med.findings import Box, Screening, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.volume import Heatmap, SliceSource, Volume
from headclip_med.write import write_screening
from headclip_med.write.nifti import (
    COMPACT,
    EXACT,
    Encoding,
    HeatmapFile,
    HeatmapWriter,
    affine_error_mm,
)
from headclip_med.write.result import result_schema

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


def write_heatmap(
    path: Path, values: np.ndarray, grid: Grid, encoding: Encoding = EXACT, *, block: int = 2
) -> None:
    with path.open("wb") as stream:
        file = HeatmapFile(stream, grid, encoding)
        for start in range(0, len(values), block):
            file.add(values[start : start + block])
        file.close()


def written(path: Path, grid: Grid, encoding: Encoding = EXACT) -> nibabel.Nifti1Image:
    write_heatmap(path, heat(), grid, encoding)
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


def test_the_compact_form_holds_the_nearest_of_256_values(tmp_path: Path) -> None:
    values = np.float32([0, 0.0019, 0.002, 0.5, 0.9979, 0.9981, 1]).reshape(7, 1, 1)
    grid = Grid.of_pixels(slices=7, rows=1, columns=1)
    write_heatmap(tmp_path / "h.nii.gz", values, grid, COMPACT)
    image = nibabel.load(tmp_path / "h.nii.gz")
    assert image.get_data_dtype() == np.uint8
    stored = np.asarray(image.dataobj.get_unscaled()).ravel()
    assert stored.tolist() == [0, 0, 1, 128, 254, 255, 255]
    assert image.dataobj.slope == pytest.approx(1 / 255, rel=1e-7)
    itk = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "h.nii.gz"))
    np.testing.assert_allclose(itk.ravel(), stored / 255, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_no_value_of_the_compact_form_is_further_off_than_stated(values: list[float]) -> None:
    given_values = np.float32(values)
    stored = np.frombuffer(COMPACT.encode(given_values), np.uint8)
    assert COMPACT.largest_error == 1 / 510
    assert np.abs(stored / 255 - given_values).max() <= COMPACT.largest_error + 1e-7
    assert EXACT.encode(given_values) == given_values.astype("<f4").tobytes()


def test_the_compact_form_takes_a_quarter_and_less(tmp_path: Path) -> None:
    grid = Grid.of_pixels(slices=5, rows=64, columns=64)
    values = np.random.default_rng(1).random(grid.shape, np.float32)
    for name, encoding in (("c", COMPACT), ("e", EXACT)):
        write_heatmap(tmp_path / name, values, grid, encoding)
    assert 3 * (tmp_path / "c").stat().st_size < (tmp_path / "e").stat().st_size


def test_the_affine_of_an_axial_stack_is_the_one_worked_out_by_hand() -> None:
    expected = [[-0.7, 0, 0, 31.5], [0, -0.9, 0, -12.25], [0, 0, 3.0, 101.75], [0, 0, 0, 1]]
    np.testing.assert_allclose(stack((0, 0, 3.0)).affine_ras, expected, atol=1e-12)


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
    np.testing.assert_allclose(to_lps(grid.affine_ras), grid.to_lps_mm(indices()), atol=1e-9)


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


# --- in software built on ITK ------------------------------------------------------------------


LEANING = {
    "tilted": stack((0, 1.2, 3.0)),
    "gapped": stack((0, 0, 3.0), missing_after=1),
    "tilted and gapped": stack((0.4, 1.2, -3.0), missing_after=2),
    "oblique and tilted": turned((0.4, -0.3, 0.2), 3.0, 0.8),
}


def screened(grid: Grid, values: Float[np.ndarray, "slices rows columns"]) -> Screening:
    labels = np.zeros(grid.shape, dtype=np.int32)
    sources = (SliceSource(Path("in.nii.gz")),) * len(values)
    return Screening(
        Volume(values, grid, sources, "nifti", name="x"), Heatmap(values, grid),
        values.max(axis=(1, 2)).astype(np.float64), 0.5, 0.5, labels, (),
        WindowUsed("brain", 0.0, 80.0, "a CT of the head"), Box(0, 1, 0, 1), {}, {},
    )  # fmt: skip


def wide(grid: Grid) -> Grid:
    """The same stack with slices large enough for a lesion."""
    return Grid(grid.origins_lps_mm, grid.row_step_lps_mm, grid.column_step_lps_mm, 40, 30)


@pytest.mark.parametrize("name", LEANING)
def test_a_lesion_lies_in_itk_where_it_lies_in_the_patient(name: str, tmp_path: Path) -> None:
    """An uneven lesion, which no flip or turn maps onto itself: its mass is at the same place."""
    grid = wide(LEANING[name])
    values = np.zeros(grid.shape, dtype=np.float32)
    values[3, 12:20, 8:12], values[3, 12:15, 12:20] = 1.0, 0.6
    written = write_screening(screened(grid, values), tmp_path)
    assert written.outputs["heatmap-resampled"] == "heatmap_resampled.nii.gz"
    assert written.result["heatmaps"]["heatmap-resampled"] == {  # type: ignore[index]
        "encoding": "uint8", "largest_error": 0.001961, "is_resampled": True,
        "affine_error_mm": 0.0,
    }  # fmt: skip
    jsonschema.validate(written.result, result_schema())
    image = sitk.ReadImage(written.folder / "heatmap_resampled.nii.gz")
    found = sitk.GetArrayFromImage(image)
    index = np.argwhere(found > 0)
    lps = [image.TransformIndexToPhysicalPoint(tuple(map(int, one[::-1]))) for one in index]
    centre = np.average(lps, axis=0, weights=found[found > 0])
    own = np.argwhere(values > 0)
    expected = np.average(grid.to_lps_mm(own.astype(float)), axis=0, weights=values[values > 0])
    normal = grid.normal_lps
    in_plane = (centre - expected) - ((centre - expected) @ normal) * normal
    assert np.linalg.norm(in_plane) < 0.01
    assert abs((centre - expected) @ normal) < (0.01 if "gapped" not in name else 1.6)


@pytest.mark.parametrize("name", LEANING)
def test_every_value_lies_in_itk_within_a_hundredth_of_a_millimetre(
    name: str, tmp_path: Path
) -> None:
    """A heatmap that rises evenly across the patient tells the place of every voxel by itself."""
    grid = wide(LEANING[name])
    index = np.argwhere(np.ones(grid.shape)).astype(float)
    for axis in range(3):
        along = grid.to_lps_mm(index)[:, axis]
        low, reach = along.min(), np.ptp(along)
        values = ((along - low) / reach).reshape(grid.shape).astype(np.float32)
        inner = np.zeros_like(values)
        inner[:, 1:-1, 1:-1] = 1
        images = {}
        for what, shown in (("place", values), ("inner", inner)):
            writer = HeatmapWriter(screened(grid, shown), tmp_path, frozenset())
            writer.encoding = EXACT
            writer.begin()
            writer.add(range(len(shown)))
            writer.end()
            images[what] = sitk.ReadImage(tmp_path / "heatmap_resampled.nii.gz")
        inside = np.argwhere(sitk.GetArrayFromImage(images["inner"]) > 0.9999)
        place = sitk.GetArrayFromImage(images["place"])
        for one in inside[::7]:
            point = images["place"].TransformIndexToPhysicalPoint(tuple(map(int, one[::-1])))
            assert abs(place[tuple(one)] * reach + low - point[axis]) < 0.01


@pytest.mark.parametrize("name", ["heatmap", "heatmap-float"])
def test_a_stack_on_its_side_has_no_twin_and_says_so(name: str, tmp_path: Path) -> None:
    grid = stack((0, 300.0, 3.0))
    written = write_screening(screened(grid, heat()), tmp_path, outputs=[name])
    missing = f"{name}-resampled"
    assert missing not in written.outputs
    assert missing not in written.result["heatmaps"]  # type: ignore[operator]
    skipped = {one["output"]: one for one in written.result["skipped_outputs"]}  # type: ignore[attr-defined]
    assert skipped[missing]["code"] == "mostly-empty"
    assert any(note.startswith(f"{missing} was not written. The stack") for note in written.notes)
    jsonschema.validate(written.result, result_schema())


@pytest.mark.parametrize(
    "grid",
    [stack((0, 0, 3.0)), stack((0, 0, -3.0)), turned((0.4, -0.3, 0.2), 3.0, 0.0)],
    ids=["axial", "reversed", "oblique"],
)
def test_what_itk_can_read_as_it_is_has_no_twin_and_lies_right(grid: Grid, tmp_path: Path) -> None:
    written = write_screening(screened(grid, heat()), tmp_path)
    assert "heatmap-resampled" not in written.outputs
    image = sitk.ReadImage(written.folder / "heatmap.nii.gz")
    lps = [image.TransformIndexToPhysicalPoint(tuple(map(int, o[::-1]))) for o in indices()]
    np.testing.assert_allclose(lps, grid.to_lps_mm(indices()), atol=0.01)
