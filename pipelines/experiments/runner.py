"""The runner of every experiment: train, ask, measure, and write the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.evaluation.predictions import choose, predict_dataset
from headclip_med.pipelines.experiments.models import (
    BuiltModel,
    Models,
    Setup,
    gather_models,
    key_of,
)
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan
from headclip_med.pipelines.experiments.report import describe, record_beginning, record_results
from headclip_med.pipelines.experiments.results import Question, ResultKey, Results, SetResult
from headclip_med.pipelines.experiments.seeds import over_seeds
from headclip_med.pipelines.experiments.tables import tables_of
from headclip_med.tracking import Run
from headclip_med.write.tables import Document, Table, write_document

PREDICTIONS = "predictions"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an experiment came to.

    Attributes:
        results: All numbers, of the first seed.
        document: The tables, as they were written.
        paths: Files by kind.
        failed: Sets that are there and gave no result because of an error.
    """

    results: Results
    document: Document
    paths: Mapping[str, Path]
    failed: int


def run_experiment(
    plan: ExperimentPlan, setup: Setup, *, command: str = "", run: Run | None = None
) -> Outcome:
    """Do what is missing of an experiment, and write its tables.

    Trainings, predictions and measurements are kept in ``setup.out`` by what they depend on.
    Whatever is there is not done again, by whichever experiment it was asked for.

    Args:
        plan: What to do.
        setup: On what, with which settings, and where.
        command: That the tables shall name as the one which made them.
        run: Where the run is recorded; nowhere by default.

    Returns:
        The numbers and the files.

    Raises:
        InvalidSettings: A setting is one that the experiment varies itself.
        HeadClipError: No model can be had, or nothing could be measured.
    """
    setup.refuse_varied(plan.experiment)
    if setup.seeds > 1 and not plan.trainings:
        raise InvalidSettings(
            "Nothing is trained here, so that every seed would give the same.",
            "Leave --seeds out.",
            code="seeds-unused",
        )
    tracked = run or Run()
    if tracked.is_recording:  # digests of sets are known by the time that they are needed otherwise
        record_beginning(tracked, plan, setup)
    seeded = setup.of_seeds()
    parts = [_run_seed(plan, one) for one in seeded]
    every = [error for part in parts for error in part.errors]
    if not any(part.results.found for part in parts) and every:
        raise every[0]
    first = parts[0]
    tables = over_seeds([tables_of(part.results) for part in parts])
    document = describe(first.results, first.models, setup, command, tables)
    trainings = {
        one.digest: dict(one.about) for part in parts for one in part.models.trainings.values()
    }
    machine = {**document.machine, "trainings": trainings}
    document = replace(document, machine=machine)
    paths = write_document(document, setup.out)
    record_results(tracked, [(part.results, part.models) for part in parts], setup, paths)
    if len(parts) > 1:
        tracked.metrics(dict(_spread(tables)))
    broken = sum(one.failed for one in plan.tested)
    return Outcome(first.results, document, paths, len(every) + broken)


def _spread(tables: Sequence[Table]) -> Iterator[tuple[str, float]]:
    """Name the means and deviations of all tables, fractions of 1."""
    for table in tables:
        for line in table.lines:
            for column, number in zip(table.columns, line.numbers, strict=bool(line.numbers)):
                if number is not None:
                    name = "/".join((table.key, *line.heads, column))
                    yield f"{name}/mean", number.ours / 100
                    if number.deviation is not None:
                        yield f"{name}/std", number.deviation / 100


@dataclass(frozen=True, eq=False)
class SeedOutcome:
    """What an experiment came to with one seed."""

    results: Results
    models: Models
    errors: tuple[HeadClipError, ...]


def _run_seed(plan: ExperimentPlan, setup: Setup) -> SeedOutcome:
    """Train, ask and measure with one seed."""
    models = gather_models(plan, setup)
    found: dict[ResultKey, SetResult] = {}
    failures: dict[ResultKey, str] = {}
    errors: list[HeadClipError] = []
    for tested in plan.tested:
        if tested.dataset is None:
            setup.say(f"{tested.name}: {tested.reason}")
            continue
        wanted = _wanted(plan, models, tested, failures)
        try:
            for name, result in _measure(plan, tested, wanted, setup).items():
                found[ResultKey(name, tested.name)] = result
        except HeadClipError as error:
            errors.append(error)
            setup.say(f"{tested.name}: {error}")
            failures |= {ResultKey(name, tested.name): f"failed: {error}" for name in wanted}
    return SeedOutcome(Results(plan, found, failures), models, tuple(errors))


def _wanted(
    plan: ExperimentPlan, models: Models, tested: EvaluationSet, failures: dict[ResultKey, str]
) -> dict[str, BuiltModel]:
    """Choose what is tested on a set, by variant; why the others are not is written down."""
    wanted = {}
    for variant in plan.variants:
        if tested.refusal(variant.method):
            continue
        key = key_of(variant, tested)
        if key in models.built:
            wanted[variant.name] = models.built[key]
        else:
            failed = ResultKey(variant.name, tested.name)
            failures[failed] = f"not to be had: {models.failures[key]}"
    return wanted


def _measure(
    plan: ExperimentPlan, tested: EvaluationSet, wanted: Mapping[str, BuiltModel], setup: Setup
) -> dict[str, SetResult]:
    """Measure all variants on a set; only models whose predictions are not there are run."""
    dataset = tested.dataset
    if dataset is None:
        raise AssertionError("sets without images are not measured")
    questions = {
        name: Question(one.model, dataset, plan.limit, plan.experiment.sweep)
        for name, one in wanted.items()
    }
    known = {name: question.known(setup.out) for name, question in questions.items()}
    missing = [name for name, result in known.items() if result is None]
    done = f" ({len(known) - len(missing)} of {len(known)} done before)" if known else ""
    setup.say(f"{tested.name}: {len(dataset.samples)} images{done}")
    if missing:
        models = {wanted[name].network: questions[name].model for name in reversed(missing)}
        sizes = {model.image_size for model in models.values()}
        setup.begin(len(sizes) * len(choose(dataset, plan.limit).samples), "image")
        predicted = predict_dataset(
            dataset,
            list(models.values()),
            store=setup.out / PREDICTIONS,
            batch_size=setup.batch_size,
            limit=plan.limit,
            seen=setup.seen,
        )
        setup.begin(len(missing), "measurement")
        of_network = dict(zip(models, predicted, strict=True))
        for name in missing:
            # Another variant of the same network may have measured both image scores by now.
            known[name] = questions[name].known(setup.out) or questions[name].settle(
                of_network[wanted[name].network], setup.out
            )
            setup.seen(1)
    return {name: result for name, result in known.items() if result is not None}
