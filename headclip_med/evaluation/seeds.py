"""Evaluations of several seeds: what a seed changes, and one table of all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.request import EvaluationRequest
from headclip_med.evaluation.results import Estimate, Evaluation, ResultRow
from headclip_med.evaluation.spread import DDOF_NOTE, mean_and_deviation
from headclip_med.models.registry import METHODS
from headclip_med.models.request import ModelRequest
from headclip_med.settings import Settings

_FOLDER = re.compile(r"seed-(\d+)")


def requests_of_seeds(request: EvaluationRequest) -> list[EvaluationRequest]:
    """Ask for the same with each of ``request.seeds`` seeds; bootstrap intervals are left out.

    Three things are drawn: what ``headclip train --seeds`` learned, where the model is its folder;
    what a method adapts to an image, where it does; and random weights.

    Raises:
        InvalidSettings: Nothing is drawn, so that every seed would give the same; or the folder has
            fewer seeds.
    """
    if request.seeds == 1:
        return [request]
    models = _models(request.model, request.seeds)
    return [request.changed(model=one, seeds=1, intervals=False) for one in models]


def sets_over_seeds(seeds: Sequence[Sequence[Evaluation]]) -> list[Evaluation]:
    """Average every set that was evaluated with each seed; a set is known by its name.

    Args:
        seeds: What was evaluated with each.
    """
    by_name = [{one.dataset: one for one in evaluations} for evaluations in seeds]
    first, *others = by_name
    shared = [name for name in first if all(name in other for other in others)]
    return [over_seeds([evaluations[name] for evaluations in by_name]) for name in shared]


def over_seeds(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Average evaluations of one set that differ in the seed; all have the same rows.

    Args:
        evaluations: Of each seed.
    """
    first = evaluations[0]
    every = [one.categories for one in evaluations]
    categories = {name: _rows([one[name] for one in every]) for name in first.categories}
    note = f"Means over {len(evaluations)} seeds. {DDOF_NOTE} What has no ± is the same with each."
    return replace(
        first,
        rows=_rows([one.rows for one in evaluations]),
        categories=categories,
        notes=(*first.notes, note),
        settings={**first.settings, "seeds": len(evaluations)},
    )


def _rows(rows: Sequence[Sequence[ResultRow]]) -> tuple[ResultRow, ...]:
    return tuple(
        replace(same[0], metrics={name: _mean([one.metrics for one in same], name)
                                  for name in same[0].metrics})
        for same in zip(*rows, strict=True)
    )  # fmt: skip


def _mean(metrics: Sequence[Mapping[str, Estimate]], name: str) -> Estimate:
    value, deviation = mean_and_deviation([one[name].value for one in metrics])
    return Estimate(value, deviation=deviation)


def _models(model: ModelRequest, count: int) -> list[ModelRequest]:
    folders = _seed_folders(Path(model.name))
    if folders:
        if len(folders) < count:
            raise InvalidSettings(
                f"The folder holds the checkpoints of {len(folders)} seeds, fewer than --seeds "
                f"{count}.",
                "Train more with 'headclip train --seeds', or ask for fewer.",
                code="seeds-missing",
            )
        return [model.changed(name=str(_checkpoint(one))) for one in folders[:count]]
    if model.weights == "random":
        return [model.changed(seed=model.seed + number) for number in range(count)]
    name = model.method or ""
    settings = model.settings.get(name) or (METHODS[name].settings if name in METHODS else None)
    if isinstance(settings, Settings) and settings.is_drawn:
        first = int(str(settings.to_json()["seed"]))
        return [
            model.changed(settings={**model.settings, name: settings.changed(seed=first + number)})
            for number in range(count)
        ]
    raise InvalidSettings(
        "Nothing that is evaluated here is drawn, so that every seed would give the same.",
        "Leave --seeds out; or name the folder of a 'headclip train --seeds' as --model, or a "
        "method that adapts to each image (--set adaptation=independent).",
        code="seeds-unused",
    )


def _seed_folders(folder: Path) -> list[Path]:
    """List what ``headclip train --seeds`` made, in the order of seeds."""
    if not folder.is_dir():
        return []
    found = {int(name[1]): one for one in folder.iterdir() if (name := _FOLDER.fullmatch(one.name))}
    return [found[seed] for seed in sorted(found)]


def _checkpoint(folder: Path) -> Path:
    """Find the one checkpoint of a training.

    Raises:
        InvalidSettings: It is not finished, or there are several.
    """
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        raise InvalidSettings(
            f"The folder {folder.name} does not hold one finished checkpoint.",
            "Finish it with 'headclip train --seeds ... --resume'.",
            code="seeds-missing",
        )
    return found[0]
