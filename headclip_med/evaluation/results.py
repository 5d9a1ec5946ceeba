"""What an evaluation found, and how it is shown: as Markdown for people, as JSON for machines."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from headclip_med.metrics import Protocol, Sampled, interval
from headclip_med.models.registry import METHODS
from headclip_med.write.plain_text import csv_cell

THE_MODEL = "model"
"""How a table calls what is evaluated where it is the only model."""

_PROTOCOLS: Mapping[Protocol, str] = {
    "exact": "Protocol exact: over all thresholds.",
    "paper": "Protocol paper: pixels at the thresholds of the field's published code, whose AUPRO, "
    "F1-max and IoU-max follow the scale of the scores.",
}
_COLUMNS = ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max", "mAD")


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % bootstrap interval, fractions of 1.

    The metric is NaN where it is undefined, and the ends are NaN where nothing was drawn. Of
    several seeds it is the mean, with a standard deviation instead of an interval.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    deviation: float | None = None

    @property
    def has_interval(self) -> bool:
        """Whether there are ends."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class ResultRow:
    """One line of a table.

    Attributes:
        level: What is told apart: pixels, images, slices, volumes.
        method: What the table calls the model, or the baseline.
        score: ``map``, ``global``, ``local`` or ``joint``.
        metrics: By name.
        protocol: By which they were computed; see ``headclip_med.metrics``.
        is_baseline: Whether it has learnt nothing.
        addition: What stands beside the model in this row, as a table calls it: ``+ symmetry``, or
            ``x centre``; nothing else.
    """

    level: str
    method: str
    score: str
    metrics: Mapping[str, Estimate]
    protocol: Protocol = "exact"
    is_baseline: bool = False
    addition: str = ""

    @property
    def judge(self) -> str:
        """Who judges, for a table."""
        return f"{self.method} {self.addition}".rstrip()


