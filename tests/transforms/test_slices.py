"""Cutting a volume into images, resizing, and fusing maps back; the MONAI forms of all that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.geometry import Grid
from headclip_med.transforms import (
    CTWindow,
    CTWindowd,
    CutSlices,
    CutSlicesd,
    PasteMaps,
    PasteMapsd,
    PercentileWindow,
    PercentileWindowd,
    cut_slices,
    fuse,
    resize_images,
    resize_maps,
)

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))


def ramp(slices: int, rows: int, columns: int) -> np.ndarray:
    """Every voxel differs from every other, so any flip or swap shows."""
    count = slices * rows * columns
    return (np.arange(count, dtype=np.float32) / count).reshape(slices, rows, columns)


def test_a_grey_volume_is_cut_into_three_equal_channels_in_order() -> None:
    voxels = ramp(2, 3, 4)
    images = cut_slices(voxels)
    assert images.shape == (2, 3, 3, 4)
    for channel in range(3):
        np.testing.assert_array_equal(images[:, channel], voxels)


def test_a_colour_volume_keeps_red_green_and_blue_apart() -> None:
    voxels = np.stack([ramp(2, 3, 4), ramp(2, 3, 4) / 2, ramp(2, 3, 4) / 4], axis=-1)
    images = cut_slices(voxels)
    for channel in range(3):
        np.testing.assert_array_equal(images[:, channel], voxels[..., channel])


@tries(deadline=None, max_examples=40)
@given(SIZES)
def test_cutting_and_fusing_back_changes_nothing(shape: tuple[int, int, int]) -> None:
    voxels = ramp(*shape)
    grid = Grid.of_pixels(slices=shape[0], rows=shape[1], columns=shape[2])
    heatmap = fuse(cut_slices(voxels)[:, 1].numpy(), grid)
    np.testing.assert_array_equal(heatmap.values, voxels)
    assert heatmap.grid is grid


@tries(deadline=None, max_examples=40)
@given(SIZES, st.booleans())
def test_the_transforms_cut_and_paste_back_unchanged(
    shape: tuple[int, int, int], channel_first: bool
) -> None:
    volume = ramp(*shape)[None] if channel_first else ramp(*shape)
    images = CutSlices(channel_first=channel_first)(volume)
    assert isinstance(images, torch.Tensor)
    pasted = PasteMaps(channel_first=channel_first)(images[:, 0], volume)
    np.testing.assert_array_equal(pasted, volume)


def test_resizing_keeps_corners_in_their_places_and_values_in_range() -> None:
    voxels = np.zeros((1, 20, 30), dtype=np.float32)
    voxels[0, :5, :5], voxels[0, :5, -5:], voxels[0, -5:, :5] = 1.0, 0.6, 0.3
    images = resize_images(cut_slices(voxels), 16)
    assert images.shape == (1, 3, 16, 16)
    assert images.min() >= 0
    assert images.max() <= 1
    one = images[0, 2]
    corners = [one[0, 0], one[0, -1], one[-1, 0], one[-1, -1]]
    np.testing.assert_allclose(corners, [1, 0.6, 0.3, 0], atol=0.05)


def test_a_grey_image_is_resized_as_its_copies_would_be() -> None:
    images = cut_slices(np.random.default_rng(0).random((2, 11, 7), dtype=np.float32))
    torch.testing.assert_close(resize_images(images, 9), resize_images(images.contiguous(), 9))


def test_resizing_to_the_same_size_changes_nothing() -> None:
    images = cut_slices(ramp(2, 5, 5))
    assert torch.equal(resize_images(images, 5), images)
    assert torch.equal(resize_maps(images[:, 0], 5, 5), images[:, 0])


def test_a_map_is_interpolated_linearly() -> None:
    # Twice as wide: the new centres lie a quarter from the old ones; the ends are held.
    wide = resize_maps(torch.tensor([[[0.0, 1.0]]]), 1, 4)
    torch.testing.assert_close(wide, torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))


def test_a_map_shrinks_without_losing_a_small_spot() -> None:
    maps = torch.zeros(1, 64, 64)
    maps[0, 33, 17] = 1
    small = resize_maps(maps, 8, 8)
    assert small.sum().item() == pytest.approx(1 / 64, rel=0.1)
    assert divmod(int(small.argmax()), 8) == (4, 2)


def test_fused_maps_are_clamped_float32() -> None:
    heatmap = fuse(np.array([[[-0.5, 0.5, 1.5]]]), Grid.of_pixels(slices=1, rows=1, columns=3))
    np.testing.assert_array_equal(heatmap.values, [[[0, 0.5, 1]]])
    assert heatmap.values.dtype == np.float32


def test_a_map_that_is_not_a_number_is_never_called_healthy() -> None:
    maps = np.array([[[0.1, np.nan]]])
    with pytest.raises(HeadClipError, match="not numbers") as caught:
        fuse(maps, Grid.of_pixels(slices=1, rows=1, columns=2))
    assert caught.value.code == "map-not-finite"


def test_monai_axes_become_rows_down_and_columns_across() -> None:
    volume = ramp(5, 4, 3)  # z, y, x
    images = CutSlices(channel_first=True)(volume.T[None])
    np.testing.assert_array_equal(images[:, 0], volume)
    photograph = np.stack([ramp(1, 4, 3)[0].T, ramp(1, 4, 3)[0].T / 2, ramp(1, 4, 3)[0].T / 4])
    images = CutSlices(channel_first=True)(photograph)
    assert images.shape == (1, 3, 4, 3)
    np.testing.assert_array_equal(images[0, 1], ramp(1, 4, 3)[0] / 2)


def test_a_flat_monai_image_gets_its_map_back_flat() -> None:
    photograph = ramp(3, 6, 4)  # channel, x, y
    maps = CutSlices(channel_first=True)(photograph)[:, 2]
    pasted = PasteMaps(channel_first=True)(maps, photograph)
    np.testing.assert_array_equal(pasted, photograph[2:])


def test_pasted_maps_carry_the_affine_of_the_volume() -> None:
    affine = torch.diag(torch.tensor([0.5, 0.7, 3.0, 1.0], dtype=torch.float64))
    volume = MetaTensor(torch.from_numpy(ramp(6, 5, 4).T[None].copy()), affine=affine)
    cut = CutSlices(12, channel_first=True)
    pasted = PasteMaps(channel_first=True)(cut(volume)[:, :1], volume)
    assert isinstance(pasted, MetaTensor)
    assert pasted.shape == (1, 4, 5, 6)
    torch.testing.assert_close(pasted.affine, affine)
    plain = PasteMaps(channel_first=True)(torch.from_numpy(ramp(6, 5, 4)))
    np.testing.assert_array_equal(plain[0], ramp(6, 5, 4).T)


@pytest.mark.parametrize("kind", ["numpy", "torch", "meta"])
def test_window_transforms_keep_the_kind_of_array(kind: str) -> None:
    values = np.array([[-1000.0, 0, 20, 80, np.nan]], dtype=np.float32)
    image = {"numpy": values, "torch": torch.from_numpy(values), "meta": MetaTensor(values)}[kind]
    grey = CTWindow("brain")(image)
    assert type(grey) is type(image)
    np.testing.assert_array_equal(grey, [[0, 0, 0.25, 1, 0]])
    assert type(PercentileWindow()(image)) is type(image)


def test_an_image_of_whole_numbers_becomes_float32() -> None:
    grey = CTWindow("brain")(np.array([[0, 40, 80]], dtype=np.int16))
    assert grey.dtype == np.float32
    np.testing.assert_array_equal(grey, [[0, 0.5, 1]])


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="brain, subdural"):
        CTWindow("brian")


def test_dictionary_forms_do_what_the_array_forms_do() -> None:
    volume = np.random.default_rng(0).uniform(-200, 300, (3, 8, 6)).astype(np.float32)
    steps = Compose(
        [
            CTWindowd(keys="image", window="soft-tissue"),
            PercentileWindowd(keys=["other", "absent"], allow_missing_keys=True),
            CutSlicesd(keys=["image", "other"], size_px=10),
            PasteMapsd(keys="pred", volume_key="volume"),
        ]
    )
    pred = torch.rand(3, 1, 10, 10)
    data = {"image": volume, "other": volume, "volume": volume, "pred": pred}
    found = steps(data)
    cut = CutSlices(10)
    assert torch.equal(found["image"], cut(CTWindow("soft-tissue")(volume)))
    assert torch.equal(found["other"], cut(PercentileWindow()(volume)))
    np.testing.assert_array_equal(found["pred"], PasteMaps()(pred, volume))
    assert data["image"] is volume
    with pytest.raises(KeyError):
        CTWindowd(keys="absent")(data)
