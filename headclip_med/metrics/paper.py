"""Pixel metrics as the field's published code computes them, to stand beside published numbers.

AUROC and AP are exact there. AUPRO takes 200 thresholds equally spaced between the lowest and the
highest score of the class, drops what lies at or above a false positive rate of 0.3, and stretches
the rates that are left to [0, 1] (``cal_pro_score`` of AnomalyCLIP and many others). F1-max and
IoU-max take the thresholds 0, 0.05, ..., 1 on scores brought to [0, 1] by the same two (ADer).
Thresholds are strict: above, not at. Scores rescaled without changing their order get other
values.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from headclip_med.metrics.exact import AUPRO_LIMIT
from headclip_med.metrics.scores import SortedScores

PRO_STEPS = 200
GRID_STEP = 0.05
_TINY = 1e-8  # what the published code adds to denominators

_Parts = Sequence[SortedScores]


def paper_metrics(everything: _Parts, abnormal: _Parts, regions: int) -> dict[str, float]:
    """Compute what the published code does not compute exactly.

    Args:
        everything: All pixels of a class, abnormal ones among them; both classes are there.
        abnormal: The abnormal pixels, with their shares.
        regions: How many regions they form.

    Returns:
        ``AUPRO``, NaN where the published code fails for want of two points; ``F1-max`` and
        ``IoU-max``, 0 for a constant map as there.
    """
    filled = [part.values for part in everything if len(part.values)]
    lowest = min(values[0] for values in filled)
    highest = max(values[-1] for values in filled)
    if not lowest < highest:
        return {"AUPRO": float("nan"), "F1-max": 0.0, "IoU-max": 0.0}
    return {
        "AUPRO": _stretched_pro(everything, abnormal, regions, (lowest, highest)),
        **_best_on_grid(everything, abnormal, (lowest, highest)),
    }


def _stretched_pro(
    everything: _Parts, abnormal: _Parts, regions: int, bounds: tuple[Any, Any]
) -> float:
    lowest, highest = bounds  # of the maps' own precision, in which the thresholds are computed
    thresholds = np.arange(lowest, highest, (highest - lowest) / PRO_STEPS)
    called = _count(
        everything, [np.searchsorted(p.values, thresholds, "right") for p in everything]
    )
    places = [np.searchsorted(part.values, thresholds, "right") for part in abnormal]
    alarms = called - _count(abnormal, places)
    overlap = np.zeros(len(thresholds))
    for part, at in zip(abnormal, places, strict=True):
        overlap += _suffix_sums(_shares(part), at)
        part.release()
    negatives = _total(everything) - _total(abnormal)
    rates = alarms / negatives
    kept = rates < AUPRO_LIMIT
    rates, heights = rates[kept], overlap[kept] / regions
    if len(rates) < 2 or rates.max() == rates.min():
        return float("nan")
    stretched = (rates - rates.min()) / (rates.max() - rates.min())
    return float(np.sum(-np.diff(stretched) * (heights[1:] + heights[:-1])) / 2)


def _best_on_grid(
    everything: _Parts, abnormal: _Parts, bounds: tuple[Any, Any]
) -> dict[str, float]:
    lowest, highest = bounds
    thresholds = np.arange(0.0, 1.0 + 1e-3, GRID_STEP)

    def scaled(value: Any) -> Any:
        return (value - lowest) / (highest - lowest)

    def places(parts: _Parts) -> list[Int[np.ndarray, "thresholds"]]:
        return [
            np.array([bisect.bisect_right(part.values, t, key=scaled) for t in thresholds])
            for part in parts
        ]

    called = _count(everything, places(everything))
    found = _count(abnormal, places(abnormal))
    positives = _total(abnormal)
    precision, recall = found / (called + _TINY), found / (positives + _TINY)
    return {
        "F1-max": float(np.max(2 * precision * recall / (precision + recall + _TINY))),
        "IoU-max": float(np.max(found / (called + positives - found + _TINY))),
    }


def _count(
    parts: _Parts, places: Sequence[Int[np.ndarray, "thresholds"]]
) -> Int[np.ndarray, "thresholds"]:
    """Count the pixels from each place of each part to its end."""
    counts = np.zeros(len(places[0]), dtype=np.int64) if places else np.zeros(0, dtype=np.int64)
    for part, at in zip(parts, places, strict=True):
        if part.counts is None:
            counts += len(part.values) - at
        else:
            counts += _suffix_sums(part.counts, at).astype(np.int64)
            part.release()
    return counts


def _suffix_sums(weights: Any, places: Int[np.ndarray, "places"]) -> Float64[np.ndarray, "places"]:
    """Sum from each of some ascending places to the end; each entry is added once."""
    edges = np.append(places, len(weights))
    sums = [float(weights[a:b].sum(dtype=np.float64)) for a, b in pairwise(edges)]
    return np.cumsum(sums[::-1])[::-1]


def _shares(part: SortedScores) -> Float64[np.ndarray, "entries"]:
    return np.zeros(len(part.values)) if part.shares is None else part.shares


def _total(parts: _Parts) -> int:
    return sum(part.total for part in parts)
