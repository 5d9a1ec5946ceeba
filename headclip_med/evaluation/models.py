"""Models evaluated on one set of labelled images, beside baselines that have learnt nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from headclip_med.datasets import Dataset, doubts_of
from headclip_med.evaluation.measure import (
    Measured,
    ModelMaps,
    measure,
    measure_baselines,
    measure_centred,
    measure_joined,
)
from headclip_med.evaluation.predictions import Predictions, choose, predict_dataset
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.evaluation.results import THE_MODEL, Evaluation, ResultRow, title_of
from headclip_med.metrics import Curves, PixelMetrics, image_curves
from headclip_med.metrics.curves import Line
from headclip_med.models.maps import smooth
from headclip_med.models.model import AnomalyModel
from headclip_med.settings import ScoreSettings
from headclip_med.write.pictures.curves import write_curves
from headclip_med.write.pictures.overlay import draw_sample

LEAST_IMAGES = 10
"""Of a class; a bootstrap of fewer draws the same few again and again."""

Look = Callable[[Sequence[Predictions]], None]
"""Sees what models predicted."""


def evaluate_models(
    dataset: Dataset,
    models: Sequence[AnomalyModel],
    settings: EvaluationSettings | None = None,
    *,
    look: Look = lambda predictions: None,
    seen: Callable[[int], None] = lambda count: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Evaluation]:
    """Predict the test images of a set with several models, and compare with the truth.

    Images are resized to a model's square input (bicubic, antialiased), masks with them
    (bilinear, cut at one half), and pixels are compared there unless ``eval_size`` is ``native``.
    Metrics are computed for each category and averaged. A model whose sentences name what is looked
    at is told the category. Every image is read once, and models on the same backbone that see it
    alike share its passes (``predict_together``). Memory does not grow with the images, but for a
    few numbers of each; files do, temporary ones without a store.

    Args:
        dataset: Its ``test`` split is used.
        models: What is evaluated; their ``scores`` say how maps become scores.
        settings: How; curves are of the models' input at any size.
        look: Called with all models' predictions of each part of the set, while they are there.
        seen: Is told after each batch how many images that was.
        say: Is told what is doubtful about the set's files and masks, before any model runs.

    Returns:
        For each model, in their order: pixel metrics of the maps where the set has masks; image
        metrics of the global, the local and the joint score where it has both classes; the same
        for the baselines.

    Raises:
        InvalidSettings: ``limit`` or ``batch_size`` is below 1.
        UnreadableInput: A file of the set cannot be used, or a mask contradicts its image's label.
        OutOfMemory: A batch does not fit the device.
    """
    settings, tested = settings or EvaluationSettings(), dataset.split("test")
    doubts = doubts_of(dataset, choose(dataset, settings.limit).samples, say)
    found = [_Found() for _ in models]
    for part in [tested] if settings.store is not None else _by_category(tested):
        predicted = predict_dataset(
            part, models, store=settings.store, batch_size=settings.batch_size,
            image_size=settings.image_size, limit=settings.limit, symmetry=settings.symmetry,
            seen=seen,
        )  # fmt: skip
        look(predicted)
        baselines: dict[tuple[int, float], dict[str, Measured]] = {}
        for model, predictions, one in zip(models, predicted, found, strict=True):
            alike = predictions.image_size, model.scores.top_percent
            if alike not in baselines:
                baselines[alike] = measure_baselines(predictions, alike[1], settings)
            one.add(predictions, _measured(predictions, model, settings), baselines[alike])
        if settings.curves is not None:
            draw_curves(predicted, [model.scores for model in models], settings.curves)
    return [
        one.evaluation(tested, model, settings, doubts)
        for model, one in zip(models, found, strict=True)
    ]


def _measured(
    predictions: Predictions, model: AnomalyModel, settings: EvaluationSettings
) -> dict[str, Measured]:
    """Measure a model alone, and with what stands beside it, by how a table calls that."""
    joined = measure_joined(predictions, model.scores, settings)
    return {
        ALONE: measure(predictions, model.scores, settings),
        **({} if joined is None else {WITH_SYMMETRY: joined}),
        CENTRED: measure_centred(predictions, model.scores, settings),
    }


def _by_category(tested: Dataset) -> list[Dataset]:
    return [
        replace(tested, samples=tuple(one for one in tested.samples if one.category == category))
        for category in tested.categories
    ]


ALONE, WITH_SYMMETRY, CENTRED = "", "+ symmetry", "x centre"
"""The model by itself, joined with both sides' difference, and multiplied with the centre prior."""


