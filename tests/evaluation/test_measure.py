"""Measuring: from logits to the metrics of every smoothing, and to what a saturated map loses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from headclip_med.evaluation import measure as measuring
from headclip_med.evaluation.baselines import IMAGE_BASELINES, centre_maps, median_maps
from headclip_med.evaluation.measure import (
    Measured,
    ModelMaps,
    measure,
    measure_baselines,
    measure_centred,
    measure_joined,
)
from headclip_med.evaluation.models import draw_curves
from headclip_med.evaluation.predictions import Predictions
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.metrics import image_metrics, pixel_metrics, ranking
from headclip_med.models.maps import smooth
from headclip_med.settings import SIGMA_REFERENCE_PX, ScoreSettings
from headclip_med.transforms import joint_score, local_score

SIDE = 24
BOTH = EvaluationSettings(metrics="both")
BOTH_BRIEFLY = EvaluationSettings(metrics="both", intervals=False)
BRIEFLY = EvaluationSettings(intervals=False)
NO_BLUR = ScoreSettings(sigma_px=0.0, top_percent=10.0)


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "IMAGE_REPEATS", 20)
    monkeypatch.setattr(ranking, "PIXEL_REPEATS", 8)


def answers(
    logits: np.ndarray,
    masks: np.ndarray | None,
    *,
    labels: Sequence[int] | None = None,
    categories: Sequence[str] | None = None,
    global_scores: Sequence[float] | None = None,
    units: Sequence[int] | None = None,
) -> Predictions:
    count = len(logits)
    if labels is None:
        labels = [0] * count if masks is None else [int(mask.any()) for mask in masks]
    random = np.random.default_rng(3)
    return Predictions(
        dataset="made up",
        content_digest=None,
        image_size=logits.shape[-1],
        model={"method": "headclip"},
        categories=tuple(categories or ["only"] * count),
        ids=np.arange(count),
        units=np.arange(count) if units is None else np.array(units),
        labels=np.array(labels, dtype=bool),
        masks=masks,
        grey=random.random(logits.shape, dtype=np.float32),
        has_vanished=np.zeros(count, dtype=bool),
        logits=logits.astype(np.float32),
        global_scores=np.array(
            [0.5] * count if global_scores is None else global_scores, dtype=np.float32
        ),
    )


def noisy(count: int = 6, *, scale: float = 1.0, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Margins that are higher in a square of every other image."""
    random = np.random.default_rng(1)
    logits = random.normal(size=(count, side, side))
    masks = np.zeros(logits.shape, dtype=bool)
    masks[1::2, 4:12, 6:15] = True
    logits[masks] += 1.5
    return logits * scale, masks


def sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values)))


def plain(
    found: Measured, level: str, score: str, protocol: Protocol = "exact"
) -> dict[str, float]:
    metrics = found.metrics(level, score, protocol)
    assert metrics, "it was measured"
    return metrics


def test_pixels_by_hand() -> None:
    # Of two abnormal pixels one is highest and one below the two normal ones.
    logits = np.array([[[3.0, 1.0], [0.0, -1.0]]])
    masks = np.array([[[True, False], [False, True]]])
    found = plain(measure(answers(logits, masks), NO_BLUR, BRIEFLY), "pixels", "map")
    assert found["AUROC"] == pytest.approx(1 / 2)
    assert found["AP"] == pytest.approx((1 + 2 / 4) / 2)


def test_images_by_hand() -> None:
    logits = np.log(np.array([0.2, 0.6, 0.3, 0.9]) / np.array([0.8, 0.4, 0.7, 0.1]))
    made = answers(
        np.broadcast_to(logits[:, None, None], (4, 2, 2)),
        None,
        labels=[0, 1, 0, 1],
        global_scores=[0.9, 0.1, 0.1, 0.5],
    )
    scores = replace(NO_BLUR, joint_weight=0.25)
    np.testing.assert_allclose(
        ModelMaps(made, scores).local_scores(), [0.2, 0.6, 0.3, 0.9], atol=1e-7
    )
    found = measure(made, scores, BRIEFLY)
    assert plain(found, "images", "local")["AUROC"] == 1
    # Pairs (abnormal, normal): .1 < .9, .1 = .1, .5 < .9, .5 > .1.
    assert plain(found, "images", "global")["AUROC"] == pytest.approx(1.5 / 4)
    # Joint: .375, .475, .25, .8: one pair of four is not wrong but right, all are.
    assert plain(found, "images", "joint")["AUROC"] == 1
    assert found.metrics("pixels", "map") == {}


