"""What models reached on sets: measured once and kept, with averages formed as the paper does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from headclip_med.datasets import KNOWN_SETS, Dataset
from headclip_med.evaluation.measure import ModelMaps, measure
from headclip_med.evaluation.models import sample_row
from headclip_med.evaluation.predictions import Predictions, model_digest
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.models.model import AnomalyModel
from headclip_med.paper import Level
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan
from headclip_med.settings import ScoreSettings
from headclip_med.store import Entry
from headclip_med.write.tables import Number

OTHER_IMAGES = "not the paper's images"


class Value(NamedTuple):
    """One metric of a category (``""`` is the set's average); fractions of 1, NaN where undefined.

    ``paper`` and ``exact`` are the protocols, which are one for images.
    """

    category: str
    level: Level
    metric: str
    paper: float
    exact: float


@dataclass(frozen=True)
class SetResult:
    """What one variant reached on one set.

    Attributes:
        normal: Images.
        abnormal: Images.
        image_size: Rows and columns of the model's input.
        values: All metrics.
        sweep: Image mAD for each r, averaged over categories, where r is what is varied; there
            are no ``values`` then. Fractions of 1, NaN where undefined.
        sample: A picture of some abnormal images with their maps, if it was kept.
    """

    normal: int
    abnormal: int
    image_size: int
    values: tuple[Value, ...]
    sweep: tuple[float, ...] = ()
    sample: Path | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Count normal and abnormal images."""
        return self.normal, self.abnormal

    @property
    def is_swept(self) -> bool:
        """Whether images can be told apart on this set, and were for every r."""
        return any(math.isfinite(value) for value in self.sweep)


class ResultKey(NamedTuple):
    """Which result: names of a variant and of a set."""

    variant: str
    dataset: str


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that an experiment measured.

    Attributes:
        plan: What was to be done.
        found: Results.
        failures: Why there is no result, where trying showed it.
    """

    plan: ExperimentPlan
    found: Mapping[ResultKey, SetResult]
    failures: Mapping[ResultKey, str] = field(default_factory=dict)

    def of(self, variant: Variant, name: str) -> SetResult | None:
        """Look up what a variant reached on a set."""
        return self.found.get(ResultKey(variant.name, name))

    def some(self, name: str) -> SetResult | None:
        """Give what the first variant that has any reached on a set."""
        return next(filter(None, (self.of(one, name) for one in self.plan.variants)), None)

    def reason(self, variant: Variant, tested: EvaluationSet) -> str:
        """Say why there is no result, or nothing where there is one."""
        key = ResultKey(variant.name, tested.name)
        if key in self.found:
            return ""
        return tested.refusal(variant.method) or self.failures.get(key) or "not measured"

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """All numbers, in percent: the tidy table that all others are made of.

        Its columns are ``variant``, ``dataset``, ``domain``, the fields of ``Value`` with ``ours``
        for ``paper`` (by whose protocol that is), and ``other_images``: whether the set has others
        than the paper's.
        """
        domains = {one.name: one.domain for one in self.plan.tested}
        rows = [
            (*key, domains[key.dataset], *value, has_other_images(key.dataset, result.counts))
            for key, result in self.found.items()
            for value in result.values
        ]
        columns = ("variant", "dataset", "domain", *Value._fields, "other_images")
        frame = pd.DataFrame(rows, columns=columns)
        frame = frame.astype({"paper": float, "exact": float}).rename(columns={"paper": "ours"})
        return frame.assign(ours=100 * frame["ours"], exact=100 * frame["exact"])

    def measured(self, level: Level) -> list[str]:
        """Name the sets on which a level is defined for any variant."""
        is_set = (self.numbers["category"] == "") & (self.numbers["level"] == level)
        defined = np.isfinite(self.numbers[["ours", "exact"]]).any(axis=1)
        names = set(self.numbers.loc[is_set & defined, "dataset"])
        return [one.name for one in self.plan.tested if one.name in names]


def of_sets(cells: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Choose the numbers of sets, in the order in which they are to be averaged."""
    order = {name: place for place, name in enumerate(names)}
    chosen = cells[cells["dataset"].isin(order)]
    return chosen.sort_values("dataset", key=lambda one: one.map(order), kind="stable")


@dataclass(frozen=True)
class Compared(Number):
    """A number beside the paper's, with what keeps the two apart as facts.

    Attributes:
        other_images: Whether ours is of other images than the paper's, as far as counts tell.
        other_sets: Whether the paper's is over more sets than ours.
    """

    other_images: bool = False
    other_sets: bool = False


PaperMean = Callable[[tuple[str, ...], pd.DataFrame], tuple[float | None, str]]
"""Gives the paper's average beside ours of some numbers, and what is to be said if it is over more
sets."""


def to_numbers(cells: pd.DataFrame, by: list[str]) -> dict[tuple[str, ...], Number]:
    """Put our numbers beside the paper's.

    Args:
        cells: Of ``Results.numbers``, with ``paper``, which is NaN where the paper has none.
        by: Columns that tell the numbers apart.

    Returns:
        Each number by the values of these columns.
    """
    return {
        tuple(cell[name] for name in by): _compared(
            cell["ours"],
            cell["exact"] if cell["level"] == "pixel" else None,
            None if math.isnan(cell["paper"]) else cell["paper"],
            other_images=cell["other_images"],
        )
        for cell in cells.to_dict("records")
    }


def to_means(
    cells: pd.DataFrame, by: list[str], paper_of: PaperMean
) -> dict[tuple[str, ...], Number]:
    """Average our numbers over sets, beside the paper's averages.

    Args:
        cells: As for ``to_numbers``, one for each set.
        by: Whose numbers are averaged; ``level`` among them.
        paper_of: Gives what stands beside an average.

    Returns:
        Averages of what is defined, by the values of these columns; none where nothing is.
    """
    found: dict[tuple[str, ...], Number] = {}
    for key, group in cells.groupby(by, sort=False):
        ours = mean_of(group["ours"])
        if math.isfinite(ours):
            exact = mean_of(group["exact"]) if "pixel" in key else None
            paper, sets = paper_of(key, group)
            found[key] = _compared(
                ours, exact, paper, sets, other_images=bool(group["other_images"].any())
            )
    return found


def known_mean(papers: pd.Series) -> float | None:
    """Average the paper's numbers; None where it lacks one."""
    return mean_of(papers) if papers.notna().all() and len(papers) else None


def mean_of(values: Iterable[float]) -> float:
    """Average what is defined, one after the other; NaN where nothing is."""
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _compared(
    ours: float, exact: float | None, paper: float | None, sets: str = "", *, other_images: bool
) -> Compared:
    if paper is None:
        return Compared(ours, exact)
    differs = "; ".join(filter(None, (sets, OTHER_IMAGES if other_images else "")))
    return Compared(ours, exact, paper, differs, other_images=other_images, other_sets=bool(sets))


def has_other_images(name: str, counts: tuple[int, int]) -> bool:
    """Tell whether a set holds other images than the paper's, as far as counts tell.

    Args:
        name: Of the set.
        counts: Of normal and abnormal images.
    """
    known = KNOWN_SETS.get(name)
    return known is not None and known.test not in (None, counts)


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
