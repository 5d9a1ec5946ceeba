"""Exact metrics for any resampling of images or patients, after one sort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from headclip_med.metrics.bootstrap import bootstrap_draws
from headclip_med.metrics.exact import ExactSums, Groups
from headclip_med.metrics.pooled import as_labels
from headclip_med.metrics.scores import (
    Given,
    Units,
    as_scores,
    as_truth,
    region_shares,
    require_finite,
    require_full_precision,
    require_same_shape,
)

IMAGE_REPEATS = 1000
PIXEL_REPEATS = 200
"""Draws of the bootstrap; an end of a 95 % interval then rests on five draws, pixels being many."""


_Pooled = Float[np.ndarray, "pooled"]


@dataclass(frozen=True, eq=False)
class Sampled:
    """Metrics of one group of images, and how they vary over bootstrap draws, if any were made."""

    values: Mapping[str, float]
    draws: Mapping[str, Float[np.ndarray, "draws"]]


class Ranking:
    """Pooled scores, sorted once; metrics for any resampling of their units are then cheap.

    A unit is what a bootstrap draws as a whole: an image, or the volume a slice belongs to.
    """

    def __init__(
        self,
        scores: _Pooled,
        labels: Bool[np.ndarray, "pooled"],
        units: Int[np.ndarray, "pooled"],
        shares: _Pooled | None = None,
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
        self._is_image = shares is None
        of_pixel = np.zeros(len(units)) if shares is None else shares
        self._shares = of_pixel[order][is_hit]
        self._count = int(units.max()) + 1 if len(units) else 0
        self._regions = np.bincount(units, of_pixel, minlength=self._count)

    def metrics(self, repeats: Num[np.ndarray, "units"] | None = None) -> dict[str, float]:
        """Compute a level's exact metrics.

        Args:
            repeats: How often each unit counts; once by default.
        """
        times = np.ones(self._count) if repeats is None else repeats.astype(np.float64)
        hits = _running(times[self._hit_units])[self._hits]
        alarms = np.cumsum(times[self._units])[self._ends] - hits
        shares = _running(times[self._hit_units] * self._shares)[self._hits]
        runs = np.insert([alarms, hits, shares], 0, 0.0, axis=1)
        negatives, positives, _ = runs[:, -1].tolist()
        regions = None if self._is_image else float(times @ self._regions)
        sums = ExactSums(positives, negatives, regions)
        if positives and negatives:
            before = runs[:, self._rises]
            sums.add(Groups(runs[:, self._rises + 1] - before, before))
        return sums.metrics()

    def sampled(
        self, *, groups: Int[np.ndarray, "units"] | None = None, seed: int, repeats: int
    ) -> Sampled:
        """Compute the metrics, and their draws over units, or over ``groups`` of them."""

        def drawn(units: Int[np.ndarray, "drawn"]) -> dict[str, float]:
            return self.metrics(np.bincount(units, minlength=self._count))

        units = np.arange(self._count)
        draws = bootstrap_draws(drawn, units, groups=groups, seed=seed, repeats=repeats)
        return Sampled(self.metrics(), draws)


def rank_images(given: Given, labels: Given) -> Ranking:
    """Sort image scores once; each image is a unit."""
    scores = as_scores(given)
    return Ranking(scores, as_labels(labels), np.arange(len(scores)))


def rank_pixels(
    given: Given, truth: Given, *, inside: Given | None = None, units: Units | None = None
) -> Ranking:
    """Sort the pixels of all images once.

    Args:
        given: Maps: how abnormal each pixel looks, float32 or float64.
        truth: Masks of any type that says yes or no; True where abnormal.
        inside: Only pixels where this is True count; all by default.
        units: The number of each image's unit, from 0; each image is one by default.

    Raises:
        HeadClipError: A map's value is not a number.
        InvalidSettings: The maps are in half precision.
    """
    maps, masks = as_scores(given), as_truth(truth)
    chosen = np.ones(maps.shape, dtype=bool) if inside is None else as_truth(inside)
    require_same_shape(maps, masks, chosen)
    abnormal = masks & chosen
    shares = np.zeros(maps.shape)
    shares[abnormal], _ = region_shares(abnormal)
    numbers = np.arange(len(maps)) if units is None else units
    of_pixel = np.broadcast_to(numbers[:, None, None], maps.shape)
    return Ranking(maps[chosen], masks[chosen], of_pixel[chosen], shares[chosen])


def sample_images(
    scores: Given, labels: Given, *, groups: Units | None = None, seed: int
) -> Sampled:
    """Compute image metrics and their draws; ``groups`` are drawn as a whole."""
    return rank_images(scores, labels).sampled(groups=groups, seed=seed, repeats=IMAGE_REPEATS)


def sample_pixels(
    maps: Given, masks: Given, *, inside: Given | None = None, units: Units | None = None, seed: int
) -> Sampled:
    """Compute pixel metrics and their draws over whole images, or over ``units`` of images."""
    ranking = rank_pixels(maps, masks, inside=inside, units=units)
    return ranking.sampled(seed=seed, repeats=PIXEL_REPEATS)


def _running(values: Float[np.ndarray, "hits"]) -> Float[np.ndarray, "sums"]:
    """Sum of the first 0, 1, 2, ... values."""
    return np.append(0.0, np.cumsum(values))
