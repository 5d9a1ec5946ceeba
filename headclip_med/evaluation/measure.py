"""From predictions to metrics: one pass over the logits for each choice of smoothing, k and r.

Judges that have learnt nothing stand beside the model; see ``baselines``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from headclip_med.datasets import read_mask
from headclip_med.evaluation.baselines import (
    BASELINES,
    IMAGE_BASELINES,
    SIDES_PX,
    MapsOf,
    ScoresOf,
    centre_maps,
)
from headclip_med.evaluation.examples import prepare_image
from headclip_med.evaluation.predictions import Predictions
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.evaluation.results import Estimate, average
from headclip_med.mapped import release
from headclip_med.metrics import (
    PixelDraws,
    PixelMetrics,
    Pooled,
    Protocol,
    Sampled,
    image_metrics,
    ranking,
    sample_images,
)
from headclip_med.metrics.scores import Maps, Masks, Scores
from headclip_med.metrics.streaming import MEMORY_MB
from headclip_med.models.maps import log_odds, patches_of, smooth_logits_and_map
from headclip_med.settings import ScoreSettings
from headclip_med.transforms import joint_score, local_score, resize_images, resize_maps
from headclip_med.transforms.scores import joined_maps, joined_scores

Compared = tuple[slice, Maps, Maps, Masks]
"""Which images; what ``exact`` ranks their pixels by; their maps; their masks."""

SEED = 20_241_124
"""Of the bootstrap: the same set gives the same intervals."""

IMAGES_AT_ONCE = 16

Key = tuple[str, str, Protocol]
"""Level (``pixels``, ``images``), score (``map``, ``global``, ``local``, ``joint``), protocol."""

_Inputs = Float[np.ndarray, "images size size"]
_Squares = Float[np.ndarray, "batch size size"]
_Locals = Float[np.ndarray, "batch"]
"""S_local of some images."""
_Batch = tuple[_Squares, _Squares]
"""What ``exact`` ranks pixels by, and maps."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics of a model or a baseline on one set.

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
        """Put the categories of another measurement of the same model beside these."""
        return Measured({**self.categories, **other.categories})


def measure(
    predictions: Predictions, scores: ScoreSettings, settings: EvaluationSettings | None = None
) -> Measured:
    """Measure a model, with JAS and without it.

    By ``exact`` pixels are ranked by their smoothed logits, which order them as their maps do and
    lose nothing where a map is 1; by ``paper`` by the maps, on whose scale its values depend.

    Everything is streamed: memory does not grow with the pixels.

    Args:
        predictions: Of the model.
        scores: How logits become maps and scores; S_local is of the model's map at any size.
        settings: By which protocols, at which size, and whether intervals are wanted.
    """
    return _measured(ModelMaps(predictions, scores), settings or EvaluationSettings())


def measure_baselines(
    predictions: Predictions, top_percent: float, settings: EvaluationSettings | None = None
) -> dict[str, Measured]:
    """Measure the baselines that have learnt nothing, on the same images.

    Args:
        predictions: Of any model; only the images and their ground truth are used.
        top_percent: k of eq. 7.
        settings: As for ``measure``.

    Returns:
        By the baseline's name.
    """
    settings = settings or EvaluationSettings()
    with_maps = {
        name: _measured(_BaselineMaps(predictions, maps_of, top_percent), settings)
        for name, maps_of in BASELINES.items()
    }
    whole = {
        name: _ImageJudge(predictions, scores_of, settings).measured()
        for name, scores_of in IMAGE_BASELINES.items()
    }
    return with_maps | whole


def measure_centred(
    predictions: Predictions, scores: ScoreSettings, settings: EvaluationSettings | None = None
) -> Measured:
    """Measure a model whose maps are multiplied with the centre prior; as for ``measure``."""
    return _measured(CentredMaps(predictions, scores), settings or EvaluationSettings())


def measure_joined(
    predictions: Predictions, scores: ScoreSettings, settings: EvaluationSettings | None = None
) -> Measured | None:
    """Measure a model joined with what both sides of a head differ by; as for ``measure``.

    Returns:
        None where sides were not compared.
    """
    if predictions.side_maps is None:
        return None
    return _measured(JoinedMaps(predictions, scores), settings or EvaluationSettings())


class CategoryScores(NamedTuple):
    """Scores of a category's images, and whether each is abnormal."""

    own: Scores
    local: Scores
    labels: Bool[np.ndarray, "images"]

    def sweep(self, weights: Sequence[float]) -> list[float]:
        """Score the images with every r; give each one's mAD, NaN with one class."""
        return [
            image_metrics(joint_score(self.own, self.local, r), self.labels)["mAD"] for r in weights
        ]


