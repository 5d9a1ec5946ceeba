"""How far metrics may be off because only these rows were looked at (the bootstrap; Efron 1979).

Rows are drawn with replacement; of exact pixel metrics in memory that grows with images and not
with pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Shaped

from headclip_med.metrics.exact import ALARMS, HITS, SHARES, ExactSums, Groups
from headclip_med.metrics.pooled import Pooled
from headclip_med.metrics.scores import Maps, Masks, SortedScores, region_shares, require_same_shape

CONFIDENCE = 0.95
"""Share of the resampled values that an interval covers."""

GRID = 1000
"""Scores of abnormal pixels at and above which each image is counted."""


def bootstrap_draws(
    statistic: Callable[..., Mapping[str, float]],
    *arrays: Shaped[np.ndarray, "rows ..."],
    groups: Shaped[np.ndarray, "rows"] | None = None,
    seed: int = 0,
    repeats: int = 1000,
) -> dict[str, Float[np.ndarray, "draws"]]:
    """Compute metrics anew on rows drawn with replacement (the bootstrap; Efron 1979).

    Args:
        statistic: Takes the arrays and returns named values.
        arrays: Of equal length.
        groups: Rows of one group (the slices of a volume) are drawn together: they are not
            independent. Each row is its own group by default.
        seed: Of the draws.
        repeats: How many draws.

    Returns:
        The values of each name; NaN where a draw left one class only.
    """
    random = np.random.default_rng(seed)
    keys = np.arange(len(arrays[0])) if groups is None else groups
    members = [np.flatnonzero(keys == key) for key in np.unique(keys)]
    drawn: dict[str, list[float]] = {}
    for _ in range(repeats):
        picked = random.integers(0, len(members), len(members))
        rows = np.concatenate([members[group] for group in picked])
        for name, value in statistic(*(array[rows] for array in arrays)).items():
            drawn.setdefault(name, []).append(value)
    return {name: np.array(values, dtype=np.float64) for name, values in drawn.items()}


def interval(draws: Float[np.ndarray, "draws"]) -> tuple[float, float]:
    """Take the percentile interval that covers ``CONFIDENCE``; undefined draws are left out."""
    defined = draws[np.isfinite(draws)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


class PixelDraws:
    """Counts each image at a grid of scores, once; any resampling of images then adds up counts.

    Between two scores of the grid abnormal pixels are told apart no further. What that changes is
    known for the images as they are, whose exact metrics came first, and is taken off every draw.
    Where there are no more abnormal pixels than scores, the draws are those of all pixels.
    """

    def __init__(self, pooled: Pooled, units: int, grid: int = GRID) -> None:
        """Choose the grid.

        Args:
            pooled: All pixels that will be counted, as ``PixelMetrics.pooled`` gives them.
            units: How many units there are: what is drawn as a whole, an image or a volume.
            grid: How many scores.
        """
        self._scores = _spread(pooled, grid)
        # At or above each score of the grid, and first of all pixels.
        self._counts = np.zeros((3, units, len(self._scores) + 1), dtype=np.float32)

    def update(self, maps: Maps, masks: Masks, units: Int[np.ndarray, "images"]) -> None:
        """Count images.

        Args:
            maps: How abnormal each pixel looks, as it was pooled.
            masks: True where abnormal.
            units: The number of each image's unit, from 0.
        """
        require_same_shape(maps, masks)
        for one, mask, unit in zip(maps, masks, units, strict=True):
            everything = self._at_or_above(np.sort(one, axis=None))
            shares, _ = region_shares(mask[None])
            values = one[mask]
            order = np.argsort(values)
            hits = self._at_or_above(values[order])
            left = np.append(0.0, np.cumsum(shares[order][::-1]))
            self._counts[ALARMS, unit] += everything - hits
            self._counts[HITS, unit] += hits
            self._counts[SHARES, unit] += left[hits]

    def draws(
        self, exact: Mapping[str, float], *, seed: int, repeats: int
    ) -> dict[str, Float64[np.ndarray, "draws"]]:
        """Draw units with replacement, and measure.

        Args:
            exact: The exact metrics of all images as they are.
            seed: Of the draws, which are those of ``bootstrap_draws``.
            repeats: How many draws.

        Returns:
            The values of each name; NaN where a draw left one class only.
        """
        units = self._counts.shape[1]
        random = np.random.default_rng(seed)
        times = np.stack(
            [np.bincount(random.integers(0, units, units), minlength=units) for _ in range(repeats)]
        )
        whole = self._measured(np.ones((1, units)))
        drawn = self._measured(times)
        return {
            name: np.clip(values + (exact[name] - whole[name]), 0.0, 1.0)
            for name, values in drawn.items()
        }

    def _at_or_above(
        self, ascending: Float32[np.ndarray, "pixels"]
    ) -> Int[np.ndarray, "scores_and_one"]:
        below = np.searchsorted(ascending, self._scores)
        return len(ascending) - np.append(0, below)

    def _measured(
        self, times: Float[np.ndarray, "draws units"] | Int[np.ndarray, "draws units"]
    ) -> dict[str, Float64[np.ndarray, "draws"]]:
        """Measure with each unit counted so many times."""
        weights = times.astype(np.float32)
        added = [(weights @ counts).astype(np.float64) for counts in self._counts]
        each = [_metrics(np.array(one)) for one in zip(*added, strict=True)]
        return {name: np.array([one[name] for one in each]) for name in each[0]}


def _metrics(counts: Float64[np.ndarray, "3 steps"]) -> dict[str, float]:
    alarms, hits, shares = counts[:, 0]
    # All shares of a region add up to one, so that their sum is the number of regions.
    sums = ExactSums(float(hits), float(alarms), float(shares))
    if hits and alarms:
        above = np.append(counts[:, 1:], np.zeros((3, 1)), axis=1)
        sums.add(Groups(counts - above, above))
    return sums.metrics()


def _spread(pooled: Pooled, grid: int) -> Float32[np.ndarray, "scores"]:
    """Choose scores of abnormal pixels: half evenly by rank, half ever denser towards the top.

    AP and F1-max may hang on the highest few.
    """
    parts = [part for part in pooled.abnormal if len(part.values)]
    found = [np.zeros(0), *(_chosen(part, max(2, grid // len(parts))) for part in parts)]
    scores = np.unique(np.concatenate(found)).astype(np.float32)
    # Just above each as well, so that normal pixels between two abnormal ones tie with neither.
    return np.unique(np.append(scores, np.nextafter(scores, np.float32(np.inf))))


def _chosen(part: SortedScores, grid: int) -> Float[np.ndarray, "scores"]:
    # Ranks count from the highest.
    if part.total > grid:
        even = np.linspace(0, part.total - 1, grid - grid // 2)
        dense = np.geomspace(1, part.total, grid // 2) - 1
        ranks = np.unique(np.concatenate([even, dense]).round().astype(int))
    else:
        ranks = np.arange(part.total)
    places = part.total - 1 - ranks
    if part.counts is not None:
        running = np.cumsum(part.counts, dtype=np.int64)
        places = np.searchsorted(running, places, side="right")
    chosen = np.array(part.values[places])
    part.release()
    return chosen
