"""What happens at each score that an abnormal pixel has; nothing else decides an exact metric.

Between two such scores no further abnormal pixel is found, so every curve is level and no metric
has its maximum there. Normal pixels need not be told apart, only counted between abnormal ones: all
pixels are sorted by value alone, and the few abnormal scores are looked up among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from headclip_med.metrics.scores import SortedScores

BLOCK = 1 << 14
"""Entries worked on at a time, so that they and what they are looked up in stay in the cache."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Scores that abnormal pixels have, each once; counts may be weighted.

    Attributes:
        hits: Abnormal pixels with the score.
        hits_above: Abnormal pixels with a higher one.
        alarms: Normal pixels with the score.
        alarms_above: Normal pixels with a higher one.
        shares: Of the pixels in ``hits`` in their regions, added up; None for images.
        shares_above: Of those in ``hits_above``.
    """

    hits: Float64[np.ndarray, "groups"]
    hits_above: Float64[np.ndarray, "groups"]
    alarms: Float64[np.ndarray, "groups"]
    alarms_above: Float64[np.ndarray, "groups"]
    shares: Float64[np.ndarray, "groups"] | None = None
    shares_above: Float64[np.ndarray, "groups"] | None = None


def count_groups(
    everything: Sequence[SortedScores], abnormal: Sequence[SortedScores], regions: int | None
) -> Iterator[Groups]:
    """Count at each score of an abnormal pixel, from the lowest up, a block at a time.

    Args:
        everything: All pixels, the abnormal ones among them, in any number of parts.
        abnormal: The abnormal ones.
        regions: How many; None where there are no shares.

    Yields:
        Groups of about ``BLOCK`` scores for each part of ``abnormal``.
    """
    pixels = sum(part.total for part in everything)
    hits_left = sum(part.total for part in abnormal)
    shares_left = None if regions is None else float(regions)
    lookups = [_Lookup(part) for part in everything]
    for scores, hits, shares in _distinct_blocks(abnormal):
        found = [lookup.count(scores) for lookup in lookups]
        below = np.sum([count for count, _ in found], axis=0)
        equal = np.sum([count for _, count in found], axis=0)
        hits_above = hits_left - np.cumsum(hits)
        hits_left = int(hits_above[-1])
        shares_above = None
        if shares_left is not None and shares is not None:
            shares_above = np.maximum(shares_left - np.cumsum(shares), 0.0)
            shares_left = float(shares_above[-1])
        yield Groups(
            hits=hits.astype(np.float64),
            hits_above=hits_above.astype(np.float64),
            alarms=(equal - hits).astype(np.float64),
            alarms_above=(pixels - below - equal - hits_above).astype(np.float64),
            shares=shares,
            shares_above=shares_above,
        )


class _Lookup:
    """Counts the pixels of one part below ever higher scores; each entry is visited once."""

    def __init__(self, part: SortedScores) -> None:
        self._part, self._start, self._counted = part, 0, 0

    def count(
        self, scores: Float[np.ndarray, "groups"]
    ) -> tuple[Int[np.ndarray, "groups"], Int[np.ndarray, "groups"]]:
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


def _right(
    segment: Float[np.ndarray, "entries"],
    scores: Float[np.ndarray, "groups"],
    left: Int[np.ndarray, "groups"],
) -> Int[np.ndarray, "groups"]:
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
) -> Iterator[
    tuple[
        Float[np.ndarray, "groups"],
        Int[np.ndarray, "groups"],
        Float64[np.ndarray, "groups"] | None,
    ]
]:
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
        shares = None
        if filled[0].shares is not None:
            shares = np.add.reduceat(_joined(filled, slices, "shares")[order], starts)
        yield values[starts], hits, shares
        for part in filled:
            part.release()


def _joined(
    parts: Sequence[SortedScores], slices: Sequence[slice], name: str
) -> Shaped[np.ndarray, "entries"]:
    return np.concatenate([getattr(part, name)[at] for part, at in zip(parts, slices, strict=True)])
