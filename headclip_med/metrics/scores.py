"""Scores as metrics need them: checked, and in ascending order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped, UInt32
from scipy.ndimage import label

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.mapped import release

Maps = Float[np.ndarray, "images rows columns"]
"""How abnormal each pixel of some images looks, float32 or float64."""

Masks = Bool[np.ndarray, "images rows columns"]
"""True for pixels of the same images: those that are abnormal, or those that count at all."""

Scores = Float[np.ndarray, "images"]
"""How abnormal each of some images looks."""

Labels = Shaped[np.ndarray, "images"]
"""1 or True for those that are abnormal."""

Units = Int[np.ndarray, "images"]
"""The number of what each image is drawn with."""

_TOUCHING = np.ones((3, 3), dtype=bool)  # eight neighbours, as in the definition of AUPRO


def region_shares(masks: Masks) -> tuple[Float64[np.ndarray, "abnormal"], int]:
    """Give each abnormal pixel its share of the area of its 8-connected region.

    Returns:
        The shares of abnormal pixels only, in the order of ``maps[masks]``; those of a region add
        up to 1. And how many regions there are.
    """
    shares, regions = [np.zeros(0)], 0
    for index in np.flatnonzero(masks.any(axis=(1, 2))):
        part = _cropped(masks[index])
        labels, found = label(part, structure=_TOUCHING)
        of_pixel = labels[part]
        areas = np.bincount(of_pixel, minlength=1)
        shares.append((1.0 / np.maximum(areas, 1))[of_pixel])
        regions += found
    return np.concatenate(shares), regions


def _cropped(
    mask: Bool[np.ndarray, "rows columns"],
) -> Bool[np.ndarray, "inner_rows inner_columns"]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@dataclass(frozen=True, eq=False)
class SortedScores:
    """Scores from the lowest to the highest, in memory or mapped from a file.

    Attributes:
        values: Ascending; equal ones may repeat.
        counts: How many pixels have each value; one each by default.
        shares: Of each value's pixels in the areas of their regions, added up; for AUPRO.
    """

    values: Float[np.ndarray, "entries"]
    counts: UInt32[np.ndarray, "entries"] | None = None
    shares: Float64[np.ndarray, "entries"] | None = None

    @cached_property
    def total(self) -> int:
        """How many pixels there are."""
        found = len(self.values) if self.counts is None else int(self.counts.sum(dtype=np.int64))
        self.release()
        return found

    def release(self) -> None:
        """Let go of what was read from mapped files; it is read again when needed.

        The system would do so too, but late, and until then it looks like memory that is used.
        """
        for array in (self.values, self.counts, self.shares):
            release(array)

    def counted(
        self, start: int, stop: int, *, of: Int[np.ndarray, "places"]
    ) -> Int[np.ndarray, "places"]:
        """Count the pixels of entries from ``start`` up to each place, itself left out.

        Args:
            start: First entry counted.
            stop: No place lies beyond this entry.
            of: Places, counted from ``start``.
        """
        if self.counts is None:
            return of
        running = np.cumsum(self.counts[start:stop], dtype=np.int64)
        return np.asarray(np.concatenate([np.zeros(1, dtype=np.int64), running])[of])


def require_full_precision(scores: Shaped[np.ndarray, "..."]) -> None:
    """Refuse half precision: it has rounded close scores to equal ones before they came here.

    Raises:
        InvalidSettings: The scores have 16 bits.
    """
    if scores.dtype == np.float16:
        raise InvalidSettings(
            "Scores in half precision (float16) have lost the order of close values, so metrics "
            "would be those of other scores.",
            "Keep float32 from the model on.",
            code="half-precision-scores",
        )


def require_same_shape(
    maps: Shaped[np.ndarray, "..."], *others: Shaped[np.ndarray, "..."] | None
) -> None:
    """Refuse masks of another shape than the maps: pixels would be paired wrongly.

    Raises:
        ValueError: One has another shape.
    """
    for other in others:
        if other is not None and other.shape != maps.shape:
            raise ValueError(f"maps have the shape {maps.shape}, masks {other.shape}; resize one")


def require_finite(scores: Float[np.ndarray, "..."], *, is_sorted: bool = False) -> None:
    """Refuse scores that have no order.

    Args:
        scores: To be looked at.
        is_sorted: Whether they ascend as numpy sorts, so that looking at the ends is enough.

    Raises:
        HeadClipError: A score is infinite or not a number.
    """
    looked_at = scores[[0, -1]] if is_sorted and len(scores) else scores
    if not np.isfinite(looked_at).all():
        raise HeadClipError(
            "Some scores are not numbers, so they have no order.",
            "Run the model in full precision, and check its weights.",
            code="scores-not-finite",
        )
