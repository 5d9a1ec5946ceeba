"""Points of the ROC, precision-recall and per-region-overlap curves, for plots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped

from headclip_med.metrics.exact import count_groups
from headclip_med.metrics.pooled import Pooled, pool_images
from headclip_med.metrics.scores import Labels

CURVE_POINTS = 1000
"""About how many scores a curve shows, evenly spread over those of abnormal pixels."""

Line = tuple[Float64[np.ndarray, "points"], Float64[np.ndarray, "points"]]
"""What lies along the horizontal axis, and the height there."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves from the strictest threshold to the laxest, all fractions of 1.

    Attributes:
        false_positive_rate: Of normal pixels or images, from 0 to 1.
        recall: Of abnormal ones, from 0 to 1.
        precision: Of those called abnormal; NaN where none is.
        overlap: Mean share of each region that is found; None for images.
    """

    false_positive_rate: Float64[np.ndarray, "points"]
    recall: Float64[np.ndarray, "points"]
    precision: Float64[np.ndarray, "points"]
    overlap: Float64[np.ndarray, "points"] | None

    @classmethod
    def of(cls, pooled: Pooled, points: int = CURVE_POINTS) -> Curves:
        """Follow the exact curves, thinned evenly along the scores of abnormal pixels.

        Args:
            pooled: Pixels or images of a class.
            points: About how many scores are kept; each gives two points, before and at it.

        Returns:
            Curves without points where a class is absent.
        """
        positives, negatives = pooled.positives(), pooled.negatives()
        if not positives or not negatives:
            nothing = np.zeros(0)
            return cls(nothing, nothing, nothing, None if pooled.regions is None else nothing)
        step = max(1, sum(len(part.values) for part in pooled.abnormal) // points)
        rows = np.concatenate(
            [
                np.array([[negatives], [positives], [pooled.regions or 0]]),
                *_thinned(pooled, step),
                np.zeros((3, 1)),
            ],
            axis=1,
        )[:, ::-1]
        alarms, hits, shares = rows
        precision = np.divide(
            hits, hits + alarms, out=np.full(len(hits), np.nan), where=hits + alarms > 0
        )
        overlap = None if pooled.regions is None else shares / pooled.regions
        return cls(alarms / negatives, hits / positives, precision, overlap)

    def lines(self) -> dict[str, Line]:
        """Name what a plot shows: ``ROC``, ``PR`` and, for pixels, ``PRO``."""
        is_called = np.isfinite(self.precision)
        found = {
            "ROC": (self.false_positive_rate, self.recall),
            "PR": (self.recall[is_called], self.precision[is_called]),
        }
        if self.overlap is not None:
            found["PRO"] = (self.false_positive_rate, self.overlap)
        return found


def image_curves(scores: Shaped[np.ndarray, "images"], labels: Labels) -> Curves:
    """Draw the curves of image scores; see ``image_metrics``."""
    return Curves.of(pool_images(scores, labels))


def _thinned(pooled: Pooled, step: int) -> Iterator[Float64[np.ndarray, "3 points"]]:
    """Count at every so many scores and just above each, ascending; on from block to block."""
    offset = 0
    for groups in count_groups(pooled.everything, pooled.abnormal, pooled.regions):
        at, above = groups.at[:, offset::step], groups.above[:, offset::step]
        offset = (offset - groups.at.shape[1]) % step
        yield np.stack([above + at, above], axis=2).reshape(3, -1)
