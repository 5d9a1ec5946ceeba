"""From answers to metrics: one pass over the logits for each choice of smoothing, k and r."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from headclip_med.datasets import read_mask
from headclip_med.evaluation import results
from headclip_med.evaluation.baselines import BASELINES, MapsOf
from headclip_med.evaluation.predictions import Predictions
from headclip_med.evaluation.results import Estimate, Sampled, average, sample_images
from headclip_med.metrics import PixelDraws, PixelMetrics, Pooled, Protocol, image_metrics
from headclip_med.metrics.scores import release
from headclip_med.metrics.streaming import MEMORY_MB
from headclip_med.models.maps import log_odds, patches_of, smooth_logits_and_map
from headclip_med.settings import ScoreSettings
from headclip_med.transforms import joint_score, local_score, resize_maps

EvalSize = Literal["input", "native"]
"""``input`` is where published methods compare pixels: maps as they come, masks shrunk to them.
``native`` is each image's own size: masks as they were drawn, maps stretched to them."""

Compared = tuple[
    slice,
    Float[np.ndarray, "images rows columns"],
    Float[np.ndarray, "images rows columns"],
    Bool[np.ndarray, "images rows columns"],
]
"""Which images; what ``exact`` ranks their pixels by; their maps; their masks."""


def at_native_size(
    answers: Predictions,
    rows: slice,
    ranked: Float[np.ndarray, "images size size"],
    maps: Float[np.ndarray, "images size size"],
) -> Iterator[Compared]:
    """Stretch what is said of some images to their own sizes, bilinearly.

    Args:
        answers: Of a set with masks.
        rows: Which images.
        ranked: What ``exact`` ranks by: log-odds of the maps, or the maps themselves.
        maps: In [0, 1].

    Yields:
        One image at a time.

    Raises:
        UnreadableInput: A mask cannot be read again.
    """
    for place, number in enumerate(range(rows.start, rows.stop)):
        mask = read_mask(answers.samples[number])
        one = slice(place, place + 1)
        stretched = _resized(torch.from_numpy(np.array(maps[one])), mask)
        by_rank = stretched
        if ranked is not maps:
            logits = torch.from_numpy(np.array(ranked[one])).double()
            abnormal, normal = (_resized(side.sigmoid(), mask) for side in (logits, -logits))
            by_rank = log_odds(abnormal, normal)
        yield slice(number, number + 1), by_rank.numpy(), stretched.numpy(), mask[None]


def _resized(maps: Tensor, mask: Bool[np.ndarray, "rows columns"]) -> Tensor:
    rows, columns = mask.shape
    return resize_maps(maps, rows, columns)


SEED = 20_241_124
"""Of the bootstrap: the same set gives the same intervals."""

IMAGES_AT_ONCE = 16

Key = tuple[str, str, Protocol]
"""Level (``pixels``, ``images``), score (``map``, ``global``, ``local``, ``joint``), protocol."""

_Batch = tuple[Float[np.ndarray, "batch size size"], Float[np.ndarray, "batch size size"]]
"""What ``exact`` ranks pixels by, and maps."""

