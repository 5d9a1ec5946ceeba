"""Bootstrap draws from counts at a grid: those from all pixels, nearly to the last digit."""

from __future__ import annotations

import numpy as np
import pytest

from headclip_med.metrics import PixelDraws, PixelMetrics, pixel_metrics
from headclip_med.metrics.bootstrap import bootstrap_draws
from headclip_med.metrics.ranking import rank_pixels


def noisy(
    images: int = 12, side: int = 32, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Maps that are higher where a square is abnormal, in two thirds of the images."""
    random = np.random.default_rng(seed)
    maps = random.normal(size=(images, side, side)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    for number in range(images):
        if number % 3:
            top, left = random.integers(0, side - 8, 2)
            masks[number, top : top + 6, left : left + 4 + number % 4] = True
    maps[masks] += 1.2
    return maps, masks, random


def drawn(
    maps: np.ndarray, masks: np.ndarray, units: np.ndarray, *, grid: int = 2000, repeats: int = 25
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    count = int(units.max()) + 1
    with PixelMetrics() as pixels:
        pixels.update(maps, masks)
        values = pixels.compute()
        counted = PixelDraws(pixels.pooled(), count, grid)
    half = len(maps) // 2
    counted.update(maps[:half], masks[:half], units[:half])
    counted.update(maps[half:], masks[half:], units[half:])
    return values, counted.draws(values, seed=5, repeats=repeats)


def from_all_pixels(
    maps: np.ndarray, masks: np.ndarray, units: np.ndarray, repeats: int = 25
) -> dict[str, np.ndarray]:
    ranking, count = rank_pixels(maps, masks, units=units), int(units.max()) + 1
    return bootstrap_draws(
        lambda rows: ranking.metrics(np.bincount(rows, minlength=count)),
        np.arange(count),
        seed=5,
        repeats=repeats,
    )


@pytest.mark.parametrize("is_volume", [False, True])
def test_draws_are_those_of_all_pixels(is_volume: bool) -> None:
    maps, masks, _ = noisy()
    units = np.arange(12) // 3 if is_volume else np.arange(12)
    _, found = drawn(maps, masks, units)
    expected = from_all_pixels(maps, masks, units)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-6, err_msg=name)


def test_a_coarse_grid_costs_little() -> None:
    maps, masks, _ = noisy(60, 64)
    _, found = drawn(maps, masks, np.arange(60), grid=200)
    expected = from_all_pixels(maps, masks, np.arange(60))
    for name, values in expected.items():
        atol = 0.25 * float(np.std(values))
        np.testing.assert_allclose(found[name], values, atol=atol, err_msg=name)


def test_what_the_grid_loses_is_given_back() -> None:
    # One image only: every draw is that image, so its draws are the exact values themselves.
    maps, masks, _ = noisy(2)
    values, found = drawn(maps[1:], masks[1:], np.zeros(1, dtype=int), grid=3, repeats=4)
    assert values == pytest.approx(pixel_metrics(maps[1:], masks[1:]))
    for name, value in values.items():
        np.testing.assert_allclose(found[name], np.full(4, value), atol=1e-12)


def test_a_draw_of_one_class_is_undefined() -> None:
    maps, masks, _ = noisy(2)
    _, found = drawn(maps[:2], masks[:2], np.arange(2), repeats=40)
    counts = np.isnan(found["AUROC"]).sum()
    assert 0 < counts < 40, "normal image twice: no abnormal pixel"
    expected = from_all_pixels(maps[:2], masks[:2], np.arange(2), 40)
    np.testing.assert_array_equal(np.isnan(found["AP"]), np.isnan(expected["AP"]))


def test_without_abnormal_pixels_all_is_undefined() -> None:
    maps, masks, _ = noisy(3)
    _, found = drawn(maps, np.zeros_like(masks), np.arange(3), repeats=2)
    assert np.isnan(found["AUPRO"]).all()
