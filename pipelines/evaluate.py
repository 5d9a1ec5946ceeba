"""An evaluation from request to report: find, load, predict, measure, record and write."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from headclip_med.atomic import check_writable, write_file
from headclip_med.datasets import Dataset, discover, protocol_sets
from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.evaluation import results
from headclip_med.evaluation.datasets import open_datasets
from headclip_med.evaluation.measure import CategoryScores, ModelMaps
from headclip_med.evaluation.models import evaluate_models, file_name, sample_row
from headclip_med.evaluation.predictions import Predictions, choose
from headclip_med.evaluation.request import EvaluationRequest
from headclip_med.evaluation.seeds import requests_of_seeds, sets_over_seeds
from headclip_med.models.loading import LoadedMethods
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import METHODS
from headclip_med.models.request import ALL
from headclip_med.pipelines.acceptance import evaluate_acceptance
from headclip_med.pipelines.loading import load_models
from headclip_med.settings import ScoreSettings
from headclip_med.synthetic.acceptance import ACCEPTANCE_COUNT, SHAPE
from headclip_med.tracking import Run, track
from headclip_med.write import tables
from headclip_med.write.pictures.curves import joint_weight_figure

SAMPLES, SAMPLES_OF_CATEGORY = 8, 2
"""Abnormal images of a set, and of each category, that are drawn at most."""

JOINT_WEIGHTS = tuple(step / 20 for step in range(21))
"""Values of r that the JAS curve is computed at."""

Say = Callable[[str], None]
"""Takes a line for whoever waits."""

Seen = Callable[[int, int], None]
"""Takes how many images were seen, and how many there are in all."""

Told = tuple[Say, Callable[[int], None]]
"""Who is told lines, and of how many images."""


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """What an evaluation came to.

    Attributes:
        request: What was asked for.
        evaluations: Of each set that could be evaluated, in their order.
        failed: How many sets could not.
        run: Where it is recorded.
    """

    request: EvaluationRequest
    evaluations: Sequence[results.Evaluation]
    failed: int
    run: Run

    def text(self, form: str) -> str:
        """Put everything that was found into one of ``FORMS``."""
        if form == ".csv":
            return results.to_csv(self.evaluations)
        if form == ".md":
            text = results.to_markdown(self.evaluations, per_category=self.request.per_category)
            return "\n".join([text, *map(tables.table_to_markdown, self.paper_tables)])
        found: object = [one.to_json() for one in self.evaluations]
        if self.request.paper:
            beside = [tables.table_to_json(table) for table in self.paper_tables]
            found = {"evaluations": found, "paper_comparison": beside}
        return json.dumps(found, indent=2)

    @cached_property
    def paper_tables(self) -> tuple[tables.Table, ...]:
        """What the paper has beside it, where that is asked for."""
        if not self.request.paper:
            return ()
        from headclip_med.pipelines.experiments.paper_comparison import paper_comparison

        return paper_comparison(self.evaluations)

    def files(self, out: Path) -> dict[Path, str]:
        """Give what ``out`` shall hold; a CSV has the paper's, of other columns, beside it."""
        found = {out: self.text(out.suffix)}
        if self.request.paper and out.suffix == ".csv":
            found[out.with_suffix(".paper.csv")] = tables.to_csv(self.paper_tables)
        return found