@dataclass(frozen=True)
class Evaluation:
    """How well a model tells abnormal from normal on one set.

    Attributes:
        dataset: Its name.
        counts: Of normal and abnormal images, or of what else was looked at.
        image_size: Rows and columns of the model's input.
        content_digest: Of the set, where it has one.
        model: As the model describes itself, plain JSON values.
        settings: All that was set, plain JSON values.
        rows: The results; the model's first, then those of the baselines.
        notes: Sentences a reader of the table must know.
        categories: The rows of each category alone, where they were averaged over several.
        vanished: Images whose abnormal pixels did not survive the resizing.
        planes: How many volumes were cut in which of the patient's planes.
        doubts: How many findings the set's check has of each kind, by code, of those that bear on
            what was used.
    """

    dataset: str
    counts: Mapping[str, int]
    image_size: int
    content_digest: str | None
    model: Mapping[str, object]
    settings: Mapping[str, object]
    rows: tuple[ResultRow, ...]
    notes: tuple[str, ...] = ()
    categories: Mapping[str, tuple[ResultRow, ...]] = field(default_factory=dict)
    vanished: int = 0
    planes: Mapping[str, int] = field(default_factory=dict)
    doubts: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Plain values at full precision; undefined ones are null."""
        return {
            "dataset": self.dataset,
            "counts": dict(self.counts),
            "image_size": self.image_size,
            "content_digest": self.content_digest,
            "model": dict(self.model),
            "settings": dict(self.settings),
            "rows": [_row_json(row) for row in self.rows],
            "categories": {
                name: [_row_json(row) for row in rows] for name, rows in self.categories.items()
            },
            "notes": list(self.notes),
            "planes": dict(self.planes),
            "doubts": dict(self.doubts),
        }

    def to_markdown(self, *, per_category: bool = False) -> str:
        """One table, in percent with one decimal, 95 % intervals in brackets.

        Args:
            per_category: Whether a table for each category follows.
        """
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        lines = [
            f"## {self.dataset}",
            "",
            f"{counts}; images of {self.image_size} x {self.image_size} px.",
            "",
            *_markdown_rows(self.rows),
            *(f"\n{note}" for note in self.notes),
        ]
        if per_category:
            for name, rows in self.categories.items():
                lines += ["", f"### {self.dataset}: {name}", "", *_markdown_rows(rows)]
        return "\n".join(lines) + "\n"


def average(samples: Sequence[Sampled]) -> dict[str, Estimate]:
    """Average the metrics of categories; where a metric is undefined for one, it is left out."""
    found = {}
    for name in samples[0].values:
        value = _mean(np.array([[sample.values[name]] for sample in samples]))
        drawn = [sample.draws[name] for sample in samples if name in sample.draws]
        ends = interval(_mean(np.stack(drawn))) if drawn else (math.nan, math.nan)
        found[name] = Estimate(float(value[0]), *ends)
    return found


def side_by_side(evaluations: Mapping[str, Evaluation]) -> Evaluation:
    """Put evaluations of several methods on the same images into one.

    Of each method its map, and the image score that its ``ScoreSettings.image_score`` asks for: as
    published by default, or the joint one, the same switch for all. The baselines stand once,
    below.

    Args:
        evaluations: By method, in the order of the table; at least one.

    Returns:
        An evaluation whose rows are the methods'.
    """
    first = next(iter(evaluations.values()))
    categories = {name: _merged(evaluations, name) for name in first.categories}
    notes = dict.fromkeys(note for one in evaluations.values() for note in one.notes)
    sizes = {one.image_size for one in evaluations.values()}
    if len(sizes) > 1:
        shown = ", ".join(f"{name} {one.image_size} px" for name, one in evaluations.items())
        notes[f"The methods saw images of different sizes: {shown}."] = None
    return replace(
        first,
        model={name: dict(one.model) for name, one in evaluations.items()},
        settings={name: dict(one.settings) for name, one in evaluations.items()},
        rows=_merged(evaluations, None),
        categories=categories,
        notes=tuple(notes),
    )


def _merged(evaluations: Mapping[str, Evaluation], category: str | None) -> tuple[ResultRow, ...]:
    """Put the rows of all methods together, over all categories or of one."""
    first = _rows_of(next(iter(evaluations.values())), category)
    rows: list[ResultRow] = []
    for level in dict.fromkeys(row.level for row in first):
        for method, evaluation in evaluations.items():
            own = own_rows(evaluation, category)
            rows += [replace(row, method=title_of(method)) for row in own if row.level == level]
        for method, evaluation in evaluations.items():
            more = [row for row in _rows_of(evaluation, category) if row.addition]
            rows += [replace(row, method=title_of(method)) for row in more if row.level == level]
        rows += [row for row in first if row.level == level and is_of_set(row)]
    return tuple(rows)


def _rows_of(evaluation: Evaluation, category: str | None) -> tuple[ResultRow, ...]:
    return evaluation.rows if category is None else evaluation.categories[category]


def own_rows(evaluation: Evaluation, category: str | None = None) -> list[ResultRow]:
    """Choose the rows of the model itself: its map, and the image score that it is used with."""
    scores = evaluation.settings["scores"]
    kind = scores["image_score"] if isinstance(scores, Mapping) else "joint"
    rows = _rows_of(evaluation, category)
    own = [row for row in rows if not row.is_baseline and not row.addition]
    return [row for row in own if row.score in ("map", kind)]


def is_of_set(row: ResultRow) -> bool:
    """Tell whether a row is the same whatever model is evaluated."""
    return row.is_baseline and not row.addition


def title_of(method: str) -> str:
    """Call a method as the paper does; others by their own names."""
    return METHODS[method].title if method in METHODS else method


def to_markdown(evaluations: Sequence[Evaluation], *, per_category: bool = False) -> str:
    """Join the tables of several sets, with what all of them have in common said once.

    Args:
        evaluations: Of each set.
        per_category: Whether tables of single categories follow each set's.
    """
    rows = [row for one in evaluations for row in one.rows]
    drawn = any(found.has_interval for row in rows for found in row.metrics.values())
    protocols = {row.protocol for row in rows}
    said = [
        "Percent, with 95 % bootstrap intervals in brackets." if drawn else "Percent.",
        *(sentence for name, sentence in _PROTOCOLS.items() if name in protocols),
        "Averaged over categories. Trivial baselines stand beside the model: where they are as "
        "good, the model has shown nothing. Research use only.",
    ]
    better = list(_better_untaught(evaluations))
    if better:
        said.append(
            "A judge that has learnt nothing tells images apart at least as well as the model "
            f"alone (AUROC): {'; '.join(better)}."
        )
    said[-1] += "\n"
    tables = (one.to_markdown(per_category=per_category) for one in evaluations)
    return "\n".join([" ".join(said), *tables])


def _better_untaught(evaluations: Iterable[Evaluation]) -> Iterator[str]:
    """Name the sets whose images an untaught judge tells apart as well as the model, or better."""
    for one in evaluations:
        # A table of several methods holds of each the rows that it is used with.
        rows = own_rows(one) if "scores" in one.settings else one.rows
        alone = [row for row in rows if not row.is_baseline and not row.addition]
        own = [_image_auroc(row) for row in alone if row.level == "images"]
        untaught = [row for row in one.rows if row.level == "images" and is_of_set(row)]
        best = max(untaught, key=_image_auroc, default=None)
        if own and best is not None and _image_auroc(best) >= max(own):
            shown = f"{100 * _image_auroc(best):.1f}, model {100 * max(own):.1f}"
            yield f"{one.dataset} ({best.judge} {shown})"


def _image_auroc(row: ResultRow) -> float:
    found = row.metrics.get("AUROC")
    return found.value if found is not None and math.isfinite(found.value) else 0.0


def to_csv(evaluations: Iterable[Evaluation]) -> str:
    """List every metric in a line of its own, as a fraction of 1 at full precision.

    The category is empty for the mean over categories, a value or an end that is undefined as well.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    every = list(evaluations)
    seeded = any("seeds" in one.settings for one in every)
    lines.writerow(
        ("dataset", "category", "level", "judge", "score", "protocol", "metric", "value", "low",
         "high", *(["deviation"] if seeded else []))
    )  # fmt: skip
    for one in every:
        for category, rows in {"": one.rows, **one.categories}.items():
            for row in rows:
                about = (one.dataset, category, row.level, row.judge, row.score, row.protocol)
                for name, found in row.metrics.items():
                    ends = (_plain(value) for value in (found.value, found.low, found.high))
                    spread = [found.deviation] if seeded else []
                    lines.writerow((*map(csv_cell, about), name, *ends, *spread))
    return text.getvalue()


