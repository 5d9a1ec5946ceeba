"""How well scores tell abnormal from normal: exact, over every threshold that the scores allow.

Equal scores form one threshold; a pixel or an image is called abnormal at or above it. AUROC is the
trapezoid of the ROC curve from (0, 0); AP the step-wise sum of precision over recall; F1-max and
IoU-max the best over all thresholds; AUPRO (Bergmann et al., MVTec AD, IJCV 2021) the mean overlap
with the 8-connected regions of the masks, integrated over the false positive rate up to 0.3,
interpolated there, and divided by 0.3. mAD is the mean of a level's metrics. What needs a class
that is absent is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped
from scipy.ndimage import label

from headclip_med.errors import HeadClipError, InvalidSettings

AUPRO_LIMIT = 0.3
"""False positive rate up to which AUPRO integrates."""

CONFIDENCE = 0.95
"""Share of the resampled values that an interval covers."""

Protocol = Literal["exact"]


class Ranking:
    """Pooled scores, sorted once; metrics for any resampling of their units are then cheap.

    A unit is what a bootstrap draws as a whole: an image, or the volume a slice belongs to.
    """

    def __init__(
        self,
        scores: Float[np.ndarray, "pooled"],
        labels: Bool[np.ndarray, "pooled"],
        units: Int[np.ndarray, "pooled"],
        shares: Float[np.ndarray, "pooled"] | None = None,
    ) -> None:
        """Sort.

        Args:
            scores: Higher is more abnormal.
            labels: True where abnormal.
            units: The number of each score's unit, from 0.
            shares: Of a pixel in its region's area, for AUPRO; 0 outside regions.

        Raises:
            HeadClipError: A score is not a number.
        """
        _require_finite(scores)
        order = np.argsort(-scores)
        ordered = scores[order]
        ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        is_hit = labels[order]
        hits = np.cumsum(is_hit)[ends]
        # Where no hit is added the curves are level, and no metric has its maximum there: the ends
        # before and after each rise say it all, and they are few.
        rises = np.diff(hits, prepend=0) > 0
        kept = rises | np.append(rises[1:], True)
        self._ends, self._hits = ends[kept], hits[kept]
        self._units = units[order]
        self._hit_units = self._units[is_hit]
        self._shares = None if shares is None else shares[order][is_hit]
        self._count = int(units.max()) + 1 if len(units) else 0
        total = np.zeros(len(units)) if shares is None else shares
        self._regions = np.bincount(units, total, minlength=self._count)

    def metrics(
        self, repeats: Num[np.ndarray, "units"] | None = None, *, is_pixel: bool
    ) -> dict[str, float]:
        """Compute a level's metrics.

        Args:
            repeats: How often each unit counts; once by default.
            is_pixel: Whether IoU-max and, where there are shares, AUPRO belong to the level.
        """
        times = np.ones(self._count) if repeats is None else repeats.astype(np.float64)
        hits = _running(times[self._hit_units])[self._hits]
        alarms = np.cumsum(times[self._units])[self._ends] - hits
        names = _names(is_pixel=is_pixel)
        if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
            return dict.fromkeys((*names, "mAD"), float("nan"))
        found = {
            "AUROC": _area(alarms / alarms[-1], hits / hits[-1]),
            "AP": _precision(hits, alarms),
        }
        found["F1-max"] = float(np.max(2 * hits / (hits + alarms + hits[-1])))
        if is_pixel:
            found["IoU-max"] = float(np.max(hits / (alarms + hits[-1])))
        if self._shares is not None:
            covered = _running(times[self._hit_units] * self._shares)[self._hits]
            overlap = covered / (times @ self._regions)
            found["AUPRO"] = _area(alarms / alarms[-1], overlap, AUPRO_LIMIT) / AUPRO_LIMIT
        found = {name: found[name] for name in names}
        return {**found, "mAD": float(np.mean(list(found.values())))}


def rank_images(
    scores: Float[np.ndarray, "images"], labels: Shaped[np.ndarray, "images"]
) -> Ranking:
    """Sort image scores once; each image is a unit."""
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (abnormal)")
    return Ranking(scores, labels.astype(bool), np.arange(len(scores)))


def rank_pixels(
    maps: Float[np.ndarray, "images rows columns"],
    masks: Bool[np.ndarray, "images rows columns"],
    *,
    inside: Bool[np.ndarray, "images rows columns"] | None = None,
    units: Int[np.ndarray, "images"] | None = None,
) -> Ranking:
    """Sort the pixels of all images once.

    Args:
        maps: How abnormal each pixel looks. Half precision has already lost the ranking of close
            scores: keep float32.
        masks: True where abnormal.
        inside: Only pixels where this is True count; all by default.
        units: The number of each image's unit, from 0; each image is one by default.

    Raises:
        HeadClipError: A map's value is not a number.
    """
    chosen = np.ones(maps.shape, dtype=bool) if inside is None else inside
    shares = np.stack([_shares(mask) for mask in masks & chosen])
    numbers = np.arange(len(maps)) if units is None else units
    of_pixel = np.broadcast_to(numbers[:, None, None], maps.shape)
    return Ranking(maps[chosen], masks[chosen], of_pixel[chosen], shares[chosen])


def image_metrics(
    scores: Float[np.ndarray, "images"], labels: Shaped[np.ndarray, "images"]
) -> dict[str, float]:
    """Judge one score per image.

    Args:
        scores: Higher is more abnormal, in any unit.
        labels: 1 abnormal, 0 normal.

    Returns:
        ``AUROC``, ``AP``, ``F1-max`` and their mean ``mAD``, fractions of 1; NaN with one class.

    Raises:
        HeadClipError: A score is not a number.
    """
    return rank_images(scores, labels).metrics(is_pixel=False)


def pixel_metrics(
    maps: Float[np.ndarray, "images rows columns"],
    masks: Bool[np.ndarray, "images rows columns"],
    *,
    protocol: Protocol = "exact",
    inside: Bool[np.ndarray, "images rows columns"] | None = None,
) -> dict[str, float]:
    """Judge maps against masks, all pixels of all images pooled.

    Args:
        maps: How abnormal each pixel looks, in any unit; never scaled image by image.
        masks: True where abnormal; all False for normal images, whose pixels count as well.
        protocol: ``exact``: every distinct value is a threshold.
        inside: Only pixels where this is True count; all by default.

    Returns:
        ``AUROC``, ``AUPRO``, ``AP``, ``F1-max``, ``IoU-max`` and their mean ``mAD``, fractions of
        1; NaN with one class.

    Raises:
        HeadClipError: A map's value is not a number.
        InvalidSettings: The protocol is unknown.
    """
    if protocol not in get_args(Protocol):
        raise InvalidSettings(f"The protocol {protocol} is unknown; known: exact.")
    return rank_pixels(maps, masks, inside=inside).metrics(is_pixel=True)


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


def _names(*, is_pixel: bool) -> tuple[str, ...]:
    return ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max") if is_pixel else ("AUROC", "AP", "F1-max")


def _running(values: Float[np.ndarray, "hits"]) -> Float[np.ndarray, "sums"]:
    """Sum of the first 0, 1, 2, ... values."""
    return np.append(0.0, np.cumsum(values))


def _precision(
    hits: Float[np.ndarray, "thresholds"], alarms: Float[np.ndarray, "thresholds"]
) -> float:
    called = hits + alarms
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


def _area(
    false_rate: Float[np.ndarray, "thresholds"],
    true_rate: Float[np.ndarray, "thresholds"],
    limit: float = 1.0,
) -> float:
    """Area under a curve that starts at (0, 0), up to a limit of its axis."""
    kept = false_rate <= limit
    x = np.concatenate([[0.0], false_rate[kept], [limit]])
    end = np.interp(limit, np.append(0.0, false_rate), np.append(0.0, true_rate))
    y = np.concatenate([[0.0], true_rate[kept], [end]])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def _shares(mask: Bool[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Each pixel's share of its region's area; the shares of an image add up to its regions."""
    regions, _ = label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(regions.ravel())
    return np.asarray(np.where(mask, 1 / np.maximum(areas, 1)[regions], 0.0))


def _require_finite(scores: Float[np.ndarray, "pooled"]) -> None:
    if not np.isfinite(scores).all():
        raise HeadClipError(
            "Some scores are not numbers, so they have no order; run the model in full precision, "
            "and check its weights.",
            code="scores-not-finite",
        )
