"""Evaluations beside what the paper prints for the same methods and sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from headclip_med.evaluation.results import Evaluation, ResultRow, own_rows, title_of
from headclip_med.models.registry import METHODS
from headclip_med.paper import METRICS, Level, paper_values
from headclip_med.pipelines.experiments.results import (
    has_other_images,
    known_mean,
    to_means,
    to_numbers,
)
from headclip_med.pipelines.experiments.tables import OTHER_IMAGES_NOTE, averaged_sets
from headclip_med.write.tables import Line, Table

PAPER_BACKBONE = "ViT-L-14-336"

_SETS_TABLES = (1, 2, 3)
"""Of the paper; they print the averages of whole sets."""

_CALLED: Mapping[Level, str] = {"image": "images", "pixel": "pixels"}
"""Levels as evaluations name them."""

_NOTES = (
    "Percent. 'ours' is by the protocol paper, as the printed numbers are; 'exact' is over all "
    "thresholds; the difference is ours less the paper's.",
    OTHER_IMAGES_NOTE,
)


def paper_comparison(evaluations: Sequence[Evaluation]) -> tuple[Table, ...]:
    """Put evaluations beside the paper's numbers, images and pixels apart.

    Ours are averaged as the paper forms its averages: over categories, then over sets. An average
    is shown beside that of the paper's numbers for the same sets.

    Args:
        evaluations: By both protocols; what the paper does not have is left out.

    Returns:
        A table for each level that has anything to compare; ``ours`` there is by the ``paper``
        protocol.
    """
    found = []
    for level, metrics in METRICS.items():
        cells = _beside_paper(evaluations, level)
        if len(cells):
            called, lines = _CALLED[level], (*_sets(cells, level), *_averages(cells, level))
            title, notes = f"Beside the paper: {called}", (*_NOTES, *_backbones(cells))
            heads = ("set", "method")
            found.append(Table(f"paper-{called}", title, heads, metrics, lines, notes))
    return tuple(found)


def _beside_paper(evaluations: Sequence[Evaluation], level: Level) -> pd.DataFrame:
    """Put all numbers of a level, in percent, beside those that the paper has of their sets."""
    columns = ["dataset", "method", "backbone", "other_images", "metric", "ours", "exact"]
    rows = [row for evaluation in evaluations for row in _rows(evaluation, level)]
    values = paper_values(level=level, category="").rename(columns={"value": "paper"})
    values = values[values["table"].isin(_SETS_TABLES)]
    printed = values.loc[values["metric"] == "mAD", ["dataset", "method", "domain", "level"]]
    ours = pd.DataFrame(rows, columns=columns).merge(printed)
    return ours.merge(values[["dataset", "method", "metric", "paper"]], how="left")


def _rows(evaluation: Evaluation, level: Level) -> Iterator[tuple[object, ...]]:
    counts = evaluation.counts.get("normal", 0), evaluation.counts.get("abnormal", 0)
    other_images = has_other_images(evaluation.dataset, counts)
    for title, rows, model in _methods(evaluation):
        by = {row.protocol: row.metrics for row in rows if row.level == _CALLED[level]}
        for metric, ours in by.get("paper", {}).items():
            exact = by.get("exact", {}).get(metric)
            values = 100 * ours.value, 100 * exact.value if exact else math.nan
            yield evaluation.dataset, title, _backbone(model), other_images, metric, *values


def _methods(evaluation: Evaluation) -> Iterator[tuple[str, list[ResultRow], object]]:
    """Give each method's rows (its map, the image score it is used with) and its description."""
    method = evaluation.model.get("method")
    if isinstance(method, str):
        if method in METHODS:
            yield METHODS[method].title, own_rows(evaluation), evaluation.model
        return
    # Of several methods side by side each row is its own.
    for name, model in evaluation.model.items():
        title = title_of(name)
        yield title, [row for row in evaluation.rows if row.method == title], model


def _sets(cells: pd.DataFrame, level: Level) -> Iterator[Line]:
    numbers = to_numbers(cells, ["dataset", "method", "metric"])
    for heads in dict.fromkeys(zip(cells["dataset"], cells["method"], strict=True)):
        yield Line(heads, tuple(numbers.get((*heads, metric)) for metric in METRICS[level]))


def _averages(cells: pd.DataFrame, level: Level) -> Iterator[Line]:
    """Average each method over the sets of a domain, where there are several."""
    defined = cells[np.isfinite(cells["ours"])]
    numbers = to_means(
        defined,
        ["domain", "method", "level", "metric"],
        lambda _, group: (known_mean(group["paper"]), ""),
    )
    for domain in cells["domain"].unique():
        count = len(averaged_sets(domain, level))
        for method in cells["method"].unique():
            own = cells[(cells["domain"] == domain) & (cells["method"] == method)]
            here = own["dataset"].nunique()
            if here > 1:
                head = f"mean of {here} of the paper's {count} {domain} sets"
                keys = ((domain, method, level, metric) for metric in METRICS[level])
                yield Line((head, method), tuple(numbers.get(key) for key in keys))


def _backbone(model: object) -> str:
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    return str(backbone.get("name", "")) if isinstance(backbone, Mapping) else ""


def _backbones(cells: pd.DataFrame) -> Iterator[str]:
    """Say where ours rest on other features than the paper's."""
    named = sorted(name for name in cells["backbone"].unique() if name)
    others = [name for name in named if not name.startswith(PAPER_BACKBONE)]
    if others:
        yield (
            f"Ours are on {', '.join(others)}, the paper's on {PAPER_BACKBONE}: differences are "
            "those of the backbone first of all."
        )