@dataclass(frozen=True, eq=False)
class ModelMaps:
    """A model's maps of a set, smoothed and scored in one way.

    Attributes:
        predictions: Of the model.
        scores: How logits become maps and scores.
    """

    predictions: Predictions
    scores: ScoreSettings

    def read(self, rows: slice) -> _Batch:
        """Smooth some images: logits in float32, maps in float64."""
        logits = torch.from_numpy(_read(self.predictions.logits, rows))
        sigma_px = self.scores.sigma_at(self.predictions.image_size)
        smoothed, maps = smooth_logits_and_map(logits, sigma_px)
        return smoothed.numpy(), maps.numpy()

    def local(self, rows: slice, maps: _Squares) -> _Locals:
        """Give S_local of some images (eq. 7), from what the scores take it from."""
        if self.scores.local_map == "patches":
            exact = torch.from_numpy(_read(self.predictions.logits, rows)).double().sigmoid()
            maps = patches_of(exact, self.predictions.patch_px).numpy()
        return local_score(maps, self.scores.top_percent)

    def image_scores(self, part: slice, local: Scores) -> dict[str, Scores]:
        """Give the ``global``, the ``local`` and the ``joint`` score of a category's images."""
        own = self.predictions.global_scores[part].astype(np.float64)
        joint = joint_score(own, local, self.scores.joint_weight)
        return {"global": own, "local": local, "joint": joint}

    def local_scores(self) -> Scores:
        """Compute S_local of every image: what a sweep over r reads, once for all its r."""
        whole = slice(0, len(self.predictions.global_scores))
        return np.concatenate([self.local(rows, self.read(rows)[1]) for rows in _batches(whole)])

    def of_categories(self) -> list[CategoryScores]:
        """Give what a sweep over r reads, for each category."""
        own, local = self.predictions.global_scores.astype(np.float64), self.local_scores()
        labels, parts = np.asarray(self.predictions.labels), self.predictions.parts().values()
        return [CategoryScores(own[part], local[part], labels[part]) for part in parts]

    def stream(self, part: slice, pixels: PixelMetrics) -> dict[str, Scores]:
        """Score a category's images, and give their pixels to a stream where the set has masks."""
        local = []
        for rows in _batches(part):
            logits, maps = self.read(rows)
            local.append(self.local(rows, maps))
            if self.predictions.masks is not None:
                pixels.update(logits, _read(self.predictions.masks, rows))
        return self.image_scores(part, np.concatenate(local))


class CentredMaps(ModelMaps):
    """A model's maps, each multiplied with the centre prior: whether it knows more than framing."""

    def read(self, rows: slice) -> _Batch:
        """Multiply some images' maps, which rank pixels as well."""
        maps = super().read(rows)[1]
        centred = maps * centre_maps(*maps.shape)
        return centred.astype(np.float32), centred

    def local(self, rows: slice, maps: _Squares) -> _Locals:
        """Give S_local of the products (eq. 7)."""
        return local_score(maps, self.scores.top_percent)

    def image_scores(self, part: slice, local: Scores) -> dict[str, Scores]:
        """Give the ``local`` score."""
        return {"local": local}


class JoinedMaps(ModelMaps):
    """A model's maps and scores joined with those of both sides' difference."""

    def read(self, rows: slice) -> _Batch:
        """Join some images by ``joined_maps``: the higher of both, in log-odds too."""
        logits, maps = super().read(rows)
        if self.predictions.side_maps is None:
            return logits, maps
        sides = torch.from_numpy(_read(self.predictions.side_maps, rows)).double()
        by_sides = log_odds(sides, 1 - sides).numpy()
        return joined_maps(logits, by_sides), joined_maps(maps, sides.numpy())

    def local(self, rows: slice, maps: _Squares) -> _Locals:
        """Give S_local of the model's own maps; the score of sides is joined with it later."""
        return super().local(rows, super().read(rows)[1])

    def image_scores(self, part: slice, local: Scores) -> dict[str, Scores]:
        """Join each score with that of the images' sides, by ``joined_scores``."""
        own, sides = super().image_scores(part, local), self.predictions.side_scores
        if sides is None:
            return own
        found = np.array(sides[part], dtype=np.float64)
        return {name: joined_scores(one, found) for name, one in own.items()}


@dataclass(frozen=True, eq=False)
class _BaselineMaps:
    """What a baseline makes of the images that a model saw."""

    predictions: Predictions
    maps_of: MapsOf
    top_percent: float

    def read(self, rows: slice) -> _Batch:
        maps = np.asarray(self.maps_of(_read(self.predictions.grey, rows)), dtype=np.float32)
        return maps, maps

    def local(self, rows: slice, maps: _Squares) -> _Locals:
        return local_score(maps, self.top_percent)

    def image_scores(self, part: slice, local: Scores) -> dict[str, Scores]:
        return {"local": local}