@pytest.mark.parametrize("sigma_px", [0.0, 30.0])
def test_exact_metrics_on_logits_are_those_of_double_precision_maps(sigma_px: float) -> None:
    logits, masks = noisy()
    scores = ScoreSettings(sigma_px=sigma_px)
    maps = sigmoid(logits.astype(np.float32).astype(np.float64))
    if sigma_px:
        sigma = sigma_px * SIDE / SIGMA_REFERENCE_PX
        maps = np.stack([gaussian_filter(one, sigma) for one in maps])
    found = measure(answers(logits, masks), scores, BOTH_BRIEFLY)
    assert plain(found, "pixels", "map") == pytest.approx(pixel_metrics(maps, masks), abs=1e-9)
    by_paper = pixel_metrics(maps.astype(np.float32), masks, "paper")
    assert plain(found, "pixels", "map", "paper") == pytest.approx(by_paper, abs=1e-4)
    local = local_score(maps, scores.top_percent)
    labels = masks.any(axis=(1, 2))
    assert plain(found, "images", "local") == pytest.approx(image_metrics(local, labels))
    joint = joint_score(np.full(6, 0.5), local, scores.joint_weight)
    assert plain(found, "images", "joint") == pytest.approx(image_metrics(joint, labels))


@pytest.mark.parametrize("sigma_px", [0.0, 30.0])
def test_a_saturated_model_loses_no_ranking(sigma_px: float) -> None:
    logits, masks = noisy()
    saturated = logits * 4 + 40  # float32 maps are 1 all over
    scores = ScoreSettings(sigma_px=sigma_px)
    found = measure(answers(saturated, masks), scores, BOTH_BRIEFLY)
    maps = smooth(torch.from_numpy(saturated).float().sigmoid(), scores.sigma_at(SIDE)).numpy()
    assert pixel_metrics(maps, masks)["AUROC"] < 0.7
    assert plain(found, "pixels", "map")["AUROC"] > 0.8
    if sigma_px == 0:
        expected = pixel_metrics(saturated.astype(np.float32), masks)
        assert plain(found, "pixels", "map") == pytest.approx(expected, abs=1e-6)


def test_intervals_change_no_value_and_hold_it() -> None:
    logits, masks = noisy(10)
    made = answers(logits, masks)
    without = measure(made, NO_BLUR, BOTH_BRIEFLY)
    drawn = measure(made, NO_BLUR, BOTH)
    assert drawn.keys == without.keys
    for level, score, protocol in drawn.keys:
        values = plain(drawn, level, score, protocol)
        assert values == pytest.approx(plain(without, level, score, protocol))
        for one in without.estimates(level, score, protocol).values():
            assert not one.has_interval
        for name, one in drawn.estimates(level, score, protocol).items():
            assert one.has_interval == (protocol == "exact" or level == "images"), name
    auroc = drawn.estimates("pixels", "map")["AUROC"]
    assert auroc.low < auroc.value < auroc.high


def test_slices_of_a_volume_are_drawn_together() -> None:
    logits, masks = noisy(8)
    one_volume = measure(answers(logits, masks, units=[7] * 8), NO_BLUR)
    for found in (one_volume.estimates("pixels", "map"), one_volume.estimates("images", "local")):
        for one in found.values():
            assert one.low == pytest.approx(one.value)
            assert one.high == pytest.approx(one.value)


def test_categories_are_averaged_and_can_be_asked_for() -> None:
    logits, masks = noisy(8)
    logits[4:] = -logits[4:]  # the other way round
    names = ["good"] * 4 + ["bad"] * 4
    found = measure(answers(logits, masks, categories=names), NO_BLUR, BRIEFLY)
    good, bad = (found.metrics("pixels", "map", category=one)["AUROC"] for one in ("good", "bad"))
    assert bad < 0.5 < good
    assert good == pytest.approx(pixel_metrics(logits[:4], masks[:4])["AUROC"], abs=1e-6)
    assert found.metrics("pixels", "map")["AUROC"] == pytest.approx((good + bad) / 2)
    halves = [
        measure(answers(logits[at], masks[at], categories=names[at]), NO_BLUR, BRIEFLY)
        for at in (slice(0, 4), slice(4, 8))
    ]
    joined = halves[0].joined(halves[1])
    assert joined.metrics("pixels", "map") == pytest.approx(found.metrics("pixels", "map"))


