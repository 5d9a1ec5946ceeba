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
    rows: list[Row] = []
    for level in dict.fromkeys(row.level for row in first.rows):
        for method, evaluation in evaluations.items():
            title = METHODS[method].title if method in METHODS else method
            rows += [
                replace(row, judge=title)
                for row in evaluation.rows
                if row.level == level and row.judge == "model" and _is_own(row, evaluation)
            ]
        rows += [row for row in first.rows if row.level == level and row.judge != "model"]
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
        rows=tuple(rows),
        notes=(*notes, *gone),
    )


def _is_own(row: Row, evaluation: Evaluation) -> bool:
    scores = evaluation.settings["scores"]
    kind = scores["image_score"] if isinstance(scores, Mapping) else "joint"
    return row.score in ("map", kind)
