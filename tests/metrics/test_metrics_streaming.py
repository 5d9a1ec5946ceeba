"""Streaming: the values of all maps at once, whatever the batches, in memory or on the disk."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.metrics import Curves, PixelMetrics, Protocol, distinct, pixel_metrics
from headclip_med.metrics.pooled import pool_pixels


def drawn(seed: int, images: int, *, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    maps = random.normal(0, 1, (images, 24, 31)).astype(np.float32)
    masks = random.random((images, 24, 31)) < 0.02
    masks[0, 4:9, 3:20] = True
    maps[masks] += 1
    return (maps if decimals is None else maps.round(decimals)), masks


def streamed(pixels: PixelMetrics, maps: np.ndarray, masks: np.ndarray, sizes: list[int]) -> None:
    start = 0
    for size in sizes:
        pixels.update(maps[start : start + size], masks[start : start + size])
        start += size
    pixels.update(maps[start:], masks[start:])


def with_little_memory(**more: object) -> PixelMetrics:
    pixels = PixelMetrics(memory_mb=1, **more)  # type: ignore[arg-type]
    pixels._most_bytes = 30_000  # a few images, so that a test is quick
    return pixels


@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.integers(0, 4), max_size=4),
    decimals=st.sampled_from([None, 1]),
    is_little=st.booleans(),
)
def test_a_stream_has_the_values_of_all_at_once(
    seed: int, sizes: list[int], decimals: int | None, is_little: bool
) -> None:
    maps, masks = drawn(seed, 16, decimals=decimals)
    with with_little_memory() if is_little else PixelMetrics() as pixels:
        streamed(pixels, maps, masks, sizes)
        for protocol in ("exact", "paper"):
            at_once = pixel_metrics(maps, masks, protocol)
            assert pixels.compute(protocol) == pytest.approx(at_once, abs=1e-12)


def test_scores_that_do_not_fit_go_to_files_and_these_go_away(tmp_path: Path) -> None:
    maps, masks = drawn(0, 40)
    with with_little_memory(spill_folder=tmp_path) as pixels:
        streamed(pixels, maps, masks, [1] * 40)
        pixels.compute()
        written = sum(file.stat().st_size for file in tmp_path.rglob("*.npy"))
        headers = 128 * len(list(tmp_path.rglob("*.npy")))
        assert 0 < written - headers <= 8 * maps.size + 16 * masks.sum()
        held = [store.raw_bytes() + store.settled_bytes() for store in pixels._stores.values()]
        assert sum(held) <= 30_000
    assert list(tmp_path.iterdir()) == []


def test_equal_scores_need_no_disk_however_many_there_are(tmp_path: Path) -> None:
    maps, masks = drawn(0, 200, decimals=1)
    with with_little_memory(spill_folder=tmp_path) as pixels:
        streamed(pixels, maps, masks, [7] * 28)
        assert list(tmp_path.iterdir()) == []
        assert pixels.compute() == pytest.approx(pixel_metrics(maps, masks), abs=1e-12)


def test_more_maps_may_follow_a_result() -> None:
    maps, masks = drawn(3, 6)
    pixels = PixelMetrics("paper")
    pixels.update(maps[:3], masks[:3])
    assert pixels.compute() == pytest.approx(pixel_metrics(maps[:3], masks[:3], "paper"))
    assert pixels.compute() == pixels.compute()
    pixels.update(maps[3:], masks[3:])
    assert pixels.compute() == pytest.approx(pixel_metrics(maps, masks, "paper"))


def test_maps_may_differ_in_size_and_have_an_inside() -> None:
    maps, masks = drawn(4, 4)
    inside = np.random.default_rng(4).random(maps.shape) < 0.7
    pixels = PixelMetrics()
    pixels.update(maps[:1, :, :10], masks[:1, :, :10], inside=inside[:1, :, :10])
    pixels.update(maps[1:], masks[1:], inside=inside[1:])
    inside[:1, :, 10:] = False
    assert pixels.compute() == pytest.approx(pixel_metrics(maps, masks, inside=inside))


def test_the_maps_given_may_be_used_again() -> None:
    maps, masks = drawn(5, 3)
    before = maps.copy()
    pixels = PixelMetrics()
    pixels.update(maps, masks)
    maps[:] = 0
    expected = pixel_metrics(before, masks)
    assert pixels.compute() == pytest.approx(expected)
    fresh = before.copy()
    pixel_metrics(fresh, masks)
    assert np.array_equal(fresh, before)


def test_curves_come_from_a_stream_as_well() -> None:
    maps, masks = drawn(6, 8)
    with with_little_memory() as pixels:
        streamed(pixels, maps, masks, [3])
        ours, expected = Curves.of(pixels.pooled()), Curves.of(pool_pixels(maps, masks))
    # Blocks end elsewhere, so thinning may keep other points; without thinning they are the same.
    assert np.allclose(ours.recall, expected.recall)
    assert np.allclose(ours.false_positive_rate, expected.false_positive_rate)


def test_counts_that_might_pass_their_32_bits_start_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(distinct, "MOST_PIXELS", 2000)
    maps, masks = drawn(7, 12, decimals=1)
    with PixelMetrics(spill_folder=tmp_path) as pixels:
        streamed(pixels, maps, masks, [1] * 11)
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.npy")) > 0
        assert pixels.compute() == pytest.approx(pixel_metrics(maps, masks), abs=1e-12)


def test_nothing_yet_is_undefined() -> None:
    pixels = PixelMetrics()
    assert all(math.isnan(value) for value in pixels.compute().values())
    assert all(math.isnan(value) for value in pixels.compute("paper").values())


def test_other_precisions_are_refused() -> None:
    maps, masks = np.zeros((1, 2, 2)), np.eye(2, dtype=bool)[None]
    with pytest.raises(InvalidSettings, match=r"float64\. Convert"):
        PixelMetrics().update(maps, masks)
    with pytest.raises(InvalidSettings, match="half precision"):
        PixelMetrics().update(maps.astype(np.float16), masks)


def test_a_bad_map_is_refused_and_nothing_of_it_counts() -> None:
    maps, masks = drawn(8, 4)
    pixels = PixelMetrics()
    pixels.update(maps, masks)
    bad = maps.copy()
    bad[2, 3, 4] = np.nan
    with pytest.raises(HeadClipError, match="have no order"):
        pixels.update(bad, masks)
    assert pixels.compute() == pytest.approx(pixel_metrics(maps, masks))


def test_a_disk_without_room_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    maps, masks = drawn(9, 40)
    with (
        with_little_memory(spill_folder=tmp_path / "is not there") as pixels,
        pytest.raises(HeadClipError, match="another spill_folder"),
    ):
        streamed(pixels, maps, masks, [1] * 40)


@pytest.mark.parametrize("protocol", ["exact", "paper"])
def test_memory_of_no_size_is_refused(protocol: Protocol) -> None:
    with pytest.raises(InvalidSettings, match="at least 1"):
        PixelMetrics(protocol, memory_mb=0)


STREAM = """
import resource, sys
import numpy as np
from headclip_med.metrics import PixelMetrics
random = np.random.default_rng(0)
masks = np.zeros((1, 512, 512), dtype=bool)
masks[0, :80, :80] = True
with PixelMetrics(memory_mb=64) as pixels:
    for _ in range(int(sys.argv[1])):
        pixels.update(random.normal(size=masks.shape).astype(np.float32), masks)
    pixels.compute()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_maps() -> None:
    few, many = (
        float(subprocess.check_output([sys.executable, "-c", STREAM, str(count)]))
        for count in (100, 400)  # 105 and 420 MB of maps, all scores distinct
    )
    assert many < few + 64