@dataclass(frozen=True, eq=False)
class _ImageJudge:
    """Measures a baseline that gives images a score and no map."""

    predictions: Predictions
    scores_of: ScoresOf
    settings: EvaluationSettings

    def measured(self) -> Measured:
        """Measure every category that has both classes."""
        found = {}
        for name, part in self.predictions.parts().items():
            scores = np.concatenate([self.scores_of(self._images(rows)) for rows in _batches(part)])
            found[name] = sampled_images(self.predictions, part, {"global": scores}, self.settings)
        return Measured(found)

    def _images(self, rows: slice) -> _Inputs:
        """Give grey images of ``SIDES_PX``: read again, since a model's own may be smaller."""
        if self.predictions.samples:
            read = [prepare_image(one, SIDES_PX) for one in self.predictions.samples[rows]]
            return np.asarray(torch.stack(read).mean(dim=1).numpy())
        grey = torch.from_numpy(_read(self.predictions.grey, rows))[:, None]
        return np.asarray(resize_images(grey.expand(-1, 3, -1, -1), SIDES_PX)[:, 0].numpy())


def sampled_images(
    predictions: Predictions,
    part: slice,
    scores: Mapping[str, Scores],
    settings: EvaluationSettings,
) -> dict[Key, Sampled]:
    """Measure how scores tell the images of a category apart; nothing where a class is absent."""
    labels, units = predictions.labels[part], predictions.units[part]
    if labels.all() or not labels.any():
        return {}
    found: dict[Key, Sampled] = {}
    for kind, values in scores.items():
        if settings.intervals:
            sampled = sample_images(values, labels, groups=units, seed=SEED)
        else:
            sampled = Sampled(image_metrics(values, labels), {})
        found |= {("images", kind, protocol): sampled for protocol in settings.protocols}
    return found


def _measured(maps: ModelMaps | _BaselineMaps, settings: EvaluationSettings) -> Measured:
    parts = maps.predictions.parts()
    return Measured(
        {name: _Category(maps, part, settings).measured() for name, part in parts.items()}
    )


@dataclass(frozen=True)
class _Category:
    """Measures the images of one category."""

    maps: ModelMaps | _BaselineMaps
    part: slice
    settings: EvaluationSettings

    def measured(self) -> dict[Key, Sampled]:
        """Measure maps where there are masks, and image scores where there are both classes."""
        local, found = [], {}
        with ExitStack() as stack:
            streams: dict[Protocol, PixelMetrics] = {}
            if self.maps.predictions.masks is not None:
                share_mb = MEMORY_MB // len(self.settings.protocols)
                streams = {
                    one: stack.enter_context(PixelMetrics(one, memory_mb=share_mb))
                    for one in self.settings.protocols
                }
            for rows in _batches(self.part):
                ranked, maps = self.maps.read(rows)
                local.append(self.maps.local(rows, maps))
                for _, by_rank, by_map, marked in self._sized(rows, ranked, maps):
                    for protocol, stream in streams.items():
                        scores = by_rank if protocol == "exact" else by_map.astype(np.float32)
                        stream.update(scores, marked)
            for protocol, stream in streams.items():
                values, draws = stream.compute(), {}
                if protocol == "exact" and self.settings.intervals:
                    draws = self._draws(stream.pooled(), values)
                found["pixels", "map", protocol] = Sampled(values, draws)
        of_images = self.maps.image_scores(self.part, np.concatenate(local))
        return found | sampled_images(self.maps.predictions, self.part, of_images, self.settings)

    def _draws(
        self, pooled: Pooled, values: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "draws"]]:
        """Go over the maps again, to count each image where it matters."""
        names, numbers = np.unique(self.maps.predictions.units[self.part], return_inverse=True)
        counted = PixelDraws(pooled, len(names))
        for rows in _batches(self.part):
            for some, by_rank, _, marked in self._sized(rows, *self.maps.read(rows)):
                own = slice(some.start - self.part.start, some.stop - self.part.start)
                counted.update(by_rank, marked, numbers[own])
        return counted.draws(values, seed=SEED, repeats=ranking.PIXEL_REPEATS)

    def _sized(self, rows: slice, ranked: _Squares, maps: _Squares) -> Iterator[Compared]:
        """Give some images with masks at the size where they are compared."""
        predictions = self.maps.predictions
        if predictions.masks is None:
            return
        if self.settings.eval_size == "native":
            yield from at_native_size(predictions, rows, ranked, maps)
        else:
            yield rows, ranked, maps, _read(predictions.masks, rows)


def at_native_size(
    predictions: Predictions, rows: slice, ranked: _Inputs, maps: _Inputs
) -> Iterator[Compared]:
    """Stretch what is said of some images to their own sizes, bilinearly.

    Args:
        predictions: Of a set with masks.
        rows: Which images.
        ranked: What ``exact`` ranks by: log-odds of the maps, or the maps themselves.
        maps: In [0, 1].

    Yields:
        One image at a time.

    Raises:
        UnreadableInput: A mask cannot be read again.
    """
    for place, number in enumerate(range(rows.start, rows.stop)):
        mask = read_mask(predictions.samples[number])
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


def _read(array: Shaped[np.ndarray, "images size size"], rows: slice) -> np.ndarray:
    """Copy some images, and keep nothing else of a mapped file in memory."""
    found = np.array(array[rows])
    release(array)
    return found


def _batches(part: slice) -> Iterator[slice]:
    for start in range(part.start, part.stop, IMAGES_AT_ONCE):
        yield slice(start, min(start + IMAGES_AT_ONCE, part.stop))
