"""How far metrics may be off because only these rows were looked at (the bootstrap; Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Shaped

CONFIDENCE = 0.95
"""Share of the resampled values that an interval covers."""


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


def bootstrap_intervals(
    statistic: Callable[..., Mapping[str, float]],
    *arrays: Shaped[np.ndarray, "rows ..."],
    groups: Shaped[np.ndarray, "rows"] | None = None,
    seed: int = 0,
    repeats: int = 1000,
) -> dict[str, tuple[float, float]]:
    """Say how far metrics may be off because only these rows were looked at.

    Takes what ``bootstrap_draws`` takes.

    Returns:
        The lower and the upper end for each name; see ``interval``.
    """
    drawn = bootstrap_draws(statistic, *arrays, groups=groups, seed=seed, repeats=repeats)
    return {name: interval(values) for name, values in drawn.items()}


def interval(draws: Float[np.ndarray, "draws"]) -> tuple[float, float]:
    """Take the percentile interval that covers ``CONFIDENCE``; undefined draws are left out."""
    defined = draws[np.isfinite(draws)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
