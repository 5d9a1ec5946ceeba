"""NIfTI: every voxel at its place in LPS millimetres, whatever the affine."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from headclip_med.errors import HeadClipError, UnreadableInput, UnusableGeometry
from headclip_med.mapped import BLOCK_SLICES
from headclip_med.read import ReadLimits, find_inputs, read_volume

AFFINE_RAS = np.array(
    [[-0.5, 0.1, 0.3, 11.0], [0.0, 0.8, -0.2, -22.0], [0.05, 0.0, 3.0, 33.0], [0, 0, 0, 1.0]]
)
"""Oblique, sheared, and different along every axis."""


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = AFFINE_RAS) -> Path:
    nibabel.Nifti1Image(data, affine).to_filename(path)
    return path


def phantom(shape: tuple[int, ...] = (4, 5, 6)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def test_the_third_axis_becomes_slices_and_every_voxel_keeps_its_place(tmp_path: Path) -> None:
    data = phantom()
    volume = read_volume(save(tmp_path / "scan.nii.gz", data))
    assert volume.voxels.shape == (6, 5, 4)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels[5, 3, 1] == data[1, 3, 5]
    # By hand: RAS of array index (1, 3, 5), then left and back instead of right and front.
    right, front, up = AFFINE_RAS[:3] @ [1, 3, 5, 1]
    np.testing.assert_allclose(
        volume.grid.to_lps_mm(np.array([[5.0, 3.0, 1.0]])), [[-right, -front, up]]
    )
    assert (volume.origin, volume.modality, volume.name) == ("nifti", None, "scan.nii.gz")
    assert (volume.study_instance_uid, volume.part, volume.notes) == (None, 1, ())
    assert len(volume.sources) == 6


def test_the_identity_affine_counts_to_the_right_and_front(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii", phantom(), np.eye(4)))
    np.testing.assert_array_equal(volume.grid.column_step_lps_mm, [-1, 0, 0])
    np.testing.assert_array_equal(volume.grid.row_step_lps_mm, [0, -1, 0])
    np.testing.assert_array_equal(volume.grid.origins_lps_mm[2], [0, 0, 2])


@tries(max_examples=30)
@given(steps=st.lists(st.floats(-3, 3, width=32), min_size=9, max_size=9))
def test_any_affine_maps_as_nibabel_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[float]
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array(steps).reshape(3, 3)
    affine[:3, 3] = 7, -8, 9
    if abs(np.linalg.det(affine)) < 0.01:
        return
    path = save(tmp_path_factory.mktemp("nifti") / "a.nii", phantom(), affine)
    volume = read_volume(path)
    indices = np.array([[0.0, 0, 0], [3, 4, 5], [1, 0, 2]])
    ras = nibabel.affines.apply_affine(nibabel.load(path).affine, indices)
    np.testing.assert_allclose(
        volume.grid.to_lps_mm(indices[:, ::-1].copy()), ras * [-1, -1, 1], atol=1e-4
    )


def test_scaled_values_are_read_in_their_unit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", phantom())
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -7], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(raw)
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.voxels.transpose(2, 1, 0), phantom() / 2 - 7, atol=0.01)


def test_each_time_point_is_a_volume(tmp_path: Path) -> None:
    data = phantom((4, 5, 6, 3))
    path = save(tmp_path / "a.nii.gz", data)
    found = find_inputs([path]).readable
    assert [(one.part, one.slices) for one in found] == [(1, 6), (2, 6), (3, 6)]
    for index, one in enumerate(found):
        volume = one.read()
        np.testing.assert_array_equal(volume.voxels.transpose(2, 1, 0), data[..., index])
        assert volume.part == index + 1
    with pytest.raises(UnreadableInput, match="There are 3 volumes"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_more_slices_than_are_read_at_once_change_no_value(tmp_path: Path, name: str) -> None:
    data = phantom((4, 5, 2 * BLOCK_SLICES + 3, 2)).astype(np.float32)
    data[1, 2, 3, 1], data[0, 0, 30, 1] = np.nan, -9
    first, second = (one.read() for one in find_inputs([save(tmp_path / name, data)]).readable)
    np.testing.assert_array_equal(first.voxels.transpose(2, 1, 0), data[..., 0])
    data[1, 2, 3, 1] = -9  # the lowest value lies in another block
    np.testing.assert_array_equal(second.voxels.transpose(2, 1, 0), data[..., 1])
    assert second.reading.replaced_voxels == 1
    assert first.notes == ()


def test_a_long_time_series_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", phantom((2, 2, 2, 65)))
    with pytest.raises(UnreadableInput, match="65 time points, more than the 64") as refused:
        read_volume(path)
    assert refused.value.code == "too-many-time-points"


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 1, 1), (4, 5, 1, 1, 1)])
def test_a_single_slice_may_have_any_number_of_dimensions(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    volume = read_volume(save(tmp_path / "a.nii", phantom(shape)))
    np.testing.assert_array_equal(volume.voxels[0].T, phantom((4, 5)))


def test_five_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="5 dimensions"):
        read_volume(save(tmp_path / "a.nii", phantom((2, 2, 2, 2, 2))))


def test_colours_are_read_as_red_green_blue(tmp_path: Path) -> None:
    data = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["R"], data["G"][1, 2, 3], data["B"] = 10, 20, 30
    volume = read_volume(save(tmp_path / "a.nii", data))
    assert volume.is_colour
    np.testing.assert_array_equal(volume.voxels[3, 2, 1], [10, 20, 30])
    np.testing.assert_array_equal(volume.voxels[0, 0, 0], [10, 0, 30])


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", phantom().astype(np.complex64))
    with pytest.raises(UnreadableInput, match="neither numbers nor RGB"):
        read_volume(path)
    found = find_inputs([path])  # and before anything is read
    assert ([one.code for one in found.failures], found.readable) == (["unsupported-nifti"], ())


def test_what_is_not_a_number_is_kept_out(tmp_path: Path) -> None:
    data = phantom().astype(np.float32) - 5
    data[0, 0, 0], data[1, 1, 1], data[2, 2, 2] = np.nan, np.inf, -np.inf
    volume = read_volume(save(tmp_path / "a.nii", data))
    assert np.isfinite(volume.voxels).all()
    assert volume.voxels[0, 0, 0] == volume.voxels[1, 1, 1] == volume.voxels.min() == -4
    assert volume.notes == ("3 voxels are not finite and were given the lowest value instead.",)
    with pytest.raises(UnreadableInput, match="No voxel"):
        read_volume(save(tmp_path / "b.nii", np.full((2, 2, 2), np.nan, np.float32)))


def test_a_file_without_orientation_says_so(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(phantom(), None)
    image.header["pixdim"][1:4] = 2, 3, 4
    image.to_filename(tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.grid.pixel_spacing_mm == (3, 2)
    assert "states no orientation" in volume.notes[0]


def test_metres_and_microns_become_millimetres(tmp_path: Path) -> None:
    for unit, factor in (("meter", 1000.0), ("micron", 0.001), ("mm", 1.0)):
        image = nibabel.Nifti1Image(phantom(), np.diag([0.5, 0.5, 2, 1]))
        image.header.set_xyzt_units(unit)
        image.to_filename(tmp_path / "a.nii")
        assert read_volume(tmp_path / "a.nii").grid.pixel_spacing_mm == pytest.approx(
            (0.5 * factor, 0.5 * factor)
        )


def test_a_unit_that_is_none_is_a_millimetre(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(phantom(), np.diag([0.5, 0.5, 2, 1]))
    image.header["xyzt_units"] = 7
    image.to_filename(tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").grid.pixel_spacing_mm == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_slope_that_is_none_scales_nothing(tmp_path: Path, slope: float) -> None:
    path = save(tmp_path / "a.nii", phantom())
    plain = read_volume(path).voxels
    raw = bytearray(path.read_bytes())
    raw[112:116] = np.array([slope], "<f4").tobytes()
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_volume(path).voxels, plain)


def test_voxels_that_begin_within_the_header_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", phantom())
    raw = bytearray(path.read_bytes())
    raw[108:112] = bytes(4)
    path.write_bytes(raw)
    with pytest.raises(UnreadableInput, match="begin within itself"):
        read_volume(path)


@pytest.mark.parametrize(("name", "other"), [("a.nii", "a.nii.gz"), ("a.nii.gz", "a.nii")])
def test_a_name_that_does_not_say_whether_it_is_packed_is_told(
    tmp_path: Path, name: str, other: str
) -> None:
    path = save(tmp_path / name, phantom()).rename(tmp_path / other)
    with pytest.raises(UnreadableInput, match="packed") as refused:
        read_volume(path)
    assert refused.value.code == "packed-otherwise"


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_affine_that_places_voxels_nowhere_is_refused(tmp_path: Path, value: float) -> None:
    affine = np.eye(4)
    affine[2, 2] = value
    image = nibabel.Nifti1Image(phantom(), None)
    image.header.set_sform(affine, code=1)
    image.to_filename(tmp_path / "a.nii")
    with pytest.raises(UnusableGeometry) as refused:
        find_inputs([tmp_path]).readable[0].read()
    assert refused.value.code == "bad-affine"


@pytest.mark.parametrize("ending", ["img", "img.gz"])
def test_a_pair_is_one_volume_and_either_file_names_it(tmp_path: Path, ending: str) -> None:
    nibabel.Nifti1Pair(phantom(), AFFINE_RAS).to_filename(tmp_path / f"a.{ending}")
    (one,) = find_inputs([tmp_path]).readable
    np.testing.assert_array_equal(one.read().voxels.transpose(2, 1, 0), phantom())
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_volume(path).voxels, one.read().voxels)


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(phantom(), AFFINE_RAS).to_filename(tmp_path / "a.img")
    (tmp_path / "a.hdr").rename(tmp_path / "elsewhere.hdr")
    found = find_inputs([tmp_path])
    assert found.readable == ()
    assert {failure.code for failure in found.failures} <= {"broken-nifti", "not-found"}
    assert len(found.failures) == 2


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [3, 200, 400, -40])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, kept: int) -> None:
    path = save(tmp_path / name, phantom((9, 9, 9)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    assert refused.value.code in {"broken-nifti", "truncated-file"}


def test_a_header_cannot_claim_more_than_the_limits(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", phantom())
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([32000, 32000, 32000], "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    assert refused.value.code == "truncated-file"
    bomb = tmp_path / "b.nii.gz"
    bomb.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(UnreadableInput) as refused:
        read_volume(bomb)
    assert refused.value.code == "volume-too-large"
    with pytest.raises(UnreadableInput) as refused:
        read_volume(save(tmp_path / "c.nii", phantom()), limits=ReadLimits(volume_bytes=100))
    assert refused.value.code == "volume-too-large"


def test_other_neuroimaging_formats_are_refused(tmp_path: Path) -> None:
    axes = nibabel.cifti2.ScalarAxis(["a"]), nibabel.cifti2.ScalarAxis(["b", "c"])
    path = tmp_path / "a.dscalar.nii"
    nibabel.Cifti2Image(np.zeros((1, 2), np.float32), axes).to_filename(path)
    with pytest.raises(HeadClipError) as refused:
        read_volume(path)
    assert refused.value.code == "unsupported-nifti"


@tries(max_examples=60)
@given(at=st.integers(0, 351), value=st.integers(0, 255))
def test_a_damaged_header_ends_in_a_volume_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    path = save(tmp_path_factory.mktemp("nifti") / "a.nii", phantom())
    raw = bytearray(path.read_bytes())
    raw[at] = value
    path.write_bytes(raw)
    for one in find_inputs([path]).readable:
        with contextlib.suppress(HeadClipError):
            assert np.isfinite(one.read().voxels).all()