_LocalOf = Callable[[slice, Float[np.ndarray, "batch size size"]], Float[np.ndarray, "batch"]]


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics of one judge on one set.

    Attributes:
        categories: Of each category, those that are defined there: pixels where the set has masks,
            images where the category has both classes.
    """

    categories: Mapping[str, Mapping[Key, Sampled]]

    @property
    def keys(self) -> tuple[Key, ...]:
        """What was measured, pixels first."""
        found = dict.fromkeys(key for one in self.categories.values() for key in one)
        return tuple(sorted(found, key=lambda key: key[0] != "pixels"))

    def estimates(
        self, level: str, score: str, protocol: Protocol = "exact", *, category: str | None = None
    ) -> dict[str, Estimate]:
        """Give metrics and intervals, fractions of 1.

        Args:
            level: ``pixels`` or ``images``.
            score: ``map``, ``global``, ``local`` or ``joint``.
            protocol: By which they were computed.
            category: Of this one; the mean over categories by default.

        Returns:
            By name; nothing where it was not measured.
        """
        key = (level, score, protocol)
        chosen = self.categories if category is None else {category: self.categories[category]}
        samples = [one[key] for one in chosen.values() if key in one]
        return average(samples) if samples else {}

    def metrics(
        self, level: str, score: str, protocol: Protocol = "exact", *, category: str | None = None
    ) -> dict[str, float]:
        """Give metrics without intervals; see ``estimates``. NaN is undefined."""
        found = self.estimates(level, score, protocol, category=category)
        return {name: one.value for name, one in found.items()}

    def joined(self, other: Measured) -> Measured:
        """Put the categories of another measurement of the same judge beside these."""
        return Measured({**self.categories, **other.categories})


def measure(
    answers: Predictions,
    scores: ScoreSettings,
    *,
    protocols: Sequence[Protocol] = ("exact",),
    intervals: bool = True,
    eval_size: EvalSize = "input",
) -> Measured:
    """Measure a model, with JAS and without it.

    By ``exact`` pixels are ranked by their smoothed logits, which order them as their maps do and
    lose nothing where a map is 1; by ``paper`` by the maps, on whose scale its values depend.

    Everything is streamed: memory does not grow with the pixels.

    Args:
        answers: Of the model.
        scores: How logits become maps and scores.
        protocols: By which pixels are measured; the published code is exact for images.
        intervals: Whether to bootstrap (by ``exact`` only), which takes a second pass.
        eval_size: Where pixels are compared; S_local is of the model's map in either case.
    """
    found = {}
    for category, part in answers.parts().items():
        one = _Category(answers, part, tuple(dict.fromkeys(protocols)), intervals, eval_size)
        read = partial(_smoothed, answers, scores)
        measured, local = one.pixels(read, partial(_local, answers, scores))
        kinds = _kinds(answers.global_scores[part], local, scores)
        found[category] = measured | one.images(kinds)
    return Measured(found)


def measure_baselines(
    answers: Predictions,
    top_percent: float,
    *,
    protocols: Sequence[Protocol] = ("exact",),
    intervals: bool = True,
    eval_size: EvalSize = "input",
) -> dict[str, Measured]:
    """Measure the baselines that have learnt nothing, on the same images.

    Args:
        answers: Of any model; only the images and their truth are used.
        top_percent: k of eq. 7.
        protocols: As for ``measure``.
        intervals: As for ``measure``.
        eval_size: As for ``measure``.

    Returns:
        By the baseline's name.
    """
    found: dict[str, dict[str, dict[Key, Sampled]]] = {name: {} for name in BASELINES}
    for category, part in answers.parts().items():
        one = _Category(answers, part, tuple(dict.fromkeys(protocols)), intervals, eval_size)
        for name, maps_of in BASELINES.items():
            measured, local = one.pixels(
                partial(_trivial, answers, maps_of), lambda _, maps: local_score(maps, top_percent)
            )
            found[name][category] = measured | one.images({"local": local})
    return {judge: Measured(categories) for judge, categories in found.items()}


def score_category(
    answers: Predictions, scores: ScoreSettings, part: slice, pixels: PixelMetrics
) -> dict[str, Float[np.ndarray, "images"]]:
    """Score the images of one category, and give its pixels to a stream where it has masks.

    Args:
        answers: Of the model.
        scores: How logits become scores.
        part: Where the category's images stand.
        pixels: Takes smoothed logits and masks.

    Returns:
        Of each image the ``global``, the ``local`` and the ``joint`` score.
    """
    local = []
    for rows in _batches(part):
        logits, maps = _smoothed(answers, scores, rows)
        local.append(_local(answers, scores, rows, maps))
        if answers.masks is not None:
            pixels.update(logits, _rows(answers.masks, rows))
    return _kinds(answers.global_scores[part], np.concatenate(local), scores)


def local_scores(answers: Predictions, scores: ScoreSettings) -> Float[np.ndarray, "images"]:
    """Compute S_local of every image (eq. 7): what a sweep over r reads, once for all its r."""
    whole = slice(0, len(answers.global_scores))
    maps = ((rows, _smoothed(answers, scores, rows)[1]) for rows in _batches(whole))
    return np.concatenate([_local(answers, scores, rows, one) for rows, one in maps])


def _kinds(
    own: Float[np.ndarray, "images"], local: Float[np.ndarray, "images"], scores: ScoreSettings
) -> dict[str, Float[np.ndarray, "images"]]:
    exact = own.astype(np.float64)
    joint = joint_score(exact, local, scores.joint_weight)
    return {"global": exact, "local": local, "joint": joint}


@dataclass(frozen=True)
class _Category:
    """Measures scores of one category."""

    answers: Predictions
    part: slice
    protocols: tuple[Protocol, ...]
    intervals: bool
    eval_size: EvalSize

    def pixels(
        self, read: Callable[[slice], _Batch], local_of: _LocalOf
    ) -> tuple[dict[Key, Sampled], Float[np.ndarray, "images"]]:
        """Measure maps, where there are masks, and give S_local of each.

        Args:
            read: Gives, for some images, what ``exact`` ranks by, and maps.
            local_of: Gives S_local of some images and their maps.
        """
        local, found = [], {}
        with ExitStack() as stack:
            streams: dict[Protocol, PixelMetrics] = {}
            if self.answers.masks is not None:
                share_mb = MEMORY_MB // len(self.protocols)
                streams = {
                    one: stack.enter_context(PixelMetrics(one, memory_mb=share_mb))
                    for one in self.protocols
                }
            for rows in _batches(self.part):
                ranked, maps = read(rows)
                local.append(local_of(rows, maps))
                for _, by_rank, by_map, marked in self._sized(rows, ranked, maps):
                    for protocol, stream in streams.items():
                        scores = by_rank if protocol == "exact" else by_map.astype(np.float32)
                        stream.update(scores, marked)
            for protocol, stream in streams.items():
                values, draws = stream.compute(), {}
                if protocol == "exact" and self.intervals:
                    draws = self._draws(read, stream.pooled(), values)
                found["pixels", "map", protocol] = Sampled(values, draws)
        return found, np.concatenate(local)

    def images(self, kinds: Mapping[str, Float[np.ndarray, "images"]]) -> dict[Key, Sampled]:
        """Measure image scores where there is a second class to tell apart."""
        labels, units = self.answers.labels[self.part], self.answers.units[self.part]
        if labels.all() or not labels.any():
            return {}
        found: dict[Key, Sampled] = {}
        for kind, values in kinds.items():
            if self.intervals:
                sampled = sample_images(values, labels, groups=units, seed=SEED)
            else:
                sampled = Sampled(image_metrics(values, labels), {})
            found |= {("images", kind, protocol): sampled for protocol in self.protocols}
        return found

    def _draws(
        self, read: Callable[[slice], _Batch], pooled: Pooled, values: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "draws"]]:
        """Go over the maps again, to count each image where it matters."""
        names, numbers = np.unique(self.answers.units[self.part], return_inverse=True)
        counted = PixelDraws(pooled, len(names))
        for rows in _batches(self.part):
            for some, by_rank, _, marked in self._sized(rows, *read(rows)):
                own = slice(some.start - self.part.start, some.stop - self.part.start)
                counted.update(by_rank, marked, numbers[own])
        return counted.draws(values, seed=SEED, repeats=results.PIXEL_REPEATS)

    def _sized(
        self,
        rows: slice,
        ranked: Float[np.ndarray, "batch size size"],
        maps: Float[np.ndarray, "batch size size"],
    ) -> Iterator[Compared]:
        """Give some images with masks at the size where they are compared."""
        if self.answers.masks is None:
            return
        if self.eval_size == "native":
            yield from at_native_size(self.answers, rows, ranked, maps)
        else:
            yield rows, ranked, maps, _read(self.answers.masks, rows)


def _rows(
    masks: Bool[np.ndarray, "images size size"] | None, rows: slice
) -> Bool[np.ndarray, "batch size size"]:
    if masks is None:
        raise AssertionError("only asked where the set has masks")
    return _read(masks, rows)


def _read(array: Shaped[np.ndarray, "images size size"], rows: slice) -> np.ndarray:
    """Copy some images, and keep nothing else of a mapped file in memory."""
    found = np.array(array[rows])
    release(array)
    return found


def _smoothed(answers: Predictions, scores: ScoreSettings, rows: slice) -> _Batch:
    """Smooth some images: logits in float32, maps in float64."""
    logits = torch.from_numpy(_read(answers.logits, rows))
    smoothed, maps = smooth_logits_and_map(logits, scores.sigma_at(answers.image_size))
    return smoothed.numpy(), maps.numpy()


def _local(
    answers: Predictions,
    scores: ScoreSettings,
    rows: slice,
    maps: Float[np.ndarray, "batch size size"],
) -> Float[np.ndarray, "batch"]:
    """Give S_local of some images (eq. 7), from what the scores take it from."""
    if scores.local_map == "patches":
        exact = torch.from_numpy(_read(answers.logits, rows)).double().sigmoid()
        maps = patches_of(exact, answers.patch_px).numpy()
    return local_score(maps, scores.top_percent)


def _trivial(answers: Predictions, maps_of: MapsOf, rows: slice) -> _Batch:
    maps = np.asarray(maps_of(_read(answers.grey, rows)), dtype=np.float32)
    return maps, maps


def _batches(part: slice) -> Iterator[slice]:
    for start in range(part.start, part.stop, IMAGES_AT_ONCE):
        yield slice(start, min(start + IMAGES_AT_ONCE, part.stop))
