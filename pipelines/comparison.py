"""One table of several methods: each by its own image score, or all of them with JAS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headclip_med.models.methods import METHODS
from headclip_med.pipelines.evaluation import Evaluation, Row


def side_by_side(evaluations: Mapping[str, Evaluation], missing: Mapping[str, str]) -> Evaluation:
    """Put evaluations of several methods on the same images into one.

    Of each method its map, and the image score that its ``ScoreSettings.image_score`` asks for: as
    published by default, or the joint one, the same switch for all. The trivial baselines stand
    once, below.

    Args:
        evaluations: By method, in the order of the table; at least one.
        missing: Methods that are not in it, and why.

    Returns:
        An evaluation whose judges are the methods.
    """
    first = next(iter(evaluations.values()))
    categories = {name: _merged(evaluations, name) for name in first.categories}
    notes = dict.fromkeys(note for one in evaluations.values() for note in one.notes)
    sizes = {one.image_size for one in evaluations.values()}
    if len(sizes) > 1:
        shown = ", ".join(f"{name} {one.image_size} px" for name, one in evaluations.items())
        notes[f"The methods saw images of different sizes: {shown}."] = None
    gone = (f"{METHODS[name].title} is not in the table: {why}" for name, why in missing.items())
    return replace(
        first,
        model={name: dict(one.model) for name, one in evaluations.items()},
        settings={name: dict(one.settings) for name, one in evaluations.items()},
        rows=_merged(evaluations, None),
        categories=categories,
        notes=(*notes, *gone),
    )


def _merged(evaluations: Mapping[str, Evaluation], category: str | None) -> tuple[Row, ...]:
    """Put the rows of all methods together, over all categories or of one."""
    first = _rows_of(next(iter(evaluations.values())), category)
    rows: list[Row] = []
    for level in dict.fromkeys(row.level for row in first):
        for method, evaluation in evaluations.items():
            title = METHODS[method].title if method in METHODS else method
            own = own_rows(evaluation, category)
            rows += [replace(row, judge=title) for row in own if row.level == level]
        rows += [row for row in first if row.level == level and row.judge != "model"]
    return tuple(rows)


def _rows_of(evaluation: Evaluation, category: str | None) -> tuple[Row, ...]:
    return evaluation.rows if category is None else evaluation.categories[category]


def own_rows(evaluation: Evaluation, category: str | None = None) -> list[Row]:
    """Choose the rows of the model itself: its map, and the image score that it is used with."""
    scores = evaluation.settings["scores"]
    kind = scores["image_score"] if isinstance(scores, Mapping) else "joint"
    own = [row for row in _rows_of(evaluation, category) if row.judge == "model"]
    return [row for row in own if row.score in ("map", kind)]
