"""From answers to metrics: one pass over the margins for each choice of smoothing, k and r."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from headclip_med.metrics import PixelMetrics, Protocol, image_metrics
from headclip_med.models.similarity import smooth, smooth_margin
from headclip_med.pipelines.answers import Answers
from headclip_med.pipelines.evaluation import (
    Estimate,
    Sampled,
    average,
    sample_images,
    sample_pixels,
)
from headclip_med.pipelines.trivial import trivial_maps
from headclip_med.settings import ScoreSettings
from headclip_med.transforms import joint_score, local_score

SEED = 20_241_124
"""Of the bootstrap: the same set gives the same intervals."""

IMAGES_AT_ONCE = 16

Key = tuple[str, str, Protocol]
"""Level (``pixels``, ``images``), score (``map``, ``global``, ``local``, ``joint``), protocol."""


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
    answers: Answers,
    scores: ScoreSettings,
    *,
    protocols: Sequence[Protocol] = ("exact",),
    intervals: bool = True,
) -> Measured:
    """Measure a model, with JAS and without it.

    By ``exact`` pixels are ranked by their smoothed margins, which order them as their maps do and
    lose nothing where a map is 1; by ``paper`` by the maps, on whose scale its values depend.

    Args:
        answers: Of the model.
        scores: How margins become maps and scores.
        protocols: By which pixels are measured; the published code is exact for images.
        intervals: Whether to bootstrap (``exact`` only). Pixels then need about 40 bytes each for a
            category at a time; without, they are streamed in bounded memory.
    """
    found = {}
    for category, part in answers.parts().items():
        with _Pixels(answers.masks, part, protocols, intervals=intervals) as pixels:
            local = []
            for rows, margins, maps in _smoothed(answers, scores, part):
                local.append(local_score(maps, scores.top_percent))
                pixels.add(rows, margins, maps.astype(np.float32))
            measured = pixels.sampled("map", answers.units[part])
        kinds = _kinds(answers.global_scores[part], np.concatenate(local), scores)
        truth = (answers.labels[part], answers.units[part])
        measured |= _image_rows(kinds, *truth, protocols, intervals=intervals)
        found[category] = measured
    return Measured(found)


def measure_trivial(
    answers: Answers,
    top_percent: float,
    *,
    protocols: Sequence[Protocol] = ("exact",),
    intervals: bool = True,
) -> dict[str, Measured]:
    """Measure the baselines that have learnt nothing, on the same images.

    Args:
        answers: Of any model; only the images and their truth are used.
        top_percent: k of eq. 7.
        protocols: As for ``measure``.
        intervals: As for ``measure``.

    Returns:
        By the baseline's name.
    """
    found: dict[str, dict[str, dict[Key, Sampled]]] = {}
    for category, part in answers.parts().items():
        judges = [judge for judge, _ in trivial_maps(answers.grey[:1])]
        for number, judge in enumerate(judges):
            pixels, local = _Pixels(answers.masks, part, protocols, intervals=intervals), []
            with pixels:
                for rows in _batches(part):
                    *_, (_, maps) = list(trivial_maps(np.asarray(answers.grey[rows])))[: number + 1]
                    local.append(local_score(maps, top_percent))
                    pixels.add(rows, maps, maps)
                measured = pixels.sampled("map", answers.units[part])
            truth = (answers.labels[part], answers.units[part])
            kinds = {"local": np.concatenate(local)}
            measured |= _image_rows(kinds, *truth, protocols, intervals=intervals)
            found.setdefault(judge, {})[category] = measured
    return {judge: Measured(categories) for judge, categories in found.items()}


def score_category(
    answers: Answers, scores: ScoreSettings, part: slice, pixels: PixelMetrics
) -> dict[str, Float[np.ndarray, "images"]]:
    """Score the images of one category, and give its pixels to a stream where it has masks.

    Args:
        answers: Of the model.
        scores: How margins become scores.
        part: Where the category's images stand.
        pixels: Takes smoothed margins and masks.

    Returns:
        Of each image the ``global``, the ``local`` and the ``joint`` score.
    """
    local = []
    for rows, margins, maps in _smoothed(answers, scores, part):
        local.append(local_score(maps, scores.top_percent))
        if answers.masks is not None:
            pixels.update(margins, np.asarray(answers.masks[rows]))
    return _kinds(answers.global_scores[part], np.concatenate(local), scores)


def local_scores(answers: Answers, scores: ScoreSettings) -> Float[np.ndarray, "images"]:
    """Compute S_local of every image (eq. 7): what a sweep over r reads, once for all its r."""
    whole = slice(0, len(answers.global_scores))
    found = [
        local_score(maps, scores.top_percent) for _, _, maps in _smoothed(answers, scores, whole)
    ]
    return np.concatenate(found)


def _kinds(
    own: Float[np.ndarray, "images"], local: Float[np.ndarray, "images"], scores: ScoreSettings
) -> dict[str, Float[np.ndarray, "images"]]:
    exact = own.astype(np.float64)
    joint = joint_score(exact, local, scores.joint_weight)
    return {"global": exact, "local": local, "joint": joint}


class _Pixels:
    """Takes the maps of one category, and gives their metrics by each protocol."""

    def __init__(
        self,
        masks: Bool[np.ndarray, "images size size"] | None,
        part: slice,
        protocols: Sequence[Protocol],
        *,
        intervals: bool,
    ) -> None:
        self._masks, self._part = masks, part
        wanted = () if masks is None else tuple(dict.fromkeys(protocols))
        self._whole: list[Float[np.ndarray, "images size size"]] | None = None
        self._streams: dict[Protocol, PixelMetrics] = {}
        for protocol in wanted:
            if protocol == "exact" and intervals:
                self._whole = []
            else:
                self._streams[protocol] = PixelMetrics(protocol)
        self._protocols = wanted

    def __enter__(self) -> _Pixels:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def add(
        self,
        rows: slice,
        ranked: Float[np.ndarray, "images size size"],
        maps: Float[np.ndarray, "images size size"],
    ) -> None:
        """Add images: what ``exact`` ranks by, and what ``paper`` puts its thresholds on."""
        if self._whole is not None:
            self._whole.append(ranked)
        for protocol, stream in self._streams.items():
            if self._masks is not None:
                stream.update(ranked if protocol == "exact" else maps, self._masks[rows])

    def sampled(self, score: str, units: Int[np.ndarray, "images"]) -> dict[Key, Sampled]:
        """Compute the metrics of all that was added."""
        found: dict[Key, Sampled] = {}
        for protocol in self._protocols:
            if protocol in self._streams:
                one = Sampled(self._streams[protocol].compute(), {})
            else:
                one = self._drawn(units)
            found["pixels", score, protocol] = one
        return found

    def _drawn(self, units: Int[np.ndarray, "images"]) -> Sampled:
        if self._whole is None or self._masks is None:
            raise AssertionError("kept where intervals are wanted")
        _, numbers = np.unique(units, return_inverse=True)
        masks = np.asarray(self._masks[self._part])
        return sample_pixels(np.concatenate(self._whole), masks, units=numbers, seed=SEED)


def _image_rows(
    kinds: Mapping[str, Float[np.ndarray, "images"]],
    labels: Bool[np.ndarray, "images"],
    units: Int[np.ndarray, "images"],
    protocols: Sequence[Protocol],
    *,
    intervals: bool,
) -> dict[Key, Sampled]:
    """Measure image scores where there is a second class to tell apart."""
    if labels.all() or not labels.any():
        return {}
    found: dict[Key, Sampled] = {}
    for kind, values in kinds.items():
        if intervals:
            sampled = sample_images(values, labels, groups=units, seed=SEED)
        else:
            sampled = Sampled(image_metrics(values, labels), {})
        for protocol in protocols:
            found["images", kind, protocol] = sampled
    return found


def _smoothed(
    answers: Answers, scores: ScoreSettings, part: slice
) -> Iterator[
    tuple[slice, Float[np.ndarray, "batch size size"], Float[np.ndarray, "batch size size"]]
]:
    """Smooth a few images at a time: their rows, margins in float32 and maps in float64."""
    sigma_px = scores.sigma_at(answers.image_size)
    for rows in _batches(part):
        margins = torch.from_numpy(np.array(answers.margins[rows]))
        smoothed = smooth_margin(margins, sigma_px)
        maps = smooth(margins.double().sigmoid(), sigma_px)
        yield rows, smoothed.numpy(), maps.numpy()


def _batches(part: slice) -> Iterator[slice]:
    for start in range(part.start, part.stop, IMAGES_AT_ONCE):
        yield slice(start, min(start + IMAGES_AT_ONCE, part.stop))
