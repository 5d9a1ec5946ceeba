"""Evaluations beside what the paper prints for the same methods and sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headclip_med.datasets import KNOWN_SETS
from headclip_med.evaluation.results import Evaluation, ResultRow, own_rows, title_of
from headclip_med.metrics import Protocol
from headclip_med.models.registry import METHODS
from headclip_med.paper import Level, paper_values
from headclip_med.write.tables import Line, Number, Table

OTHER_IMAGES = "not the paper's images"
OTHER_IMAGES_NOTE = f"*: {OTHER_IMAGES}, or not all of them, so that the difference says little."

PAPER_BACKBONE = "ViT-L-14-336"

_SETS_TABLES = (1, 2, 3)
"""Of the paper; they print the averages of whole sets."""

_LEVELS: dict[Level, tuple[str, tuple[str, ...]]] = {
    "image": ("images", ("AUROC", "AP", "F1-max", "mAD")),
    "pixel": ("pixels", ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max", "mAD")),
}


@dataclass(frozen=True)
class _Ours:
    """A method's metrics on one set, by each protocol, in percent."""

    method: str
    dataset: str
    domain: str
    exact: dict[str, float]
    paper: dict[str, float]
    differs: str
    backbone: str


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
    for level, (called, metrics) in _LEVELS.items():
        ours = [one for evaluation in evaluations for one in _ours(evaluation, level)]
        lines = [
            Line((one.dataset, one.method), tuple(_number(one, level, name) for name in metrics))
            for one in ours
        ]
        lines += _averages(ours, level, metrics)
        if lines:
            title = f"Beside the paper: {called}"
            notes = (*_NOTES, *_backbones(ours))
            found.append(
                Table(f"paper-{called}", title, ("set", "method"), metrics, tuple(lines), notes)
            )
    return tuple(found)


_NOTES = (
    "Percent. 'ours' is by the protocol paper, as the printed numbers are; 'exact' is over all "
    "thresholds; the difference is ours less the paper's.",
    OTHER_IMAGES_NOTE,
)


def _ours(evaluation: Evaluation, level: Level) -> Iterator[_Ours]:
    called, metrics = _LEVELS[level]
    for title, rows, model in _methods(evaluation):
        by: dict[Protocol, dict[str, float]] = {"exact": {}, "paper": {}}
        for row in rows:
            if row.level == called:
                by[row.protocol] = {
                    name: 100 * row.metrics[name].value for name in metrics if name in row.metrics
                }
        if by["paper"] and _printed(evaluation.dataset, title, level, "mAD") is not None:
            known = KNOWN_SETS[evaluation.dataset]
            yield _Ours(
                method=title,
                dataset=evaluation.dataset,
                domain=known.domain,
                exact=by["exact"],
                paper=by["paper"],
                differs=_difference(evaluation),
                backbone=_backbone(model),
            )


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


def _backbone(model: object) -> str:
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    return str(backbone.get("name", "")) if isinstance(backbone, Mapping) else ""


def _backbones(ours: Sequence[_Ours]) -> Iterator[str]:
    """Say where ours rest on other features than the paper's."""
    named = {one.backbone for one in ours if one.backbone}
    others = sorted(name for name in named if not name.startswith(PAPER_BACKBONE))
    if others:
        yield (
            f"Ours are on {', '.join(others)}, the paper's on {PAPER_BACKBONE}: differences are "
            "those of the backbone first of all."
        )


def _difference(evaluation: Evaluation) -> str:
    """Say whether the images are others than the paper's, as far as counts tell."""
    expected = KNOWN_SETS[evaluation.dataset].test
    counts = (evaluation.counts.get("normal", 0), evaluation.counts.get("abnormal", 0))
    return OTHER_IMAGES if expected is not None and counts != expected else ""


def _number(ours: _Ours, level: Level, metric: str) -> Number | None:
    if metric not in ours.paper:
        return None
    exact = ours.exact.get(metric) if level == "pixel" else None
    paper = _printed(ours.dataset, ours.method, level, metric)
    return Number(ours.paper[metric], exact, paper, ours.differs)


def _averages(ours: Sequence[_Ours], level: Level, metrics: tuple[str, ...]) -> Iterator[Line]:
    for domain in dict.fromkeys(one.domain for one in ours):
        count = len(_averaged(domain, level))
        for method in dict.fromkeys(one.method for one in ours):
            own = [one for one in ours if (one.method, one.domain) == (method, domain)]
            if len(own) > 1:
                head = f"mean of {len(own)} of the paper's {count} {domain} sets"
                numbers = tuple(_mean_number(own, level, name) for name in metrics)
                yield Line((head, method), numbers)


def _averaged(domain: str, level: Level) -> set[str]:
    """Name the sets that the paper averages over."""
    values = paper_values(level=level, category="")
    of_sets = (one for one in values if one.table in _SETS_TABLES and one.domain == domain)
    return {one.dataset for one in of_sets} - {"Average"}


def _mean_number(own: Sequence[_Ours], level: Level, metric: str) -> Number | None:
    each = [_number(one, level, metric) for one in own]
    numbers = [one for one in each if one is not None and math.isfinite(one.ours)]
    papers = [one.paper for one in numbers if one.paper is not None]
    exact = [one.exact for one in numbers if one.exact is not None]
    if not numbers:
        return None
    return Number(
        _mean([one.ours for one in numbers]),
        _mean(exact) if len(exact) == len(numbers) else None,
        _mean(papers) if len(papers) == len(numbers) else None,
        next((one.differs for one in numbers if one.differs), ""),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _printed(dataset: str, method: str, level: Level, metric: str) -> float | None:
    values = paper_values(dataset=dataset, method=method, category="", level=level, metric=metric)
    found = [one.value for one in values if one.table in _SETS_TABLES]
    return found[0] if found else None
