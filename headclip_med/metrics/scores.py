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

Given = object
"""An array, a tensor or nested lists; ``as_scores`` and ``as_truth`` take it or refuse it."""

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


def as_scores(given: Given) -> Shaped[np.ndarray, "..."]:
    """Take scores as an array: of torch, lists and whole numbers as well.

    Raises:
        InvalidSettings: They are no numbers.
    """
    found = as_array(given)
    if found.dtype.kind == "f":
        return found
    if found.dtype.kind in "biu":
        return found.astype(np.float64)
    raise _unusable("Scores and maps must be numbers.", "Give an array of float32 or float64.")


def as_truth(given: Given) -> Bool[np.ndarray, "..."]:
    """Take masks or labels of any type that says yes or no: False and True, 0 and 1, 0 and 255.

    Raises:
        InvalidSettings: They hold something else, such as several labels or soft edges.
    """
    found = as_array(given)
    if found.dtype.kind == "b":
        return found
    if found.dtype.kind not in "iuf":
        raise _unusable("Masks and labels must be numbers or booleans.", _YES_OR_NO)
    marked = found != 0
    highest = found.max(initial=0)
    if highest not in (0, 1, 255) or not np.isin(found, (0, highest)).all():
        raise _unusable(
            "Masks and labels must say yes or no, and these hold more than 0 and 1 (or 0 and 255): "
            "codes, soft edges, or what is not a number.",
            _YES_OR_NO,
        )
    return np.asarray(marked)


_YES_OR_NO = "Give mask > 0, or mask > 0.5, as it is meant."


def _unusable(reason: str, advice: str) -> InvalidSettings:
    return InvalidSettings(reason, advice, code="unusable-truth")


def as_array(given: Given) -> Shaped[np.ndarray, "..."]:
    """Take an array, nested lists, or a tensor wherever it lies."""
    detach = getattr(given, "detach", None)  # of a tensor; metrics do without torch
    try:
        return np.asarray(given if detach is None else detach().cpu())
    except (TypeError, ValueError):  # bfloat16, or lists of unequal lengths
        raise _unusable(
            "Scores, maps, masks and labels must be arrays of numbers, of one shape and a type "
            "that NumPy knows.",
            "Convert them, for example with .float() or np.stack.",
        ) from None


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
        ValueError: One has another shape, or they are no stack of images.
    """
    if maps.ndim != 3:
        raise ValueError(f"maps have the shape {maps.shape}; give images, rows and columns")
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