@dataclass(eq=False)
class _Found:
    """What was found of one model so far."""

    own: dict[str, Measured] = field(default_factory=dict)
    baselines: dict[str, Measured] = field(default_factory=dict)
    described: dict[str, object] = field(default_factory=dict)
    digest: str | None = None
    side: int = 0
    images: int = 0
    abnormal: int = 0
    vanished: int = 0
    compared: int = 0

    def add(
        self,
        predictions: Predictions,
        own: Mapping[str, Measured],
        baselines: Mapping[str, Measured],
    ) -> None:
        """Put another part of the set beside those before."""
        for kept, more in ((self.own, own), (self.baselines, baselines)):
            for name, measured in more.items():
                kept[name] = kept.get(name, Measured({})).joined(measured)
        if predictions.side_scores is not None:
            self.compared += int(np.isfinite(predictions.side_scores).sum())
        self.described, self.digest = dict(predictions.model), predictions.content_digest
        self.side = predictions.image_size
        self.images += len(predictions.labels)
        self.abnormal += int(predictions.labels.sum())
        self.vanished += int(predictions.has_vanished.sum())

    def evaluation(
        self,
        tested: Dataset,
        model: AnomalyModel,
        settings: EvaluationSettings,
        doubts: Mapping[str, int],
    ) -> Evaluation:
        """Put it into words and rows."""
        categories = tested.categories
        planes = _planes_of(tested)
        is_single = len(categories) == 1  # with several no single content describes the run
        return Evaluation(
            dataset=tested.name,
            counts={"normal": self.images - self.abnormal, "abnormal": self.abnormal},
            image_size=self.side,
            content_digest=self.digest or tested.content_digest,
            model=self.described if is_single else model.describe(),
            settings={
                "scores": model.scores.to_json(),
                "level": tested.level,
                "limit": settings.limit,
                "protocols": list(settings.protocols),
                "intervals": settings.intervals,
                "eval_size": settings.eval_size,
                "planes": settings.planes,
                "symmetry": settings.symmetry,
                "categories": list(categories),
            },
            rows=self._rows(None),
            notes=(*_of_level(tested), *self._notes(settings, planes), *_in_doubt(doubts)),
            categories={} if is_single else {name: self._rows(name) for name in categories},
            vanished=self.vanished,
            planes=planes,
            doubts=doubts,
        )

    def _rows(self, category: str | None) -> tuple[ResultRow, ...]:
        """Average over categories, or take one; pixels first, then images."""
        judges = [(THE_MODEL, addition, one) for addition, one in self.own.items()]
        judges += [(name, ALONE, one) for name, one in self.baselines.items()]
        rows = []
        for name, addition, measured in judges:
            is_baseline = name != THE_MODEL or addition == CENTRED
            for level, score, protocol in measured.keys:
                found = measured.estimates(level, score, protocol, category=category)
                if found:
                    row = ResultRow(level, name, score, found, protocol, is_baseline, addition)
                    rows.append(row)
        return tuple(sorted(rows, key=lambda row: row.level != "pixels"))

    def _notes(self, settings: EvaluationSettings, planes: Mapping[str, int]) -> Iterator[str]:
        for plane, count in planes.items():
            if plane != settings.planes:
                yield (
                    f"Volumes judged in {plane} slices, as they were acquired, because "
                    f"{settings.planes} ones would be too coarse: {count}."
                )
        if settings.eval_size == "native":
            yield "Pixels were compared at each image's own size."
        elif self.vanished:
            yield (
                f"In {self.vanished} images what is abnormal is too small to survive the resizing; "
                "its pixels count as normal."
            )
        if WITH_SYMMETRY in self.own:
            yield (
                f"With symmetry, {self.compared} of {self.images} images were compared with their "
                "mirror images; the others show no two sides, and keep the model's scores."
            )
        normal = self.images - self.abnormal
        if settings.intervals and 0 < min(self.abnormal, normal or self.abnormal) < LEAST_IMAGES:
            yield (
                f"{normal} normal and {self.abnormal} abnormal images are too few for an interval: "
                f"the bootstrap wants at least {LEAST_IMAGES} of each, and the ends shown are "
                "closer together than they should be."
            )
        if settings.limit is not None:
            yield f"At most {settings.limit} images of each category were judged."


