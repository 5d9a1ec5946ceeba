"""Exact metrics for any resampling of images or patients, after one sort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped

from headclip_med.metrics.bootstrap import bootstrap_draws
from headclip_med.metrics.exact import ExactSums, Groups
from headclip_med.metrics.pooled import require_labels
from headclip_med.metrics.scores import (
    region_shares,
    require_finite,
    require_full_precision,
    require_same_shape,
)

IMAGE_REPEATS = 1000
PIXEL_REPEATS = 200
"""Draws of the bootstrap; an end of a 95 % interval then rests on five draws, pixels being many."""


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
            InvalidSettings: The scores are in half precision.
        """
        require_full_precision(scores)
        require_finite(scores)
        order = np.argsort(-scores)
        ordered = scores[order]
        ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        is_hit = labels[order]
        hits = np.cumsum(is_hit)[ends]
        # Where no hit is added the curves are level, and no metric has its maximum there: the ends
        # before and after each rise say it all, and they are few.
        rises = np.diff(hits, prepend=0) > 0
        kept = rises | np.append(rises[1:], True)
        self._rises = np.flatnonzero(rises[kept])
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
        """Compute a level's exact metrics.

        Args:
            repeats: How often each unit counts; once by default.
            is_pixel: Whether IoU-max and, where there are shares, AUPRO belong to the level.
        """
        times = np.ones(self._count) if repeats is None else repeats.astype(np.float64)
        hits = _running(times[self._hit_units])[self._hits]
        alarms = np.cumsum(times[self._units])[self._ends] - hits
        hits_above, hits_added = self._steps(hits)
        alarms_above, alarms_added = self._steps(alarms)
        shares_above = shares_added = regions = None
        if self._shares is not None:
            covered = _running(times[self._hit_units] * self._shares)[self._hits]
            shares_above, shares_added = self._steps(covered)
            regions = float(times @ self._regions)
        positives, negatives = (float(run[-1]) if len(run) else 0.0 for run in (hits, alarms))
        sums = ExactSums(positives, negatives, regions)
        if positives and negatives:
            sums.add(
                Groups(
                    hits_added, hits_above, alarms_added, alarms_above, shares_added, shares_above
                )
            )
        return sums.metrics(is_pixel=is_pixel)

    def _steps(
        self, run: Float[np.ndarray, "kept"]
    ) -> tuple[Float[np.ndarray, "rises"], Float[np.ndarray, "rises"]]:
        """What a running sum is before each rise, and what the rise adds."""
        before = np.append(0.0, run)[self._rises]
        return before, run[self._rises] - before


def rank_images(
    scores: Float[np.ndarray, "images"], labels: Shaped[np.ndarray, "images"]
) -> Ranking:
    """Sort image scores once; each image is a unit."""
    require_labels(labels)
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
        maps: How abnormal each pixel looks, float32 or float64.
        masks: True where abnormal.
        inside: Only pixels where this is True count; all by default.
        units: The number of each image's unit, from 0; each image is one by default.

    Raises:
        HeadClipError: A map's value is not a number.
        InvalidSettings: The maps are in half precision.
    """
    require_same_shape(maps, masks, inside)
    chosen = np.ones(maps.shape, dtype=bool) if inside is None else inside
    abnormal = masks & chosen
    shares = np.zeros(maps.shape)
    shares[abnormal], _ = region_shares(abnormal)
    numbers = np.arange(len(maps)) if units is None else units
    of_pixel = np.broadcast_to(numbers[:, None, None], maps.shape)
    return Ranking(maps[chosen], masks[chosen], of_pixel[chosen], shares[chosen])


@dataclass(frozen=True, eq=False)
class Sampled:
    """Metrics of one group of images, and how they vary over bootstrap draws, if any were made."""

    values: Mapping[str, float]
    draws: Mapping[str, Float[np.ndarray, "draws"]]


def sample_images(
    scores: Float[np.ndarray, "images"],
    labels: Shaped[np.ndarray, "images"],
    *,
    groups: Int[np.ndarray, "images"] | None = None,
    seed: int,
) -> Sampled:
    """Compute image metrics and their draws; ``groups`` are drawn as a whole."""
    ranking = rank_images(scores, labels)

    def drawn(rows: Int[np.ndarray, "rows"]) -> dict[str, float]:
        return ranking.metrics(np.bincount(rows, minlength=len(scores)), is_pixel=False)

    rows = np.arange(len(scores))
    draws = bootstrap_draws(drawn, rows, groups=groups, seed=seed, repeats=IMAGE_REPEATS)
    return Sampled(ranking.metrics(is_pixel=False), draws)


def sample_pixels(
    maps: Float[np.ndarray, "images rows columns"],
    masks: Bool[np.ndarray, "images rows columns"],
    *,
    inside: Bool[np.ndarray, "images rows columns"] | None = None,
    units: Int[np.ndarray, "images"] | None = None,
    seed: int,
) -> Sampled:
    """Compute pixel metrics and their draws over whole images, or over ``units`` of images."""
    ranking = rank_pixels(maps, masks, inside=inside, units=units)
    count = len(maps) if units is None else int(units.max()) + 1

    def drawn(rows: Int[np.ndarray, "rows"]) -> dict[str, float]:
        return ranking.metrics(np.bincount(rows, minlength=count), is_pixel=True)

    draws = bootstrap_draws(drawn, np.arange(count), seed=seed, repeats=PIXEL_REPEATS)
    return Sampled(ranking.metrics(is_pixel=True), draws)


def _running(values: Float[np.ndarray, "hits"]) -> Float[np.ndarray, "sums"]:
    """Sum of the first 0, 1, 2, ... values."""
    return np.append(0.0, np.cumsum(values))
