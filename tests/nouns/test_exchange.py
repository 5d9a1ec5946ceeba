"""Voxels given by a program, and objects of other libraries: nothing moves on the way."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from headclip_med.errors import HeadClipError
from headclip_med.geometry import Grid
from headclip_med.volume import Heatmap, Volume
from tests.phantoms import make_grid, make_voxels


def oblique() -> Volume:
    turn = np.radians(20)
    across, down = (np.cos(turn), np.sin(turn), 0), (-np.sin(turn), np.cos(turn), 0)
    grid = make_grid(across=across, down=down)
    voxels = make_voxels(grid.shape)
    affine = grid.affine_ras
    return Volume.from_nibabel(nibabel.Nifti1Image(voxels.swapaxes(0, 2), affine), modality="ct")


def same_place(one: Grid, other: Grid) -> bool:
    return bool(np.allclose(one.affine_lps, other.affine_lps, atol=1e-9))


def test_an_array_lies_where_its_spacing_puts_it() -> None:
    volume = Volume.from_array(np.zeros((2, 3, 4)), spacing_mm=(5, 2, 1), modality="mr")
    places = volume.grid.to_lps_mm(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    np.testing.assert_array_equal(places, [[0, 0, 0], [0, 0, 5], [0, 2, 0], [1, 0, 0]])
    assert (volume.modality, volume.origin, volume.grid.is_patient) == ("MR", "array", True)


def test_an_array_without_spacing_has_no_place_in_a_patient() -> None:
    volume = Volume.from_array(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert volume.voxels.shape == (1, 3, 4)
    assert not volume.grid.is_patient
    assert volume.reading.lacks_geometry


def test_colours_stay_colours() -> None:
    picture = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    volume = Volume.from_array(picture, is_colour=True)
    assert volume.is_colour
    np.testing.assert_array_equal(volume.voxels[0], picture)


def test_nibabel_and_back_is_the_same_volume() -> None:
    volume = oblique()
    image = volume.to_nibabel()
    again = Volume.from_nibabel(image, modality="CT")
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert same_place(again.grid, volume.grid)
    # Voxel (column 3, row 2, slice 1) by nibabel's own arithmetic, in RAS.
    here = nibabel.affines.apply_affine(image.affine, [3, 2, 1])
    np.testing.assert_allclose(
        here * [-1, -1, 1], volume.grid.to_lps_mm(np.array([[1.0, 2, 3]]))[0]
    )


def test_simpleitk_and_back_is_the_same_volume() -> None:
    volume = oblique()
    image = volume.to_sitk()
    again = Volume.from_sitk(image, modality="CT")
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert same_place(again.grid, volume.grid)
    here = image.TransformContinuousIndexToPhysicalPoint((3, 2, 1))
    np.testing.assert_allclose(here, volume.grid.to_lps_mm(np.array([[1.0, 2, 3]]))[0])
    assert image[3, 2, 1] == volume.voxels[1, 2, 3]


def test_colours_go_through_both_libraries() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    volume = Volume.from_array(picture, spacing_mm=(3, 2, 1), is_colour=True)
    np.testing.assert_array_equal(Volume.from_sitk(volume.to_sitk()).voxels, picture)
    assert volume.to_nibabel().shape == (4, 3, 2, 1, 3)
    assert volume.to_metatensor().shape == (3, 4, 3, 2)


def test_a_heatmap_becomes_a_tensor_of_monai_at_its_place() -> None:
    volume = oblique()
    values = np.random.default_rng(0).random(volume.grid.shape).astype(np.float32)
    tensor = Heatmap(values, volume.grid).to_metatensor()
    assert tensor[0, 3, 2, 1] == values[1, 2, 3]
    np.testing.assert_allclose(tensor.affine, volume.grid.affine_ras)


def test_a_leaning_stack_is_no_itk_image_but_a_nifti_one() -> None:
    grid = make_grid(step_lps_mm=(0, 1, 3))
    volume = Volume(make_voxels(grid.shape), grid, oblique().sources, "array")
    with pytest.raises(HeadClipError, match="sheared") as raised:
        volume.to_sitk()
    assert raised.value.code == "sheared"
    assert same_place(Volume.from_nibabel(volume.to_nibabel()).grid, grid)


def test_uneven_slices_are_refused_by_all() -> None:
    grid = make_grid()
    grid.origins_lps_mm[3:, 2] += 4
    volume = Volume(make_voxels(grid.shape), grid, oblique().sources, "array")
    for make in (volume.to_nibabel, volume.to_sitk, volume.to_metatensor):
        with pytest.raises(HeadClipError) as raised:
            make()
        assert raised.value.code == "uneven-spacing"


WRONG = np.zeros((2, 3, 4))


def flat() -> nibabel.Nifti1Image:
    """An image whose slices all lie on one place."""
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4))
    image.affine[2, 2] = 0
    return image


@pytest.mark.parametrize(
    ("make", "given", "code"),
    [
        (Volume.from_array, np.zeros(3), "unusable-voxels"),
        (Volume.from_array, np.zeros((2, 2, 2, 2)), "unusable-voxels"),
        (Volume.from_array, np.zeros((0, 2, 2)), "unusable-voxels"),
        (Volume.from_array, np.full((2, 2), np.nan), "unusable-voxels"),
        (Volume.from_array, np.ones((2, 2), dtype=bool), "unusable-voxels"),
        (Volume.from_array, np.ones((2, 2), dtype=complex), "unusable-voxels"),
        (lambda given: Volume.from_array(given, is_colour=True), WRONG, "unusable-voxels"),
        (lambda given: Volume.from_array(given, is_colour=True), WRONG[..., :3], "unusable-voxels"),
        (lambda given: Volume.from_array(given, spacing_mm=(1, 1, 0)), WRONG, "bad-spacing"),
        (Volume.from_nibabel, WRONG, "wrong-type"),
        (Volume.from_nibabel, nibabel.Nifti1Image(np.zeros((2, 2, 2, 2)), np.eye(4)), "wrong-type"),
        (Volume.from_nibabel, flat(), "bad-affine"),
        (Volume.from_sitk, WRONG, "wrong-type"),
        (Volume.from_sitk, sitk.Image([4, 4], sitk.sitkUInt8), "wrong-type"),
    ],
)  # fmt: skip
def test_what_is_no_volume_is_refused_in_a_sentence(make, given, code) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(HeadClipError) as raised:
        make(given)
    assert raised.value.code == code
    assert raised.value.advice.endswith(".")


def test_a_volume_says_what_it_is_in_a_line() -> None:
    volume = Volume.from_array(np.ones((2, 3, 4)), spacing_mm=(5, 2, 1), modality="CT")
    assert repr(volume) == "Volume(CT, 2 x 3 x 4, 5 x 2 x 1 mm)"
    assert (
        repr(Volume.from_array(np.ones((3, 4)))) == "Volume(array, 1 x 3 x 4, no patient geometry)"
    )