def _markdown_rows(rows: Sequence[ResultRow]) -> list[str]:
    used = [name for name in _COLUMNS if any(name in row.metrics for row in rows)]
    lines = [
        f"| level | judge | score | protocol | {' | '.join(used)} |",
        f"|---|---|---|---|{'---|' * len(used)}",
    ]
    for row in rows:
        cells = [_percent(row.metrics.get(name)) for name in used]
        place = f"{row.level} | {row.judge} | {row.score} | {row.protocol}"
        lines.append(f"| {place} | {' | '.join(cells)} |")
    return lines


def _mean(values: Float[np.ndarray, "categories draws"]) -> Float[np.ndarray, "draws"]:
    defined = np.isfinite(values)
    counted = defined.sum(axis=0)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.asarray(np.where(counted > 0, total / np.maximum(counted, 1), np.nan))


def _row_json(row: ResultRow) -> dict[str, object]:
    metrics = {
        name: {part: _plain(value) for part, value in vars(found).items() if value is not None}
        for name, found in row.metrics.items()
    }
    return {
        "level": row.level,
        "judge": row.judge,
        "score": row.score,
        "protocol": row.protocol,
        "metrics": metrics,
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(found: Estimate | None) -> str:
    if found is None:
        return "n/a"
    if not math.isfinite(found.value):
        return "undefined"
    ends = f" [{100 * found.low:.1f}, {100 * found.high:.1f}]" if found.has_interval else ""
    spread = "" if found.deviation is None else f" ± {100 * found.deviation:.1f}"
    return f"{100 * found.value:.1f}{spread}{ends}"
