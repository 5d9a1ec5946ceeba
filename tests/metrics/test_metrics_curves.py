"""Curves: points by hand, areas that are the metrics, and the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.errors import InvalidSettings
from headclip_med.metrics import Curves, image_curves, image_metrics, pixel_metrics
from headclip_med.metrics.pooled import pool_pixels
from headclip_med.write.pictures.curves import write_curves


def area(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def pixels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    maps = random.normal(0, 1, (3, 40, 50)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[0, 5:20, 5:30] = masks[1, 30:33, 40:45] = True
    maps[masks] += 1
    return maps, masks


def test_the_points_of_four_images_by_hand() -> None:
    # Sorted: abnormal .9, normal .7, abnormal .6, normal .2.
    curves = image_curves(np.array([0.2, 0.9, 0.6, 0.7]), np.array([0, 1, 1, 0]))
    assert curves.false_positive_rate.tolist() == [0, 0, 0, 0.5, 0.5, 1]
    assert curves.recall.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert curves.precision[2:].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert np.isnan(curves.precision[:2]).all()
    assert curves.overlap is None
    assert set(curves.lines()) == {"ROC", "PR"}


def test_equal_scores_are_one_slanted_line() -> None:
    curves = image_curves(np.array([0.5, 0.5, 0.5]), np.array([1, 0, 0]))
    assert curves.false_positive_rate.tolist() == [0, 0, 1, 1]
    assert curves.recall.tolist() == [0, 0, 1, 1]


def test_areas_below_the_curves_are_the_metrics() -> None:
    maps, masks = pixels()
    found = pixel_metrics(maps, masks)
    curves = Curves.of(pool_pixels(maps, masks), points=10_000)
    assert area(curves.false_positive_rate, curves.recall) == pytest.approx(found["AUROC"])
    assert curves.overlap is not None
    inside = curves.false_positive_rate <= 0.3
    x = np.append(curves.false_positive_rate[inside], 0.3)
    y = np.append(curves.overlap[inside], curves.overlap[inside][-1])  # level up to the limit
    assert area(x, y) / 0.3 == pytest.approx(found["AUPRO"])
    scores, labels = maps[0].ravel(), masks[0].ravel()
    images = image_curves(scores, labels)
    assert area(images.false_positive_rate, images.recall) == pytest.approx(
        image_metrics(scores, labels)["AUROC"]
    )


def test_thinned_curves_stay_close() -> None:
    maps, masks = pixels()
    full = Curves.of(pool_pixels(maps, masks), points=10_000)
    thin = Curves.of(pool_pixels(maps, masks), points=50)
    assert 50 < len(thin.recall) < 130
    shown = np.interp(full.false_positive_rate, thin.false_positive_rate, thin.recall)
    assert np.abs(shown - full.recall).max() < 2 / 50


def test_one_class_alone_has_no_points() -> None:
    curves = image_curves(np.array([0.1, 0.2]), np.array([1, 1]))
    assert len(curves.recall) == len(curves.lines()["PR"][0]) == 0


def test_a_picture_has_a_panel_for_each_kind_and_is_the_same_each_time(tmp_path: Path) -> None:
    maps, masks = pixels()
    lines = Curves.of(pool_pixels(maps, masks)).lines()
    write_curves(tmp_path / "all.png", {"model $1$": lines, "_other": lines}, title="A $et")
    write_curves(tmp_path / "again.png", {"model $1$": lines, "_other": lines}, title="A $et")
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    write_curves(tmp_path / "roc.png", {"model": {"ROC": lines["ROC"]}})
    with Image.open(tmp_path / "all.png") as three, Image.open(tmp_path / "roc.png") as one:
        assert three.width == 3 * one.width
        assert np.asarray(three.convert("L")).std() > 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.png", "all.png", "roc.png"]


@pytest.mark.parametrize(
    "curves", [{}, {"model": {}}, {"model": {"DET": (np.ones(2), np.ones(2))}}]
)
def test_no_curve_or_an_unknown_one_is_refused(curves: dict, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="ROC, PR, PRO"):
        write_curves(tmp_path / "none.png", curves)
    assert list(tmp_path.iterdir()) == []
