"""What a model reached on a set, measured from its stored predictions once and kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from headclip_med.datasets import Dataset
from headclip_med.evaluation.measure import ModelMaps, measure
from headclip_med.evaluation.models import sample_row
from headclip_med.evaluation.predictions import Predictions, model_digest
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.models.model import AnomalyModel
from headclip_med.paper import Level
from headclip_med.pipelines.experiments.results import SetResult, Value, mean_of
from headclip_med.settings import ScoreSettings
from headclip_med.store import Entry

MEASURED = "measured"
SAMPLE = "sample.png"
FORM = 3
"""Of what is kept; another number where metrics or files come to mean something else."""

SAMPLES_DRAWN = 3
"""Abnormal images in the picture of a set, evenly spread over it."""

MEASURES = EvaluationSettings(metrics="both", intervals=False)
_LEVELS: Mapping[str, Level] = {"pixels": "pixel", "images": "image"}


@dataclass(frozen=True, eq=False)
class Question:
    """What is measured: a model's predictions of a set, scored in one way.

    Attributes:
        model: Who predictions, its ``scores`` those that are measured.
        dataset: Whose ``test`` split is asked about.
        limit: At most this many images of each category.
        sweep: Values of r that images are scored with; nothing else is measured then.
    """

    model: AnomalyModel
    dataset: Dataset
    limit: int | None = None
    sweep: tuple[float, ...] = ()

    @cached_property
    def identity(self) -> dict[str, object]:
        """Tell it apart by all that the numbers depend on.

        Both image scores, with JAS and without, are measured at once, so ``image_score`` is no
        part of it.
        """
        scores = replace(self.model.scores, image_score="joint")
        return {
            "form": FORM,
            "model": model_digest(self.model),
            "dataset": self.dataset.name,
            "content_digest": self.dataset.content_digest,
            "image_size": self.model.image_size,
            "limit": self.limit,
            "scores": scores.to_json(),
            "sweep": list(self.sweep),
        }

    def entry(self, out: Path) -> Entry:
        """Say where the numbers are kept, and a picture that shows some of the images."""
        return Entry.of(out / MEASURED, self.dataset.name, self.identity)

    def known(self, out: Path) -> SetResult | None:
        """Read the numbers; None where they were not measured yet, or are damaged."""
        kept = self.entry(out).read()
        if kept is None:
            return None
        sample = kept.folder / SAMPLE
        kinds = ("map", self.model.scores.image_score)
        return SetResult(
            normal=kept.values["normal"],
            abnormal=kept.values["abnormal"],
            image_size=kept.values["image_size"],
            values=tuple(
                Value(category, level, metric, _number(paper), _number(exact))
                for score, category, level, metric, paper, exact in kept.values["rows"]
                if score in kinds
            ),
            sweep=tuple(map(_number, kept.values["sweep"])),
            sample=sample if sample.is_file() else None,
        )

    def settle(self, predictions: Predictions, out: Path) -> SetResult:
        """Measure, and keep the numbers."""
        scores = self.model.scores
        abnormal = int(np.count_nonzero(predictions.labels))
        with self.entry(out).write() as new:
            new.values.update(
                normal=len(predictions.labels) - abnormal,
                abnormal=abnormal,
                image_size=predictions.image_size,
                rows=[] if self.sweep else _rows(predictions, scores),
                sweep=[_plain(value) for value in sweep_joint(predictions, scores, self.sweep)],
            )
            _draw_samples(predictions, scores, new.folder / SAMPLE)
        found = self.known(out)
        if found is None:
            raise AssertionError("an entry that was just written is whole")
        return found


def sweep_joint(
    predictions: Predictions, scores: ScoreSettings, weights: Sequence[float]
) -> tuple[float, ...]:
    """Score images with every r, from what a model said once.

    Returns:
        mAD of images for each of ``weights``, averaged over categories; NaN where undefined.
    """
    if not weights or predictions.labels.all() or not predictions.labels.any():
        return (math.nan,) * len(weights)
    swept = [one.sweep(weights) for one in ModelMaps(predictions, scores).of_categories()]
    return tuple(mean_of(values) for values in zip(*swept, strict=True))


def _draw_samples(predictions: Predictions, scores: ScoreSettings, path: Path) -> None:
    """Draw some abnormal images below each other, where there are any."""
    abnormal = np.flatnonzero(predictions.labels)
    count = min(SAMPLES_DRAWN, len(abnormal))
    if not count:
        return
    places = np.linspace(0, len(abnormal) - 1, count).round().astype(int)
    rows = [sample_row(predictions, scores, int(abnormal[place])) for place in places]
    Image.fromarray(np.concatenate(rows)).save(path)


def _rows(predictions: Predictions, scores: ScoreSettings) -> list[list[object]]:
    """List all numbers: score, and the fields of ``Value``."""
    measured = measure(predictions, scores, MEASURES)
    return [
        [score, category or "", _LEVELS[level], name, _plain(paper), _plain(both["exact"][name])]
        for category in (None, *dict.fromkeys(predictions.categories))
        for level, score in dict.fromkeys(key[:2] for key in measured.keys)
        for both in [
            {p: measured.metrics(level, score, p, category=category) for p in MEASURES.protocols}
        ]
        for name, paper in both["paper"].items()
    ]


def _number(stored: float | None) -> float:
    return math.nan if stored is None else float(stored)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
