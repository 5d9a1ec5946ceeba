"""Counts of distinct scores: what is left of pixels when they need not be kept one by one.

There are only so many float32 values (84 million between 0.001 and 1), and metrics need to know of
each only how many pixels have it. So memory grows with the distinct scores, not with the pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from headclip_med.metrics.scores import SortedScores

MOST_PIXELS = 1 << 31

_Values = Float32[np.ndarray, "pixels"]
_Shares = Float64[np.ndarray, "pixels"]


class DistinctScores:
    """Collects pixels, and merges them now and then into counts of distinct scores."""

    def __init__(self, *, has_shares: bool) -> None:
        self._has_shares = has_shares
        self._raw: list[tuple[_Values, _Shares | None]] = []
        self._raw_pixels = 0
        self._settled = _nothing(has_shares=has_shares)
        self._pixels = 0

    def add(self, values: _Values, shares: _Shares | None = None) -> None:
        """Take pixels; the arrays are kept until ``settle`` and must not change meanwhile."""
        self._raw.append((values, shares))
        self._raw_pixels += len(values)
        self._pixels += len(values)

    def is_full(self) -> bool:
        """Whether a count might soon pass 32 bits, all scores being equal; then ``spill``."""
        return self._pixels > MOST_PIXELS

    def raw_bytes(self) -> int:
        """Memory that pixels hold which were not merged yet, in bytes."""
        return (12 if self._has_shares else 4) * self._raw_pixels

    def settled_bytes(self) -> int:
        """Memory that counts of distinct scores hold, in bytes."""
        return (16 if self._has_shares else 8) * len(self._settled.values)

    def settle(self) -> SortedScores:
        """Merge what was added into the counts, and return them; valid until the next call."""
        if self._raw:
            values = np.concatenate([values for values, _ in self._raw])
            shares = None
            if self._has_shares:
                shares = np.concatenate([shares for _, shares in self._raw if shares is not None])
            self._raw, self._raw_pixels = [], 0
            counted = _counted(values, shares)
            del values, shares
            self._settled = _merged(self._settled, counted)
        return self._settled

    def spill(self, folder: Path, name: str) -> SortedScores:
        """Move the counts to files, and start anew; the returned ones are mapped from there."""
        settled = self.settle()
        arrays = {"values": settled.values, "counts": settled.counts, "shares": settled.shares}
        mapped = {}
        for kind, array in arrays.items():
            if array is not None:
                path = folder / f"{name}-{kind}.npy"
                np.save(path, array, allow_pickle=False)
                mapped[kind] = np.load(path, mmap_mode="r", allow_pickle=False)
        self._settled, self._pixels = _nothing(has_shares=self._has_shares), 0
        return SortedScores(**mapped)


def _nothing(*, has_shares: bool) -> SortedScores:
    return SortedScores(
        np.zeros(0, dtype=np.float32),
        np.zeros(0, dtype=np.uint32),
        np.zeros(0) if has_shares else None,
    )


def _counted(values: _Values, shares: _Shares | None) -> SortedScores:
    """Sort pixels and count each value once; ``values`` are sorted in place without shares."""
    if shares is None:
        values.sort()
    else:
        order = np.argsort(values)
        values, shares = values[order], shares[order]
    is_first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    counts = np.diff(starts, append=len(values)).astype(np.uint32)
    summed = None if shares is None else np.add.reduceat(shares, starts) if len(starts) else shares
    return SortedScores(values[starts], counts, summed)


def _merged(old: SortedScores, new: SortedScores) -> SortedScores:
    """Add the counts and shares of equal values, and put new values in between."""
    if not len(old.values):
        return new
    at = np.searchsorted(old.values, new.values)
    is_known = old.values[np.minimum(at, len(old.values) - 1)] == new.values
    inserted = at[~is_known] + np.arange(len(at) - np.count_nonzero(is_known))
    is_old = np.ones(len(old.values) + len(inserted), dtype=bool)
    is_old[inserted] = False
    at = at[is_known]
    merged = {}
    for name in ("values", "counts", "shares"):
        mine, theirs = getattr(old, name), getattr(new, name)
        if mine is not None:
            if name != "values":
                mine[at] += theirs[is_known]
            # Not np.insert, which takes half as much memory again.
            merged[name] = joined = np.empty(len(is_old), mine.dtype)
            joined[is_old], joined[~is_old] = mine, theirs[~is_known]
    return SortedScores(**merged)
