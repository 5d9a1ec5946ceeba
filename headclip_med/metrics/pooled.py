"""All scores of a class in one pool, sorted once, from which every metric and curve follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool

from headclip_med.errors import InvalidSettings
from headclip_med.metrics.exact import ExactSums, count_groups, with_mean
from headclip_med.metrics.paper import paper_metrics
from headclip_med.metrics.scores import (
    Given,
    SortedScores,
    as_array,
    as_scores,
    as_truth,
    region_shares,
    require_finite,
    require_full_precision,
    require_same_shape,
)

__all__ = ["Protocol", "image_metrics", "pixel_metrics"]


def image_metrics(scores: Given, labels: Given) -> dict[str, float]:
    """Judge one score per image; the same by both protocols.

    Args:
        scores: Of each image, higher is more abnormal, in any unit: an array, a tensor or a list.
        labels: 1 or True abnormal, 0 or False normal.

    Returns:
        ``AUROC``, ``AP``, ``F1-max`` and their mean ``mAD``, fractions of 1; NaN with one class.

    Raises:
        HeadClipError: A score is not a number.
        InvalidSettings: The scores are in half precision.
        ValueError: A label is neither 0 nor 1.
    """
    return pool_images(scores, labels).metrics()


def pixel_metrics(
    maps: Given, masks: Given, protocol: Protocol = "exact", *, inside: Given | None = None
) -> dict[str, float]:
    """Judge maps against masks, all pixels of all images of a class pooled.

    Args:
        maps: How abnormal each pixel looks, images by rows by columns: an array, a tensor or lists,
            in any unit, float32 or float64; never scaled image
            by image. Scores that saturate (many equal to 1) have lost their order: give the logits
            before the softmax instead.
        masks: True where abnormal; all False for normal images, whose pixels count as well. Of any
            type that says yes or no: booleans, 0 and 1, 0 and 255.
        protocol: ``exact``: every distinct value is a threshold. ``paper``: the threshold grids of
            the published code, whose AUPRO, F1-max and IoU-max follow the scale of the scores.
        inside: Only pixels where this is True count; all by default.

    Returns:
        ``AUROC``, ``AUPRO``, ``AP``, ``F1-max``, ``IoU-max`` and their mean ``mAD``, fractions of
        1; NaN with one class, and where the published code fails.

    Raises:
        HeadClipError: A map's value is not a number.
        InvalidSettings: The protocol is unknown, the maps are in half precision, or masks hold
            more than yes and no.
        ValueError: The shapes differ.
    """
    require_protocol(protocol)
    return pool_pixels(maps, masks, inside=inside).metrics(protocol)


Protocol = Literal["exact", "paper"]


@dataclass(frozen=True, eq=False)
class Pooled:
    """Pixels, or images, of one class.

    Attributes:
        everything: Their scores, in any number of sorted parts.
        abnormal: The scores of the abnormal ones.
        regions: How many regions abnormal pixels form; None for images.
    """

    everything: Sequence[SortedScores]
    abnormal: Sequence[SortedScores]
    regions: int | None = None

    def positives(self) -> int:
        """How many are abnormal."""
        return sum(part.total for part in self.abnormal)

    def negatives(self) -> int:
        """How many are normal."""
        return sum(part.total for part in self.everything) - self.positives()

    def metrics(self, protocol: Protocol = "exact") -> dict[str, float]:
        """Compute a level's metrics; see ``pixel_metrics`` and ``image_metrics``.

        Raises:
            InvalidSettings: The protocol is unknown.
        """
        require_protocol(protocol)
        regions = None if self.regions is None else float(self.regions)
        sums = ExactSums(float(self.positives()), float(self.negatives()), regions)
        for groups in count_groups(self.everything, self.abnormal, self.regions):
            sums.add(groups)
        found = sums.metrics()
        if protocol == "exact" or self.regions is None or np.isnan(found["AUROC"]):
            return found  # the published code is exact for images
        found.update(paper_metrics(self.everything, self.abnormal, self.regions))
        del found["mAD"]
        return with_mean(found)


def pool_images(given: Given, labels: Given) -> Pooled:
    """Sort image scores; see ``image_metrics``."""
    scores, abnormal = as_scores(given), as_labels(labels)
    require_full_precision(scores)
    if scores.ndim != 1 or scores.shape != abnormal.shape:
        raise ValueError(f"scores have the shape {scores.shape}, labels {abnormal.shape}")
    ordered = np.sort(scores)
    require_finite(ordered, is_sorted=True)
    return Pooled([SortedScores(ordered)], [SortedScores(np.sort(scores[abnormal]))])


def pool_pixels(given: Given, truth: Given, *, inside: Given | None = None) -> Pooled:
    """Sort the pixels of all images; see ``pixel_metrics``.

    All are sorted by value alone, several times faster than with their labels; only abnormal ones,
    which are few, are sorted a second time with their shares.
    """
    maps, masks = as_scores(given), as_truth(truth)
    chosen = None if inside is None else as_truth(inside)
    require_full_precision(maps)
    require_same_shape(maps, masks, chosen)
    ordered = np.sort(maps if chosen is None else maps[chosen], axis=None)
    require_finite(ordered, is_sorted=True)
    counted = masks if chosen is None else masks & chosen
    values = maps.reshape(-1)[np.flatnonzero(counted)]
    shares, regions = region_shares(counted)
    order = np.argsort(values)
    abnormal = SortedScores(values[order], shares=shares[order])
    return Pooled([SortedScores(ordered)], [abnormal], regions)


def require_protocol(protocol: str) -> None:
    """Refuse a protocol that has no definition here.

    Raises:
        InvalidSettings: It is unknown.
    """
    known = get_args(Protocol)
    if protocol not in known:
        raise InvalidSettings(f"The protocol {protocol} is unknown.", f"Known: {', '.join(known)}.")


def as_labels(given: Given) -> Bool[np.ndarray, "..."]:
    """Take labels of any type, True for those of abnormal images.

    Raises:
        ValueError: There are others than 0 and 1.
    """
    labels = as_array(given)
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (abnormal)")
    return np.asarray(labels == 1)
