"""Metrics the slow way, one threshold after the other, to compare with."""

from __future__ import annotations

import numpy as np
from skimage.measure import label, regionprops


def exact_by_loops(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """AUPRO, F1-max and IoU-max over all distinct scores."""
    regions = _regions(masks)
    rates, overlaps, f1, iou = [0.0], [0.0], 0.0, 0.0
    for threshold in np.unique(maps)[::-1]:
        called = maps >= threshold
        hits, alarms = (called & masks).sum(), (called & ~masks).sum()
        f1 = max(f1, 2 * hits / (called.sum() + masks.sum()))
        iou = max(iou, hits / (alarms + masks.sum()))
        rates.append(alarms / (~masks).sum())
        overlaps.append(_overlap(called, regions))
    grid = np.array(rates)
    inside = grid <= 0.3
    x = np.append(grid[inside], 0.3)
    # Of several heights at one rate the last is where the curve goes on from.
    first = np.flatnonzero(~inside)[:1]
    last = np.flatnonzero(inside)[-1]
    y_end = overlaps[last]
    if len(first):
        width = grid[first[0]] - grid[last]
        y_end += (overlaps[first[0]] - overlaps[last]) * (0.3 - grid[last]) / width
    y = np.append(np.array(overlaps)[inside], y_end)
    area = float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)
    return {"AUPRO": area / 0.3, "F1-max": f1, "IoU-max": iou}


def published_overlap(maps: np.ndarray, masks: np.ndarray) -> float:
    """AUPRO over 200 equally spaced thresholds, rates below 0.3 stretched to [0, 1]."""
    regions = _regions(masks)
    low, high = maps.min(), maps.max()
    points = []
    for threshold in np.arange(low, high, (high - low) / 200):
        called = maps > threshold
        points.append(((called & ~masks).sum() / (~masks).sum(), _overlap(called, regions)))
    x, y = (np.array(column) for column in zip(*points, strict=True))
    x, y = x[x < 0.3], y[x < 0.3]
    x = (x - x.min()) / (x.max() - x.min())
    return float(np.sum(-np.diff(x) * (y[1:] + y[:-1])) / 2)


def _regions(masks: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The pixels of every connected region, as (image, row, column) to index with."""
    return [
        (np.full(len(region.coords), index), region.coords[:, 0], region.coords[:, 1])
        for index, mask in enumerate(masks)
        for region in regionprops(label(mask))
    ]


def _overlap(called: np.ndarray, regions: list[tuple[np.ndarray, ...]]) -> float:
    return float(np.mean([called[pixels].mean() for pixels in regions]))
