"""Exact metrics, added up over groups of scores in any order.

AUROC is the trapezoid of the ROC curve from (0, 0); AP the step-wise sum of precision over recall;
F1-max and IoU-max the best over all thresholds; AUPRO (Bergmann et al., MVTec AD, IJCV 2021) the
mean overlap with the 8-connected regions of the masks, integrated over the false positive rate up
to 0.3, interpolated there, and divided by 0.3. mAD is the mean of a level's metrics.

What happens at each score that an abnormal pixel has decides all of them: between two such scores
no further abnormal pixel is found, so every curve is level and no metric has its maximum there.
Normal pixels need not be told apart, only counted between abnormal ones: all pixels are sorted by
value alone, and the few abnormal scores are looked up among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from headclip_med.metrics.scores import SortedScores

_Scores = Float[np.ndarray, "groups"]
_Counts = Int[np.ndarray, "groups"]

AUPRO_LIMIT = 0.3
"""False positive rate up to which AUPRO integrates."""

IMAGE_NAMES = ("AUROC", "AP", "F1-max")
PIXEL_NAMES = ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max")

BLOCK = 1 << 14
"""Entries worked on at a time, so that they and what they are looked up in stay in the cache."""

ALARMS, HITS, SHARES = range(3)
"""Rows of what is counted at scores."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Scores that abnormal pixels have, each once; counts may be weighted.

    The rows of both are ``ALARMS``, normal pixels; ``HITS``, abnormal ones; and ``SHARES``, those
    of the hits in their regions, added up (0 for images).

    Attributes:
        at: Pixels with the score.
        above: Pixels with a higher one.
    """

    at: Float64[np.ndarray, "3 groups"]
    above: Float64[np.ndarray, "3 groups"]


def count_groups(
    everything: Sequence[SortedScores], abnormal: Sequence[SortedScores], regions: int | None
) -> Iterator[Groups]:
    """Count at each score of an abnormal pixel, from the lowest up, a block at a time.

    Args:
        everything: All pixels, the abnormal ones among them, in any number of parts.
        abnormal: The abnormal ones.
        regions: How many; None for images.

    Yields:
        Groups of about ``BLOCK`` scores for each part of ``abnormal``.
    """
    pixels = sum(part.total for part in everything)
    hits_left = sum(part.total for part in abnormal)
    shares_left = float(regions or 0)
    lookups = [_Lookup(part) for part in everything]
    for scores, hits, shares in _distinct_blocks(abnormal):
        below, equal = np.sum([lookup.count(scores) for lookup in lookups], axis=0)
        hits_above = hits_left - np.cumsum(hits)
        hits_left = int(hits_above[-1])
        shares_above = np.maximum(shares_left - np.cumsum(shares), 0.0)
        shares_left = float(shares_above[-1])
        alarms_above = pixels - below - equal - hits_above
        yield Groups(
            np.array([equal - hits, hits, shares], dtype=np.float64),
            np.array([alarms_above, hits_above, shares_above], dtype=np.float64),
        )


class _Lookup:
    """Counts the pixels of one part below ever higher scores; each entry is visited once."""

    def __init__(self, part: SortedScores) -> None:
        self._part, self._start, self._counted = part, 0, 0

    def count(self, scores: _Scores) -> tuple[_Counts, _Counts]:
        """Count the pixels below each score, and those equal to it.

        Args:
            scores: Ascending, and above those of the last call.
        """
        values = self._part.values
        stop = self._start + int(np.searchsorted(values[self._start :], scores[-1], side="right"))
        segment = values[self._start : stop]
        left = np.searchsorted(segment, scores)
        right = _right(segment, scores, left)
        counts = self._part.counted(self._start, stop, of=np.stack([left, right]).ravel())
        below, upto = counts[: len(scores)], counts[len(scores) :]
        result = self._counted + below, upto - below
        self._start, self._counted = stop, self._counted + int(upto[-1])
        self._part.release()
        return result


def _right(segment: Float[np.ndarray, "entries"], scores: _Scores, left: _Counts) -> _Counts:
    """Where each score ends; a second search only where a value stands more than once."""
    right = left.copy()
    if not len(segment):
        return right
    last = len(segment) - 1
    right += (left <= last) & (segment[np.minimum(left, last)] == scores)
    repeated = (right > left) & (right <= last) & (segment[np.minimum(right, last)] == scores)
    right[repeated] = np.searchsorted(segment, scores[repeated], side="right")
    return right


def _distinct_blocks(
    parts: Sequence[SortedScores],
) -> Iterator[tuple[_Scores, _Counts, Float64[np.ndarray, "groups"]]]:
    """Merge sorted parts, block by block: each distinct value, its pixels, its shares."""
    filled = [part for part in parts if len(part.values)]
    if not filled:
        return
    firsts = np.unique(np.concatenate([part.values[::BLOCK] for part in filled]))
    for part in filled:
        part.release()
    cuts = [np.append(np.searchsorted(part.values, firsts), len(part.values)) for part in filled]
    for block in range(len(firsts)):
        slices = [slice(cut[block], cut[block + 1]) for cut in cuts]
        values = np.concatenate([part.values[at] for part, at in zip(filled, slices, strict=True)])
        order = np.argsort(values, kind="stable") if len(filled) > 1 else slice(None)
        values = values[order]
        starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        hits = np.diff(np.append(starts, len(values)))
        if filled[0].counts is not None:
            hits = np.add.reduceat(_joined(filled, slices, "counts")[order], starts, dtype=np.int64)
        shares = np.zeros(len(starts))
        if filled[0].shares is not None:
            shares = np.add.reduceat(_joined(filled, slices, "shares")[order], starts)
        yield values[starts], hits, shares
        for part in filled:
            part.release()


def _joined(
    parts: Sequence[SortedScores], slices: Sequence[slice], name: str
) -> Shaped[np.ndarray, "entries"]:
    return np.concatenate([getattr(part, name)[at] for part, at in zip(parts, slices, strict=True)])


class ExactSums:
    """Metrics in the making."""

    def __init__(self, positives: float, negatives: float, regions: float | None) -> None:
        """Start.

        Args:
            positives: How many are abnormal; counts may be weighted.
            negatives: How many are normal.
            regions: How many there are of pixels, for AUPRO; None for images.
        """
        self._positives, self._negatives, self._regions = positives, negatives, regions
        self._below_roc = self._below_pro = self._precision = self._best_overlap = 0.0

    def add(self, groups: Groups) -> None:
        """Add groups that were not added before."""
        alarms, found, _ = groups.above + groups.at
        called = found + alarms
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        self._precision += float(np.sum(groups.at[HITS] * precision))
        overlap = found / (alarms + self._positives)
        self._best_overlap = max(self._best_overlap, float(overlap.max(initial=0.0)))
        self._below_roc += _area(groups, HITS, self._negatives)
        self._below_pro += _area(groups, SHARES, AUPRO_LIMIT * self._negatives)

    def metrics(self) -> dict[str, float]:
        """Finish: fractions of 1; NaN with one class."""
        names = IMAGE_NAMES if self._regions is None else PIXEL_NAMES
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


def _area(groups: Groups, row: int, limit: float) -> float:
    """Area below a curve that rises by a row of the groups, up to a number of false alarms.

    At each group the curve rises in a straight line while the group's normal pixels are added, and
    what it has gained stays until the limit; so each group's part is known without the others.
    """
    ties = groups.at[ALARMS]
    room = np.maximum(limit - groups.above[ALARMS], 0.0)
    during = np.minimum(room, ties)
    ramp = np.divide(during * during, 2 * ties, out=np.zeros_like(ties), where=ties > 0)
    return float(np.sum(groups.at[row] * (ramp + room - during)))