def evaluate(
    request: EvaluationRequest,
    *,
    say: Say = lambda line: None,
    seen: Seen = lambda count, total: None,
) -> EvaluationReport:
    """Evaluate everything that is asked for: find, load, predict, measure, record and write.

    Args:
        request: What is asked for.
        say: Is told what is absent, what cannot be used, and what comes next.
        seen: Is told after each batch how many images that was, and of how many in all.

    Raises:
        InvalidSettings: There is no such protocol, method or model.
        UnreadableInput: No set could be evaluated.
        UnusableTracker: The run is to be recorded, and cannot be.
        UnusableWeights: There are no weights, or they do not fit.
    """
    specs = list(request.data)
    if request.protocol:
        found, absent = protocol_sets(request.protocol, request.data_root, "test")
        specs += found
        if absent:
            say(f"absent, and left out: {', '.join(absent)}")
    elif request.data_root:
        specs += discover(request.data_root)
    opened, failed = _opened(request, specs, say)
    if not opened and not request.acceptance:
        raise _none_evaluated()
    if request.out:
        check_writable(request.out.absolute().parent)
    loaded = load_models(request.model)
    for method, reason in loaded.missing.items():
        say(f"without {method}: {reason}")
    names = ("protocol", "limit", "planes", "image_size", "metrics", "intervals", "eval_size")
    parameters = {name: getattr(request, name) for name in names}
    parameters["method"] = request.model.method
    with track("evaluate", options=request.tracking, parameters=parameters) as run:
        with runs_of_methods(run, loaded.models) as runs:
            counted = partial(_count, seen, _images(request, opened, loaded))
            evaluations, broken = _evaluate_all(request, opened, loaded, runs, (say, counted))
        failed += broken
        report = EvaluationReport(request, evaluations, failed, run)
        _record_tables(run, report)
    _write(report)
    return report


def evaluate_seeds(
    request: EvaluationRequest,
    *,
    say: Say = lambda line: None,
    seen: Seen = lambda count, total: None,
) -> EvaluationReport:
    """Evaluate with ``request.seeds`` seeds, each recorded as a run, and all of them as another.

    Args:
        request: What is asked for.
        say: As for ``evaluate``.
        seen: Likewise, for all seeds together.

    Raises:
        HeadClipError: As ``evaluate``; or no seed changes anything.
    """
    requests = requests_of_seeds(request)
    if len(requests) == 1:
        return evaluate(request, say=say, seen=seen)
    reports = []
    for number, one in enumerate(requests, start=1):
        say(f"seed {number} of {len(requests)}")

        def seen_of_all(count: int, total: int) -> None:
            seen(count, total * len(requests))

        reports.append(evaluate(one.changed(out=None), say=say, seen=seen_of_all))
    joined = sets_over_seeds([report.evaluations for report in reports])
    if not joined:
        raise _none_evaluated()
    failed = len(reports[0].evaluations) + reports[0].failed - len(joined)
    parameters = {"seeds": len(requests), "method": request.model.method}
    with track("evaluate", options=request.tracking, parameters=parameters) as run:
        report = EvaluationReport(request, joined, failed, run)
        for evaluation in joined:
            record_evaluation(run, evaluation)
        _record_tables(run, report)
    _write(report)
    return report


def _record_tables(run: Run, report: EvaluationReport) -> None:
    if run.is_recording:
        run.text(report.text(".md"), "tables/evaluation.md")
        run.text(report.text(".json"), "tables/evaluation.json")
        run.metrics({"failed sets": float(report.failed)})


def _write(report: EvaluationReport) -> None:
    out = report.request.out
    if out:
        for path, content in report.files(out).items():
            write_file(path, content.encode())


def _opened(
    request: EvaluationRequest, specs: Sequence[str], say: Say
) -> tuple[list[Dataset], int]:
    """Open the sets, before a run is begun and models are loaded; count those that cannot be."""
    opened, failed = [], 0
    for spec in specs:
        try:
            opened.append(open_datasets([spec], planes=request.planes))
        except HeadClipError as error:
            failed += 1
            say(f"{spec.partition(':')[0]}: {error}")
    return opened, failed


def _images(request: EvaluationRequest, opened: Sequence[Dataset], loaded: LoadedMethods) -> int:
    """Count the images that are going to be looked at, at each size again; phantoms' by slices."""
    sizes = {request.image_size or model.image_size for model in loaded.models.values()}
    drawn = ACCEPTANCE_COUNT * SHAPE[0] if request.acceptance else 0
    images = sum(len(choose(one, request.limit).samples) for one in opened)
    return len(sizes) * images + len(loaded.models) * drawn