def _planes_of(tested: Dataset) -> dict[str, int]:
    """Count the volumes of a set by the plane that they were cut in."""
    volumes = {one.image_path: one.plane for one in tested.samples if one.plane is not None}
    return dict(Counter(volumes.values()))


def _of_level(tested: Dataset) -> Iterator[str]:
    if tested.level == "image":
        yield "The set has no masks: images were told apart, and nothing is said of pixels."


def _in_doubt(doubts: Mapping[str, int]) -> Iterator[str]:
    if doubts:
        counted = ", ".join(f"{code} {count}" for code, count in doubts.items())
        yield f"The set's files leave doubts, which 'headclip datasets check' explains: {counted}."


def draw_curves(
    predicted: Sequence[Predictions], scores: Sequence[ScoreSettings], folder: Path
) -> list[Path]:
    """Draw the exact curves of one set, with a line for each model.

    Args:
        predicted: Of each model, about the same images.
        scores: How each one's logits become scores; its ``image_score`` is what is drawn.
        folder: Where to; it is made where it is missing.

    Returns:
        ``SET.CATEGORY.pixels.png`` where the set has masks, and ``SET.CATEGORY.images.png`` where
        the category has both classes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for category in predicted[0].parts():
        levels: dict[str, dict[str, Mapping[str, Line]]] = {"pixels": {}, "images": {}}
        for name, one, how in zip(_titles(predicted), predicted, scores, strict=True):
            for level, curves in _category_curves(one, how, category).items():
                if len(curves.recall):  # none where a class is absent
                    levels[level][name] = curves.lines()
        for level, lines in levels.items():
            if lines:
                dataset = predicted[0].dataset
                path = folder / f"{file_name(dataset)}.{file_name(category)}.{level}.png"
                write_curves(path, lines, title=f"{dataset}, {category}: {level}")
                written.append(path)
    return written


def _category_curves(
    predictions: Predictions, scores: ScoreSettings, category: str
) -> dict[str, Curves]:
    part, found = predictions.parts()[category], {}
    with PixelMetrics() as pixels:
        kinds = ModelMaps(predictions, scores).stream(part, pixels)
        if predictions.masks is not None:
            found["pixels"] = Curves.of(pixels.pooled())
    labels = np.asarray(predictions.labels[part])
    return {**found, "images": image_curves(kinds[scores.image_score], labels)}


def _titles(predicted: Sequence[Predictions]) -> list[str]:
    """Call each model by its method, and number those that are called alike."""
    titles = [title_of(str(one.model.get("method", THE_MODEL))) for one in predicted]
    return [
        title if titles.count(title) == 1 else f"{title} {titles[:number].count(title) + 1}"
        for number, title in enumerate(titles)
    ]


def sample_row(
    predictions: Predictions, scores: ScoreSettings, index: int
) -> UInt8[np.ndarray, "side width 3"]:
    """Draw an image beside its map and the truth."""
    logits = torch.from_numpy(np.array(predictions.logits[index : index + 1]))
    heat = smooth(logits.sigmoid(), scores.sigma_at(predictions.image_size))[0].numpy()
    truth = None if predictions.masks is None else np.asarray(predictions.masks[index])
    return draw_sample(np.asarray(predictions.grey[index])[..., None], heat, truth)


def file_name(name: str) -> str:
    """Name a file after a set or a category."""
    return re.sub(r"[^\w+-]+", "_", name)
