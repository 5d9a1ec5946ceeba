"""Exact metrics, added up over groups of scores in any order.

AUROC is the trapezoid of the ROC curve from (0, 0); AP the step-wise sum of precision over recall;
F1-max and IoU-max the best over all thresholds; AUPRO (Bergmann et al., MVTec AD, IJCV 2021) the
mean overlap with the 8-connected regions of the masks, integrated over the false positive rate up
to 0.3, interpolated there, and divided by 0.3. mAD is the mean of a level's metrics.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from headclip_med.metrics.groups import Groups

AUPRO_LIMIT = 0.3
"""False positive rate up to which AUPRO integrates."""

IMAGE_NAMES = ("AUROC", "AP", "F1-max")
PIXEL_NAMES = ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max")


class ExactSums:
    """Metrics in the making."""

    def __init__(self, positives: float, negatives: float, regions: float | None) -> None:
        """Start.

        Args:
            positives: How many are abnormal; counts may be weighted.
            negatives: How many are normal.
            regions: How many there are, for AUPRO; None if that is not asked for.
        """
        self._positives, self._negatives, self._regions = positives, negatives, regions
        self._below_roc = self._below_pro = self._precision = self._best_overlap = 0.0

    def add(self, groups: Groups) -> None:
        """Add groups that were not added before."""
        found = groups.hits_above + groups.hits
        alarms = groups.alarms_above + groups.alarms
        called = found + alarms
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        self._precision += float(np.sum(groups.hits * precision))
        overlap = found / (alarms + self._positives)
        self._best_overlap = max(self._best_overlap, float(overlap.max(initial=0.0)))
        self._below_roc += _area(groups.hits, groups, self._negatives)
        if groups.shares is not None:
            self._below_pro += _area(groups.shares, groups, AUPRO_LIMIT * self._negatives)

    def metrics(self, *, is_pixel: bool) -> dict[str, float]:
        """Finish.

        Args:
            is_pixel: Whether IoU-max and, where there are regions, AUPRO belong to the level.

        Returns:
            Fractions of 1; NaN with one class.
        """
        names = PIXEL_NAMES if is_pixel else IMAGE_NAMES
        if self._positives == 0 or self._negatives == 0:
            return dict.fromkeys((*names, "mAD"), float("nan"))
        found = {
            "AUROC": self._below_roc / (self._positives * self._negatives),
            "AP": self._precision / self._positives,
            "F1-max": 2 * self._best_overlap / (1 + self._best_overlap),
            "IoU-max": self._best_overlap,
        }
        if self._regions is not None:
            allowed = AUPRO_LIMIT * self._negatives
            found["AUPRO"] = self._below_pro / (self._regions * allowed)
        return with_mean({name: found[name] for name in names})


def with_mean(found: dict[str, float]) -> dict[str, float]:
    """Append mAD, the mean of a level's metrics."""
    return {**found, "mAD": float(np.mean(list(found.values())))}


def _area(weights: Float64[np.ndarray, "groups"], groups: Groups, limit: float) -> float:
    """Area below a curve that rises by ``weights``, up to a number of false alarms.

    At each group the curve rises in a straight line while the group's normal pixels are added, and
    what it has gained stays until the limit; so each group's part is known without the others.
    """
    ties = groups.alarms
    room = np.maximum(limit - groups.alarms_above, 0.0)
    during = np.minimum(room, ties)
    ramp = np.divide(during * during, 2 * ties, out=np.zeros_like(ties), where=ties > 0)
    return float(np.sum(weights * (ramp + room - during)))