def _count(seen: Seen, total: int, count: int) -> None:
    seen(count, total)


def _none_evaluated() -> UnreadableInput:
    return UnreadableInput(
        "None of the sets could be evaluated, so there is no table.",
        "The reasons stand above.",
        code="none-evaluated",
    )


def _evaluate_all(
    request: EvaluationRequest,
    opened: Sequence[Dataset],
    loaded: LoadedMethods,
    runs: Mapping[str, Run],
    told: Told,
) -> tuple[list[results.Evaluation], int]:
    """Evaluate models on one set after the other, and count the sets that could not be used."""
    evaluations, failed, (say, seen) = [], 0, told
    labels: list[str] = []

    def joined(found: Mapping[str, results.Evaluation]) -> results.Evaluation:
        if request.model.method == ALL:
            return join_methods(found, loaded.missing)
        return next(iter(found.values()))

    if request.acceptance:
        found = {
            name: evaluate_acceptance(model, seen=seen) for name, model in loaded.models.items()
        }
        for name, evaluation in found.items():
            record_evaluation(runs[name], evaluation)
        evaluations.append(joined(found))
    for dataset in opened:
        say(f"evaluating {dataset.name} ...")
        try:
            labels.append(_label(dataset.name, labels, say))  # a set that fails keeps its own
            evaluations.append(joined(_on_set(dataset, labels[-1], request, loaded, runs, told)))
        except HeadClipError as error:
            failed += 1
            say(str(error))
    if not evaluations:
        raise _none_evaluated()
    return evaluations, failed


def _on_set(
    dataset: Dataset,
    label: str,
    request: EvaluationRequest,
    loaded: LoadedMethods,
    runs: Mapping[str, Run],
    told: Told,
) -> dict[str, results.Evaluation]:
    models = list(loaded.models.values())
    if request.curves and label != dataset.name:
        request = replace(request, curves=request.curves / label)
    record = SetRecord(runs, [model.scores for model in models], label)
    say, seen = told
    each = evaluate_models(dataset, models, request, look=record.look, say=say, seen=seen)
    labelled = (replace(one, dataset=label) for one in each)
    found = dict(zip(loaded.models, labelled, strict=True))
    record.end(found)
    return found


def _label(name: str, taken: Collection[str], say: Say) -> str:
    """Number a set whose name another has, so that no table or number is taken for its own."""
    number, label = 1, name
    while label in taken:
        number += 1
        label = f"{name}-{number}"
    if number > 1:
        say(f"another set is called {name}; this one is {label}")
    return label


def join_methods(
    found: Mapping[str, results.Evaluation], missing: Mapping[str, str]
) -> results.Evaluation:
    """Put evaluations of all methods on a set into one, and say below which are not in it, and why.

    Args:
        found: Of each method.
        missing: Why others could not be loaded, a sentence each.
    """
    joined = results.side_by_side(found)
    gone = (f"{METHODS[name].title} is not in the table: {why}" for name, why in missing.items())
    return replace(joined, notes=(*joined.notes, *gone))


@contextmanager
def runs_of_methods(run: Run, models: Mapping[str, AnomalyModel]) -> Iterator[dict[str, Run]]:
    """Record what is evaluated, several methods in a run of their own each.

    Args:
        run: Of the evaluation.
        models: By method; a single model by any name.

    Yields:
        The run of each.
    """
    with ExitStack() as stack:
        if len(models) == 1:
            runs = dict.fromkeys(models, run)
        else:
            runs = {name: stack.enter_context(run.child(name)) for name in models}
        for name, model in models.items():
            runs[name].parameters({"model": dict(model.describe())})
        yield runs