def test_a_category_of_one_class_has_no_image_metrics_and_undefined_pixels() -> None:
    logits, masks = noisy(4)
    normal = np.zeros_like(masks)
    found = measure(answers(logits, normal), NO_BLUR)
    assert found.keys == (("pixels", "map", "exact"),)
    assert math.isnan(found.metrics("pixels", "map")["AUPRO"])
    assert not found.estimates("pixels", "map")["AP"].has_interval


def test_batches_do_not_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, masks = noisy(7)
    made = answers(logits, masks)
    whole = measure(made, NO_BLUR, BOTH)
    monkeypatch.setattr(measuring, "IMAGES_AT_ONCE", 2)
    parts = measure(made, NO_BLUR, BOTH)
    for key in whole.keys:
        assert parts.estimates(*key) == whole.estimates(*key)


def test_the_baselines_are_measured_on_the_same_images() -> None:
    logits, masks = noisy()
    made = answers(logits, masks)
    found = measure_baselines(made, 10.0, BOTH_BRIEFLY)
    maps = {
        "distance to the median": median_maps(made.grey),
        "centre prior": centre_maps(6, 24, 24),
    }
    assert set(found) == {*maps, *IMAGE_BASELINES}
    for judge, one in maps.items():
        for protocol in BOTH.protocols:
            expected = pixel_metrics(np.array(one), masks, protocol)
            assert plain(found[judge], "pixels", "map", protocol) == pytest.approx(expected)
        labels = masks.any(axis=(1, 2))
        expected = image_metrics(local_score(np.array(one), 10.0), labels)
        assert plain(found[judge], "images", "local") == pytest.approx(expected)


def test_maps_times_the_centre_prior_and_joined_with_sides_are_measured_as_any() -> None:
    logits, masks = noisy()
    made = answers(logits, masks)
    maps = 1 / (1 + np.exp(-made.logits.astype(np.float64)))
    centred = (maps * centre_maps(*maps.shape)).astype(np.float32)
    found = measure_centred(made, NO_BLUR, BRIEFLY)
    expected = pixel_metrics(centred, masks)
    assert plain(found, "pixels", "map", "exact") == pytest.approx(expected, abs=1e-6)
    assert measure_joined(made, NO_BLUR, BRIEFLY) is None
    sides = np.where(masks, 0.999, 0.0).astype(np.float32)
    with_sides = replace(made, side_maps=sides, side_scores=masks.any(axis=(1, 2)) * 1.0)
    joined = measure_joined(with_sides, NO_BLUR, BRIEFLY)
    assert joined is not None
    expected = pixel_metrics(np.maximum(maps, sides).astype(np.float32), masks)
    assert plain(joined, "pixels", "map", "exact") == pytest.approx(expected, abs=1e-6)
    unseen = replace(made, side_maps=0 * sides, side_scores=np.full(len(masks), np.nan))
    alone = measure(made, NO_BLUR, BRIEFLY)
    same = measure_joined(unseen, NO_BLUR, BRIEFLY)
    assert same is not None
    assert all(same.estimates(*key) == alone.estimates(*key) for key in alone.keys)


def test_mapped_answers_are_measured_as_those_in_memory(tmp_path: Path) -> None:
    logits, masks = noisy()
    made = answers(logits, masks)
    np.save(tmp_path / "logits.npy", made.logits)
    np.save(tmp_path / "masks.npy", masks)
    mapped = replace(
        made,
        logits=np.load(tmp_path / "logits.npy", mmap_mode="r"),
        masks=np.load(tmp_path / "masks.npy", mmap_mode="r"),
    )
    for key in (whole := measure(made, NO_BLUR, BOTH)).keys:
        assert measure(mapped, NO_BLUR, BOTH).estimates(*key) == whole.estimates(*key)


def test_curves_are_drawn_for_each_category_that_has_any(tmp_path: Path) -> None:
    logits, masks = noisy(8)
    names = ["a thing"] * 4 + ["lesions only"] * 4
    labels = [0, 1, 0, 1, 1, 1, 1, 1]
    made = answers(logits, masks, categories=names, labels=labels)
    written = draw_curves([made, made], [NO_BLUR, NO_BLUR], tmp_path / "curves")
    assert sorted(path.name for path in written) == [
        "made_up.a_thing.images.png",
        "made_up.a_thing.pixels.png",
        "made_up.lesions_only.pixels.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
