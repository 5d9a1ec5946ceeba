"""Metrics: values worked out by hand, scikit-learn, and an independent brute force."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.metrics import image_metrics, interval, pixel_metrics
from headclip_med.metrics.bootstrap import bootstrap_draws
from headclip_med.metrics.exact import BLOCK
from headclip_med.metrics.ranking import rank_images, rank_pixels
from headclip_med.metrics.scores import require_same_shape
from tests.per_threshold import exact_by_loops

NAMES = {"auroc": "AUROC", "aupro": "AUPRO", "ap": "AP", "f1max": "F1-max", "ioumax": "IoU-max"}


def test_image_metrics_by_hand() -> None:
    # Sorted: abnormal .9, normal .7, abnormal .6, normal .2. Of the four pairs one is wrong.
    found = image_metrics(np.array([0.2, 0.9, 0.6, 0.7]), np.array([0, 1, 1, 0]))
    assert found == pytest.approx(
        {
            "AUROC": 3 / 4,
            "AP": 1 / 2 * 1 + 1 / 2 * 2 / 3,
            "F1-max": 2 * 2 / (3 + 2),
            "mAD": (3 / 4 + 5 / 6 + 4 / 5) / 3,
        }
    )


def test_equal_scores_are_one_threshold_and_half_a_pair() -> None:
    found = image_metrics(np.array([0.5, 0.5, 0.5, 0.1]), np.array([1, 0, 1, 0]))
    assert found["AUROC"] == pytest.approx((2 * 0.5 + 2) / 4)
    assert found["AP"] == pytest.approx(2 / 3)


def test_pixel_metrics_by_hand() -> None:
    # One row of ten: a region of one pixel, a region of two, seven normal pixels.
    mask = np.array([[[1, 0, 1, 1, 0, 0, 0, 0, 0, 0]]], dtype=bool)
    maps = np.array([[[0.9, 0.8, 0.7, 0.2, 0.6, 0.5, 0.4, 0.3, 0.1, 0.0]]])
    found = pixel_metrics(maps, mask)
    assert found["AUROC"] == pytest.approx((7 + 6 + 2) / 21)
    assert found["AP"] == pytest.approx((1 + 2 / 3 + 3 / 8) / 3)
    assert found["F1-max"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["IoU-max"] == pytest.approx(2 / 4)
    # Overlap is 1/2 up to a false positive rate of 1/7, then 3/4 up to 5/7, so at 0.3 it is 3/4.
    assert found["AUPRO"] == pytest.approx((1 / 2 / 7 + 3 / 4 * (0.3 - 1 / 7)) / 0.3)
    assert found["mAD"] == pytest.approx(sum(v for k, v in found.items() if k != "mAD") / 5)


def test_overlap_is_interpolated_at_the_limit() -> None:
    # All pixels equal: one straight line from (0, 0) to (1, 1), so 0.3 / 2.
    mask = np.zeros((1, 4, 5), dtype=bool)
    mask[0, 1, 1] = True
    assert pixel_metrics(np.full((1, 4, 5), 0.5), mask)["AUPRO"] == pytest.approx(0.15)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((1, 4, 4), dtype=bool)
    mask[0, [0, 1, 3, 3], [0, 1, 3, 2]] = True  # two regions of two pixels
    maps = np.where(mask, 1.0, 0.0)
    maps[0, 3, 2] = -1
    found = pixel_metrics(maps, mask)
    assert found["AUPRO"] == pytest.approx(0.75)


def test_normal_images_count_towards_false_alarms() -> None:
    mask = np.zeros((1, 2, 2), dtype=bool)
    mask[0, 0, 0] = True
    maps = np.where(mask, 0.5, 0.0)
    alone = pixel_metrics(maps, mask)
    with_normal = pixel_metrics(
        np.concatenate([maps, np.full((1, 2, 2), 0.9)]), np.concatenate([mask, ~mask & mask])
    )
    assert alone["AUROC"] == 1
    assert with_normal["AUROC"] == pytest.approx(3 / 7)


def test_pixels_outside_do_not_count() -> None:
    mask = np.array([[[1, 1, 0, 0]]], dtype=bool)
    maps = np.array([[[0.9, 0.1, 0.5, 0.95]]])
    inside = np.array([[[1, 0, 1, 0]]], dtype=bool)
    assert pixel_metrics(maps, mask, inside=inside)["AUPRO"] == pytest.approx(1)
    assert pixel_metrics(maps, mask)["AUROC"] == pytest.approx(1 / 4)


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_alone_has_no_metrics(value: int) -> None:
    images = image_metrics(np.array([0.1, 0.2]), np.full(2, value))
    pixels = pixel_metrics(np.ones((1, 2, 2)), np.full((1, 2, 2), bool(value)))
    assert all(math.isnan(number) for number in (*images.values(), *pixels.values()))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_numbers_are_an_error(value: float) -> None:
    with pytest.raises(HeadClipError, match="have no order"):
        image_metrics(np.array([0.1, value]), np.array([0, 1]))
    with pytest.raises(HeadClipError, match="have no order"):
        pixel_metrics(np.full((1, 2, 2), value), np.eye(2, dtype=bool)[None])


def test_labels_other_than_0_and_1_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"0 \(normal\) or 1"):
        image_metrics(np.array([0.1, 0.2]), np.array([1, 2]))


def test_an_unknown_protocol_is_an_error() -> None:
    with pytest.raises(
        (InvalidSettings, TypeError)
    ):  # the shape checker may be the first to object
        pixel_metrics(np.ones((1, 2, 2)), np.eye(2, dtype=bool)[None], protocol="grid")  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 1)), min_size=2))
def test_image_metrics_agree_with_scikit_learn(rows: list[tuple[float, int]]) -> None:
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    found = image_metrics(scores, labels)
    if 0 < labels.sum() < len(labels):
        assert found["AUROC"] == pytest.approx(roc_auc_score(labels, scores))
        assert found["AP"] == pytest.approx(average_precision_score(labels, scores))


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_only_the_order_of_scores_counts(seed: int, gain: float, offset: float) -> None:
    random = np.random.default_rng(seed)
    masks = random.random((2, 7, 5)) < 0.3
    maps = random.integers(0, 9, (2, 7, 5)).astype(np.float64)
    before, after = pixel_metrics(maps, masks), pixel_metrics(maps * gain + offset, masks)
    assert after == pytest.approx(before, nan_ok=True)
    assert before["IoU-max"] == pytest.approx(before["F1-max"] / (2 - before["F1-max"]))


@given(st.integers(0, 10_000), st.sampled_from([1, 2, None]))
def test_pixels_agree_with_loops_over_every_threshold(seed: int, decimals: int | None) -> None:
    random = np.random.default_rng(seed)
    masks = random.random((3, 8, 9)) < random.uniform(0.02, 0.5)
    maps = (random.normal(0, 1, masks.shape) + masks).astype(np.float32)
    maps = maps if decimals is None else maps.round(decimals)
    if not masks.any():
        return
    found = pixel_metrics(maps, masks)
    for name, expected in exact_by_loops(maps, masks).items():
        assert found[name] == pytest.approx(expected, abs=1e-9), name
    labels, scores = masks.ravel(), maps.ravel()
    assert found["AUROC"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert found["AP"] == pytest.approx(average_precision_score(labels, scores), abs=1e-9)


@given(st.integers(0, 10_000))
def test_neither_the_order_of_images_nor_a_mirror_counts(seed: int) -> None:
    random = np.random.default_rng(seed)
    masks = random.random((4, 6, 7)) < 0.2
    maps = random.integers(0, 20, masks.shape).astype(np.float32)
    order = random.permutation(4)
    for protocol in ("exact", "paper"):
        before = pixel_metrics(maps, masks, protocol)
        assert pixel_metrics(maps[order], masks[order], protocol) == pytest.approx(
            before, nan_ok=True
        )
        mirrored = pixel_metrics(maps[:, ::-1, ::-1], masks[:, ::-1, ::-1], protocol)
        assert mirrored == pytest.approx(before, nan_ok=True)


def test_more_scores_than_one_block_are_counted_alike() -> None:
    random = np.random.default_rng(2)
    masks = random.random((2, 300, 200)) < 0.4
    maps = (random.normal(0, 1, masks.shape) + masks).astype(np.float32).round(4)
    assert masks.sum() > 2 * BLOCK
    expected = rank_pixels(maps, masks).metrics()
    assert pixel_metrics(maps, masks) == pytest.approx(expected, abs=1e-12)


def test_minus_zero_is_zero_and_float64_keeps_its_order() -> None:
    mask = np.array([[[True, False]]])
    assert pixel_metrics(np.array([[[-0.0, 0.0]]], dtype=np.float32), mask)["AUROC"] == 0.5
    assert pixel_metrics(np.array([[[1 + 1e-12, 1]]]), mask)["AUROC"] == 1


def test_masks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="resize one"):
        require_same_shape(np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), None, np.zeros((1, 2, 8)))
    for judge in (pixel_metrics, rank_pixels):
        with pytest.raises((ValueError, TypeError)):  # the shape checker may be the first to object
            judge(np.zeros((1, 4, 4)), np.eye(2, dtype=bool)[None])


def test_half_precision_is_refused() -> None:
    maps, masks = np.zeros((1, 2, 2), dtype=np.float16), np.eye(2, dtype=bool)[None]
    for judge in (pixel_metrics, rank_pixels):
        with pytest.raises(InvalidSettings, match="Keep float32"):
            judge(maps, masks)
    with pytest.raises(InvalidSettings, match="Keep float32"):
        image_metrics(np.zeros(2, dtype=np.float16), np.array([0, 1]))


def test_counting_an_image_twice_is_the_same_as_having_it_twice() -> None:
    random = np.random.default_rng(3)
    maps, masks = random.random((3, 6, 5)).round(1), random.random((3, 6, 5)) < 0.3
    counted = rank_pixels(maps, masks).metrics(np.array([2, 0, 1]))
    assert counted == pytest.approx(pixel_metrics(maps[[0, 0, 2]], masks[[0, 0, 2]]))
    scores, labels = random.random(5), np.array([0, 1, 1, 0, 1])
    twice = rank_images(scores, labels).metrics(np.array([1, 2, 0, 1, 1]))
    assert twice == pytest.approx(image_metrics(scores[[0, 1, 1, 3, 4]], labels[[0, 1, 1, 3, 4]]))


def test_pixels_agree_with_the_brute_force(oracles: Path) -> None:
    inputs = np.load(oracles / "metrics" / "inputs.npz")
    outputs = np.load(oracles / "metrics" / "outputs.npz")
    cases = [key.removesuffix("/maps") for key in inputs if key.endswith("/maps")]
    assert len(cases) > 10
    for case in cases:
        found = pixel_metrics(inputs[f"{case}/maps"], inputs[f"{case}/masks"].astype(bool))
        for theirs, ours in NAMES.items():
            expected = float(outputs[f"{case}/exact/{theirs}_f64"])
            assert found[ours] == pytest.approx(expected, abs=1e-9, nan_ok=True), (case, ours)


def test_images_agree_with_the_brute_force(oracles: Path) -> None:
    inputs = np.load(oracles / "metrics" / "inputs.npz")
    outputs = np.load(oracles / "metrics" / "outputs.npz")
    for case in ("image_balanced", "image_ties", "image_one_class", "image_tiny"):
        found = image_metrics(inputs[f"{case}/scores"], inputs[f"{case}/labels"])
        for theirs in ("auroc", "ap", "f1max"):
            expected = float(outputs[f"{case}/exact/{theirs}_f64"])
            assert found[NAMES[theirs]] == pytest.approx(expected, abs=1e-9, nan_ok=True), case


def mean(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(values.mean())}


def intervals(*arguments: Any, **named: Any) -> dict[str, tuple[float, float]]:
    drawn = bootstrap_draws(*arguments, **named)
    return {name: interval(values) for name, values in drawn.items()}


def test_the_interval_of_a_mean_is_the_textbook_s() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = intervals(mean, values, seed=1)["mean"]
    error = values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.03)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.03)


def test_rows_of_a_group_are_drawn_together() -> None:
    values = np.repeat([0.0, 1.0], 50)
    alone = intervals(mean, values, seed=0, repeats=200)["mean"]
    together = intervals(mean, values, groups=values, seed=0, repeats=200)["mean"]
    assert together == (0, 1)
    assert alone[1] - alone[0] < 0.25


def test_draws_repeat_with_their_seed_and_undefined_ones_are_left_out() -> None:
    scores, labels = np.array([0.1, 0.9, 0.4]), np.array([0, 1, 0])
    first = intervals(image_metrics, scores, labels, seed=5, repeats=50)
    assert first == intervals(image_metrics, scores, labels, seed=5, repeats=50)
    assert first["AUROC"] == (1, 1)
    never = intervals(image_metrics, scores, np.ones(3, dtype=int), repeats=5)
    assert math.isnan(never["AUROC"][0])
