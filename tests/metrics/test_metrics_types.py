"""Masks and labels of any type that says yes or no give the same metrics; others are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from headclip_med.errors import InvalidSettings
from headclip_med.metrics import PixelMetrics, image_metrics, pixel_metrics

MAPS = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
TRUTH = np.zeros((3, 8, 8), bool)
TRUTH[0, 2:5, 2:5] = True
SCORES, LABELS = np.array([0.9, 0.2, 0.4, 0.7]), np.array([1, 0, 1, 0])

TYPES: dict[str, Callable[[np.ndarray], Any]] = {
    "bool": lambda a: a,
    "uint8": lambda a: a.astype(np.uint8),
    "uint8 255": lambda a: a.astype(np.uint8) * 255,
    "int64": lambda a: a.astype(np.int64),
    "uint16": lambda a: a.astype(np.uint16),
    "float32": lambda a: a.astype(np.float32),
    "float64 255": lambda a: a.astype(float) * 255,
    "lists": lambda a: a.tolist(),
    "tensor of bool": torch.from_numpy,
    "tensor of float": lambda a: torch.from_numpy(a).float().requires_grad_(),
    "tensor of uint8": lambda a: torch.from_numpy(a).byte(),
}


@pytest.mark.parametrize("kind", TYPES)
def test_masks_of_any_type_that_says_yes_or_no_count_alike(kind: str) -> None:
    masks, expected = TYPES[kind](TRUTH), pixel_metrics(MAPS, TRUTH)
    assert pixel_metrics(MAPS, masks) == expected
    assert pixel_metrics(
        torch.from_numpy(MAPS), masks, inside=TYPES[kind](np.ones_like(TRUTH))
    ) == (expected)
    with PixelMetrics() as pixels:
        pixels.update(MAPS, masks)
        assert pixels.compute() == pytest.approx(expected)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if "255" not in kind])
def test_labels_of_any_type_count_alike(kind: str) -> None:
    """Of a plain list ``labels == 1`` is one False, and would choose no image."""
    labels = TYPES[kind](LABELS.astype(bool))
    expected = {"AUROC": 0.75, "AP": pytest.approx((1 + 2 / 3) / 2)}
    found = image_metrics(SCORES.tolist(), labels)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "masks",
    [
        TRUTH * 2, TRUTH * 0.5, TRUTH * -1, np.where(TRUTH, np.nan, 0), TRUTH * 254,
        np.where(TRUTH, 255, 1), TRUTH.astype(str), TRUTH * 1j,
    ],
)  # fmt: skip
def test_what_does_not_say_yes_or_no_is_refused_in_a_sentence(masks: np.ndarray) -> None:
    with pytest.raises(InvalidSettings, match=r"Masks and labels must .* Give mask > 0"):
        pixel_metrics(MAPS, masks)


def test_shapes_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="give images, rows and columns"):
        pixel_metrics(MAPS[0], TRUTH[0])
    with pytest.raises(ValueError, match="resize one"):
        pixel_metrics(MAPS, TRUTH[:, :4])
    with pytest.raises(ValueError, match=r"shape \(4,\), labels \(3,\)"):
        image_metrics(SCORES, LABELS[:3])
