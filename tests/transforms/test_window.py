"""Grey levels: which mapping is chosen, why, and what it does to values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from headclip_med.errors import InvalidSettings
from headclip_med.findings import WindowUsed
from headclip_med.geometry import Grid
from headclip_med.transforms import CT_WINDOWS_HU, apply_window, choose_window
from headclip_med.volume import SliceSource, Volume


def volume_of(voxels: np.ndarray, origin: str = "dicom", **known: object) -> Volume:
    voxels = np.asarray(voxels, dtype=np.float32)
    slices, rows, columns = voxels.shape[:3]
    grid = Grid.of_pixels(slices=slices, rows=rows, columns=columns)
    sources = tuple(SliceSource(Path("a")) for _ in range(slices))
    return Volume(voxels, grid, sources, origin, **known)  # type: ignore[arg-type]


def ct_values(seed: int = 0) -> np.ndarray:
    """Air, fat, tissue and a little bone inside a padded circle."""
    rng = np.random.default_rng(seed)
    means = rng.choice([-1000.0, -100.0, 40.0, 700.0], p=[0.5, 0.2, 0.27, 0.03], size=(4, 40, 40))
    voxels = means + rng.normal(0, 15, means.shape)
    voxels[:, :6] = -3024
    return voxels


def test_the_brain_window_maps_0_and_80_hu_to_black_and_white() -> None:
    window = choose_window(volume_of(np.zeros((1, 2, 2)), modality="CT"), "brain")
    assert (window.name, window.low, window.high) == ("brain", 0, 80)
    grey = apply_window(np.array([-1000.0, 0, 20, 40, 80, 3000]), window)
    assert grey.dtype == np.float32
    np.testing.assert_array_equal(grey, [0, 0, 0.25, 0.5, 1, 1])


@pytest.mark.parametrize(
    ("part", "name"),
    [("HEAD", "brain"), ("BRAIN", "brain"), ("CHEST", "lung"), ("ABDOMEN", "soft-tissue")],
)
def test_a_ct_is_shown_as_its_body_part_asks(part: str, name: str) -> None:
    volume = volume_of(ct_values(), modality="CT", body_part=part, window=(1.0, 2.0))
    window = choose_window(volume)
    assert window.name == name
    assert part.lower() in window.reason


def test_a_ct_of_an_unknown_part_takes_the_stored_window_then_soft_tissue() -> None:
    stored = choose_window(volume_of(ct_values(), modality="CT", window=(30.0, 100.0)))
    assert (stored.name, stored.low, stored.high) == ("stored", -20, 80)
    neither = choose_window(volume_of(ct_values(), modality="CT", body_part="FOOT"))
    assert (neither.name, neither.low, neither.high) == ("soft-tissue", -150, 250)
    broken = choose_window(volume_of(ct_values(), modality="CT", window=(30.0, float("nan"))))
    assert broken.name == "soft-tissue"


def test_a_nifti_with_hounsfield_values_counts_as_a_ct_and_says_so() -> None:
    window = choose_window(volume_of(ct_values(), origin="nifti"))
    assert window.name == "soft-tissue"
    assert "values are those of a CT" in window.reason


@pytest.mark.parametrize(
    "voxels",
    [
        np.random.default_rng(0).normal(0, 1, (2, 30, 30)),  # standardised MR
        np.random.default_rng(0).uniform(0, 900, (2, 30, 30)),  # MR magnitude
        np.random.default_rng(0).integers(-4096, 4095, (2, 30, 30)),  # MR phase
    ],
)
def test_a_nifti_of_another_kind_is_scaled_by_percentiles(voxels: np.ndarray) -> None:
    assert choose_window(volume_of(voxels, origin="nifti")).name == "percentile"


def test_percentiles_leave_out_padding_and_ignore_a_hot_voxel() -> None:
    voxels = np.zeros((1, 100, 101))
    voxels[0, :, :10] = np.linspace(100, 200, 1000).reshape(100, 10)
    voxels[0, 50, 50] = 1e6
    window = choose_window(volume_of(voxels, modality="MR"))
    # 0.5 % and 99.5 % of 1001 sorted values: numbers 5 and 995 of a ramp of 100/999 a step.
    assert window.low == pytest.approx(100 + 5 * 100 / 999, abs=1e-3)
    assert window.high == pytest.approx(100 + 995 * 100 / 999, abs=1e-3)


def test_photographs_and_colour_images_stay_as_they_are() -> None:
    photograph = volume_of(np.full((1, 4, 5), 51.0), origin="image")
    window = choose_window(photograph)
    assert (window.name, window.low, window.high) == ("as-is", 0, 255)
    np.testing.assert_allclose(apply_window(photograph.voxels, window), 0.2)
    assert choose_window(volume_of(np.full((1, 4, 5, 3), 9.0), modality="US")).name == "as-is"
    deep = choose_window(volume_of(np.full((1, 4, 5, 3), 40000.0), modality="XC"))
    assert deep.high == 65535


def test_numbers_make_a_window() -> None:
    window = choose_window(volume_of(np.zeros((1, 2, 2))), " -600, 1500 ")
    assert (window.name, window.low, window.high) == ("custom", -1350, 150)


@pytest.mark.parametrize("text", ["40,0", "40,-80", "nan,80", "40,inf", "a,b", "1,2,3", ","])
def test_numbers_that_make_no_window_are_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="width above 0"):
        choose_window(volume_of(np.zeros((1, 2, 2))), text)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSettings, match="brain, subdural, stroke, bone, lung") as caught:
        choose_window(volume_of(np.zeros((1, 2, 2))), "brian")
    assert caught.value.code == "unknown-window"


@pytest.mark.parametrize("value", [0.0, 7.0, -3.5, 1e20])
def test_a_constant_image_becomes_black(value: float) -> None:
    volume = volume_of(np.full((2, 3, 4), value), modality="MR")
    grey = apply_window(volume.voxels, choose_window(volume))
    np.testing.assert_array_equal(grey, np.zeros((2, 3, 4)))


def test_values_that_are_not_numbers_turn_black_and_change_nothing_else() -> None:
    clean = np.random.default_rng(1).uniform(10, 500, (2, 20, 30)).astype(np.float32)
    spoilt = clean.copy()
    spoilt[0, 0, 0], spoilt[0, 0, 1], spoilt[1, 2, 3] = np.nan, -np.inf, np.inf
    window = choose_window(volume_of(spoilt, modality="MR"))
    grey = apply_window(spoilt, window)
    assert [grey[0, 0, 0], grey[0, 0, 1], grey[1, 2, 3]] == [0, 0, 1]
    untouched = np.isfinite(spoilt)
    np.testing.assert_array_equal(grey[untouched], apply_window(clean, window)[untouched])


def test_a_volume_without_a_single_number_becomes_black() -> None:
    volume = volume_of(np.full((1, 3, 3), np.nan), modality="MR")
    assert not apply_window(volume.voxels, choose_window(volume)).any()
    assert choose_window(volume_of(volume.voxels, origin="nifti")).name == "percentile"


@tries(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=40),
    st.sampled_from(["auto", "percentile", *CT_WINDOWS_HU]),
)
def test_grey_levels_always_lie_in_0_to_1_and_keep_the_order(
    values: list[float], name: str
) -> None:
    volume = volume_of(np.array(values, dtype=np.float32)[None, None], modality="MR")
    window = choose_window(volume, name)
    assert window.low < window.high
    grey = apply_window(volume.voxels, window).ravel()
    assert grey.min() >= 0
    assert grey.max() <= 1
    numbers = np.flatnonzero(~np.isnan(np.array(values)))
    order = numbers[np.argsort(volume.voxels.ravel()[numbers], kind="stable")]
    assert (np.diff(grey[order]) >= 0).all()


def test_the_input_is_left_alone() -> None:
    voxels = np.array([[[1.0, np.nan, 90.0]]], dtype=np.float32)
    before = voxels.copy()
    apply_window(voxels, WindowUsed("x", 0.0, 80.0, ""))
    np.testing.assert_array_equal(voxels, before)


def test_values_closer_than_float32_can_tell_do_not_divide_by_nothing() -> None:
    grey = apply_window(np.array([1000.0]), WindowUsed("x", 1000.0, 1000.0 + 1e-9, ""))
    np.testing.assert_array_equal(grey, [0])
