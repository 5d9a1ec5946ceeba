"""The paper protocol: published values, values by hand, and how it differs from the exact one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from headclip_med.metrics import image_metrics, pixel_metrics
from headclip_med.metrics.pooled import pool_images
from tests.per_threshold import published_overlap

PUBLISHED = {
    "AUPRO": "anomalyclip/aupro_200",
    "F1-max": "ader/f1max_grid",
    "IoU-max": "ader/ioumax_grid",
}


def test_a_grid_of_thresholds_by_hand() -> None:
    # Scores 0, 1, ..., 100: the grid has 0, 5, ..., 100 and calls what lies above. The abnormal are
    # 97, 98 and 99, so the best step is 95 (96 to 100: three right of five); exactly it is 97.
    maps = np.arange(101, dtype=np.float32)[None, None]
    masks = (maps >= 97) & (maps <= 99)
    paper, exact = pixel_metrics(maps, masks, "paper"), pixel_metrics(maps, masks)
    assert paper["F1-max"] == pytest.approx(2 * 3 / (5 + 3))
    assert paper["IoU-max"] == pytest.approx(3 / 5)
    assert exact["F1-max"] == pytest.approx(2 * 3 / (4 + 3))
    assert exact["IoU-max"] == pytest.approx(3 / 4)


def test_overlap_is_stretched_over_the_rates_that_are_left() -> None:
    # Steps of 0.5 over 0 ... 100. Of ten normal pixels one lies at 90, one at 50 and the rest at 0
    # to 7, so false positive rates below 0.3 are 0, 0.1 and 0.2. The region has 95 and 70:
    # overlap is 1/2 above 90, 1/2 down to 70 and 1 below. The points (0, 1/2 ... 1/2), (0.1, 1/2),
    # (0.1, 1), (0.2, 1) are stretched from [0, 0.2] to [0, 1].
    maps = np.array([[[100, 95, 70, 90, 50, 7, 6, 5, 4, 3, 2, 1, 0]]], dtype=np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[..., 1:3] = True
    maps, masks = maps[..., 1:], masks[..., 1:]
    found = pixel_metrics(maps, masks, "paper")
    assert found["AUPRO"] == pytest.approx((1 / 2 + 1) / 2, abs=1e-6)


def test_the_published_loop_gives_the_same() -> None:
    random = np.random.default_rng(5)
    maps = random.normal(0, 1, (3, 20, 30)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[0, 3:9, 4:12] = masks[0, 12:15, 20:28] = masks[2, 0:5, 0:5] = True
    maps[masks] += 1
    found = pixel_metrics(maps, masks, "paper")
    assert found["AUPRO"] == pytest.approx(published_overlap(maps, masks), abs=1e-9)


def test_only_the_exact_protocol_is_blind_to_the_scale_of_scores() -> None:
    random = np.random.default_rng(1)
    maps = random.normal(0, 1, (4, 30, 30)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[:2, 5:12, 8:20] = True
    maps[masks] += 1.5
    steep = np.exp(3 * maps.astype(np.float64))
    assert pixel_metrics(steep, masks) == pytest.approx(pixel_metrics(maps, masks))
    apart = {
        name: pixel_metrics(maps, masks, "paper")[name] - pixel_metrics(steep, masks, "paper")[name]
        for name in ("AUROC", "AP", "AUPRO", "F1-max", "IoU-max")
    }
    assert apart["AUROC"] == apart["AP"] == 0
    assert min(apart["AUPRO"], apart["F1-max"], apart["IoU-max"]) > 0.1


def test_where_the_published_loop_fails_there_is_no_number() -> None:
    mask = np.eye(3, dtype=bool)[None]
    constant = pixel_metrics(np.ones((1, 3, 3), dtype=np.float32), mask, "paper")
    assert math.isnan(constant["AUPRO"])
    assert math.isnan(constant["mAD"])
    assert constant["AUROC"] == 0.5


@pytest.mark.parametrize("value", [False, True])
def test_one_class_alone_has_no_metrics(value: bool) -> None:
    masks = np.full((1, 2, 3), value)
    maps = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert all(math.isnan(number) for number in pixel_metrics(maps, masks, "paper").values())


def test_images_are_exact_in_both_protocols() -> None:
    scores, labels = np.array([0.1, 0.5, 0.5, 0.9]), np.array([0, 1, 0, 1])
    assert pool_images(scores, labels).metrics("paper") == image_metrics(scores, labels)


def test_values_of_the_published_code(oracles: Path) -> None:
    inputs = np.load(oracles / "metrics" / "inputs.npz")
    outputs = np.load(oracles / "metrics" / "outputs.npz")
    cases = [key.removesuffix("/maps") for key in inputs if key.endswith("/maps")]
    assert len(cases) > 10
    for case in cases:
        masks = inputs[f"{case}/masks"].astype(bool)
        if not masks.any():
            continue  # the published code makes up a 0 here
        found = pixel_metrics(inputs[f"{case}/maps"], masks, "paper")
        for ours, theirs in PUBLISHED.items():
            expected = float(outputs[f"{case}/{theirs}_f64"])
            assert found[ours] == pytest.approx(expected, abs=1e-6, nan_ok=True), (case, ours)
