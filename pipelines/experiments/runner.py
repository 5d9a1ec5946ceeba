"""The runner of every experiment: train, ask, measure, and write the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headclip_med.errors import HeadClipError
from headclip_med.evaluation.predictions import predict_dataset
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
from headclip_med.tracking import Run
from headclip_med.write.tables import Document, write_document

PREDICTIONS = "predictions"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an experiment came to.

    Attributes:
        results: All numbers.
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
    tracked = run or Run()
    if tracked.is_recording:  # digests of sets are known by the time that they are needed otherwise
        record_beginning(tracked, plan, setup)
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
    if not found and errors:
        raise errors[0]
    results = Results(plan, found, failures)
    document = describe(results, models, setup, command)
    paths = write_document(document, setup.out)
    record_results(tracked, results, models, setup, paths)
    broken = sum(one.failed for one in plan.tested)
    return Outcome(results, document, paths, len(errors) + broken)


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
        predicted = predict_dataset(
            dataset,
            list(models.values()),
            store=setup.out / PREDICTIONS,
            batch_size=setup.batch_size,
            limit=plan.limit,
        )
        of_network = dict(zip(models, predicted, strict=True))
        for name in missing:
            # Another variant of the same network may have measured both image scores by now.
            known[name] = questions[name].known(setup.out) or questions[name].settle(
                of_network[wanted[name].network], setup.out
            )
    return {name: result for name, result in known.items() if result is not None}
