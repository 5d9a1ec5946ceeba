"""Cutting a volume into images, resizing, and fusing maps back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from headclip_med.errors import HeadClipError
from headclip_med.findings import Box
from headclip_med.transforms import cut_slices, paste_maps, resize_images, resize_maps

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
def test_cutting_and_pasting_back_changes_nothing(shape: tuple[int, int, int]) -> None:
    voxels = ramp(*shape)
    heatmap = np.zeros(shape, dtype=np.float32)
    paste_maps(heatmap, cut_slices(voxels)[:, 1].numpy(), Box(0, shape[1], 0, shape[2]))
    np.testing.assert_array_equal(heatmap, voxels)


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


def test_pasted_maps_are_clamped() -> None:
    heatmap = np.zeros((1, 1, 3), dtype=np.float32)
    paste_maps(heatmap, np.array([[[-0.5, 0.5, 1.5]]]), Box(0, 1, 0, 3))
    np.testing.assert_array_equal(heatmap, [[[0, 0.5, 1]]])


def test_a_map_that_is_not_a_number_is_never_called_healthy() -> None:
    maps = np.array([[[0.1, np.nan]]])
    with pytest.raises(HeadClipError, match="not numbers") as caught:
        paste_maps(np.zeros((1, 1, 2), dtype=np.float32), maps, Box(0, 1, 0, 2))
    assert caught.value.code == "map-not-finite"
