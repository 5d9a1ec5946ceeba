"""The MONAI forms of grey levels and of the crop to the body, and the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.post.dictionary import Invertd

from headclip_med.errors import InvalidSettings
from headclip_med.findings import Box, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.transforms import apply_window, choose_window, find_crop_box
from headclip_med.transforms.array import CropToBodyd, WindowVolumed
from headclip_med.volume import SliceSource, Volume
from tests.phantoms import make_grid

SIZES = st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9), st.integers(1, 4))


def ramp(*shape: int) -> torch.Tensor:
    """Every voxel differs from every other, so any flip or swap shows."""
    return torch.arange(1, 1 + int(np.prod(shape)), dtype=torch.float32).reshape(shape)


def head(*, colours: bool = False) -> Volume:
    """Give two slices of bright tissue in air, off the middle."""
    voxels = np.full((2, 60, 50), -1000, dtype=np.float32)
    voxels[:, 20:40, 5:25] = 40
    voxels = np.stack([voxels] * 3, axis=-1) if colours else voxels
    source = SliceSource(Path("head"))
    return Volume(voxels, make_grid(shape=(2, 60, 50)), (source,) * 2, "dicom", modality="CT")


@pytest.mark.parametrize("kind", ["numpy", "torch", "meta"])
def test_a_window_keeps_the_kind_of_array(kind: str) -> None:
    values = np.array([[-1000.0, 0, 20, 80, np.nan]], dtype=np.float32)
    image = {"numpy": values, "torch": torch.from_numpy(values), "meta": MetaTensor(values)}[kind]
    grey = WindowVolumed("image", "brain")({"image": image})["image"]
    assert type(grey) is type(image)
    np.testing.assert_array_equal(grey, [[0, 0, 0.25, 1, 0]])
    grey = WindowVolumed("image", "percentile")({"image": image})["image"]
    assert type(grey) is type(image)


def test_an_image_of_whole_numbers_becomes_float32() -> None:
    image = np.array([[0, 40, 80]], dtype=np.int16)
    grey = WindowVolumed("image", "40,80")({"image": image})["image"]
    assert grey.dtype == np.float32
    np.testing.assert_array_equal(grey, [[0, 0.5, 1]])


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="brain, subdural"):
        WindowVolumed("image", "brian")


def test_automatic_grey_levels_look_at_the_volume_and_else_at_the_values() -> None:
    volume = head()
    data = {"image": torch.from_numpy(volume.voxels)}
    transform = WindowVolumed("image")
    assert transform({**data, "volume": volume})["window"] == choose_window(volume)
    alone = transform(data)["window"]
    assert alone.name == "percentile"
    assert (alone.low, alone.high) == tuple(
        getattr(choose_window(volume, "percentile"), end) for end in ("low", "high")
    )


@tries(deadline=None, max_examples=40)
@given(SIZES, st.data())
def test_what_is_cut_goes_back_to_its_place(
    shape: tuple[int, int, int, int], data: st.DataObject
) -> None:
    whole = MetaTensor(ramp(*shape), affine=torch.diag(torch.tensor([0.5, 0.7, 3, 1])).double())
    ends = [
        sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
        for side in shape[1:3]
    ]
    crop = CropToBodyd("image")
    cut = crop.cut(whole, Box(*ends[0], *ends[1]))
    part = (..., slice(*ends[0]), slice(*ends[1]), slice(None))
    np.testing.assert_array_equal(cut, whole[part])
    back = crop.inverse({"image": cut})["image"]
    expected = np.zeros(shape, dtype=np.float32)
    expected[part] = np.asarray(whole)[part]
    np.testing.assert_array_equal(back, expected)
    torch.testing.assert_close(back.affine, whole.affine)


def test_only_the_body_is_cut_out_where_there_is_one() -> None:
    volume, window = head(), WindowUsed("brain", 0.0, 80.0, "asked for")
    assert find_crop_box(volume, window, "body") == Box(19, 41, 4, 26)
    assert find_crop_box(volume, window, "none") == Box(0, 60, 0, 50)
    assert find_crop_box(head(colours=True), window, "body") == Box(0, 60, 0, 50)
    flat = Grid.of_pixels(slices=2, rows=60, columns=50)
    photograph = Volume(volume.voxels, flat, volume.sources, "image")
    assert find_crop_box(photograph, window, "body") == Box(0, 60, 0, 50)


def test_transforms_do_what_the_functions_do_and_are_inverted() -> None:
    volume = head()
    image = MetaTensor(torch.from_numpy(volume.voxels).permute(1, 2, 0)[None])
    before = Compose(
        [
            WindowVolumed(["image", "absent"], "brain", allow_missing_keys=True),
            CropToBodyd(["image", "absent"], allow_missing_keys=True),
        ]
    )
    data = {"image": image, "volume": volume}
    found = before(data)
    assert (found["window"].name, found["crop_box"]) == ("brain", Box(19, 41, 4, 26))
    grey = apply_window(np.asarray(image), found["window"])
    np.testing.assert_array_equal(found["image"], grey[:, 19:41, 4:26])
    assert data["image"] is image
    after = Invertd("pred", before, orig_keys="image", nearest_interp=False)
    maps = MetaTensor(torch.ones(2, 22, 22, 2))
    back = after({**found, "pred": maps})["pred"]
    assert back.shape == (2, 60, 50, 2)
    assert (back.sum(), back[:, 19:41, 4:26].sum()) == (maps.sum(), maps.sum())
    with pytest.raises(KeyError):
        WindowVolumed("absent")(data)