class SetRecord:
    """Records an evaluation of models on one set.

    Args:
        runs: Of each model.
        scores: How each one's logits become maps and scores, in the same order.
        label: What the set is called; no other set of the run is called so.
    """

    def __init__(
        self, runs: Mapping[str, Run], scores: Sequence[ScoreSettings], label: str
    ) -> None:
        self._runs, self._scores, self._label = dict(runs), list(scores), label
        self._scored: dict[str, list[CategoryScores]] = {name: [] for name in runs}
        self._drawn = 0

    def look(self, predicted: Sequence[Predictions]) -> None:
        """Keep what is drawn later of a part of the set, while its logits are there."""
        if not any(run.is_recording for run in self._runs.values()):
            return
        for kept, one, how in zip(self._scored.values(), predicted, self._scores, strict=True):
            kept += ModelMaps(one, how).of_categories()
        self._draw_samples(predicted)

    def end(self, evaluations: Mapping[str, results.Evaluation]) -> None:
        """Record the numbers, the set and the curve of each model."""
        for name, evaluation in evaluations.items():
            run, kept = self._runs[name], self._scored[name]
            record_evaluation(run, evaluation)
            curve = _jas_curve(kept)
            if run.is_recording and curve:
                weights = list(JOINT_WEIGHTS)
                title = results.title_of(name) if len(evaluations) > 1 else results.THE_MODEL
                figure = joint_weight_figure(weights, {evaluation.dataset: {title: curve}})
                run.figure(figure, f"jas/{file_name(evaluation.dataset)}.png")
                for weight, value in zip(weights, curve, strict=True):
                    name_of_curve = f"{evaluation.dataset}/JAS/mAD over 100 r"
                    run.metrics({name_of_curve: value / 100}, step=round(100 * weight))

    def _draw_samples(self, predicted: Sequence[Predictions]) -> None:
        for part in predicted[0].parts().values():
            abnormal = part.start + np.flatnonzero(predicted[0].labels[part])
            wanted = min(SAMPLES_OF_CATEGORY, SAMPLES - self._drawn, len(abnormal))
            for place in np.linspace(0, len(abnormal) - 1, wanted).round().astype(int):
                self._drawn += 1
                for run, one, how in zip(self._runs.values(), predicted, self._scores, strict=True):
                    row = sample_row(one, how, int(abnormal[place]))
                    run.image(row, f"samples/{file_name(self._label)}/{self._drawn}.png")


def record_evaluation(run: Run, evaluation: results.Evaluation) -> None:
    """Record all metrics of a set, averaged and of each class, and what set it is."""
    name = evaluation.dataset
    run.dataset(name, evaluation.content_digest, use="evaluation")
    run.metrics({f"{name}/count/{what}": float(count) for what, count in evaluation.counts.items()})
    run.metrics({f"{name}/doubts/{code}": float(n) for code, n in evaluation.doubts.items()})
    run.metrics(dict(_numbers(name, evaluation.rows)))
    for category, rows in evaluation.categories.items():
        run.metrics(dict(_numbers(f"{name}/{category}", rows)))


def _numbers(place: str, rows: Iterable[results.ResultRow]) -> Iterator[tuple[str, float]]:
    """Name numbers so that MLflow shows the metrics of one table's row in one section."""
    for row in rows:
        section = f"trivial/{place}/{row.judge}" if row.is_baseline else place
        if row.addition and not row.is_baseline:
            section = f"symmetry/{place}"
        for metric, found in row.metrics.items():
            name = f"{section}/{row.level} {row.score} {row.protocol}/{metric}"
            yield name, found.value
            if found.deviation is not None:
                yield f"{name} std", found.deviation


def _jas_curve(kept: Sequence[CategoryScores]) -> list[float]:
    """Average mAD over the categories that have both classes, in percent, at every r."""
    swept = [one.sweep(JOINT_WEIGHTS) for one in kept if one.labels.any() and not one.labels.all()]
    return [100 * math.fsum(values) / len(swept) for values in zip(*swept, strict=True)]
