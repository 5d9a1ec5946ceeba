"""The runner of every experiment: train, ask, measure, and write the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headclip_med.datasets import Dataset
from headclip_med.errors import HeadClipError
from headclip_med.evaluation.predictions import Predictions, predict_dataset
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.experiments.judges import Judges, Who, gather_judges
from headclip_med.pipelines.experiments.measuring import Question
from headclip_med.pipelines.experiments.plan import EvaluationSet, Plan
from headclip_med.pipelines.experiments.recording import record_beginning, record_results
from headclip_med.pipelines.experiments.report import describe
from headclip_med.pipelines.experiments.results import ResultKey, Results, SetResult
from headclip_med.pipelines.experiments.setup import Setup
from headclip_med.tracking import Run
from headclip_med.write.pages.tables import write_document
from headclip_med.write.tables import Document

ANSWERS = "answers"


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
    plan: Plan, setup: Setup, *, command: str = "", run: Run | None = None
) -> Outcome:
    """Do what is missing of an experiment, and write its tables.

    Trainings, answers and measurements are kept in ``setup.out`` by what they depend on. Whatever
    is there is not done again, by whichever experiment it was asked for.

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
    judges = gather_judges(plan, setup)
    found: dict[ResultKey, SetResult] = {}
    failures: dict[ResultKey, str] = {}
    errors: list[HeadClipError] = []
    for tested in plan.tested:
        if tested.dataset is None:
            setup.say(f"{tested.name}: {tested.reason}")
            continue
        wanted = _wanted(plan, judges, tested, failures)
        try:
            for name, result in _measure(plan, judges, tested, wanted, setup).items():
                found[ResultKey(name, tested.name)] = result
        except HeadClipError as error:
            errors.append(error)
            setup.say(f"{tested.name}: {error}")
            failures |= {ResultKey(name, tested.name): f"failed: {error}" for name in wanted}
    if not found and errors:
        raise errors[0]
    results = Results(plan, found, failures)
    document = describe(results, judges, setup, command)
    paths = write_document(document, setup.out)
    record_results(tracked, results, judges, setup, paths)
    broken = sum(one.failed for one in plan.tested)
    return Outcome(results, document, paths, len(errors) + broken)


def _wanted(
    plan: Plan, judges: Judges, tested: EvaluationSet, failures: dict[ResultKey, str]
) -> dict[str, Who]:
    """Name who judges a set, by variant; why the others do not is written down."""
    wanted = {}
    for variant in plan.variants:
        if tested.refusal(variant.method):
            continue
        who = judges.who(variant, tested)
        if who in judges.models:
            wanted[variant.name] = who
        else:
            key = ResultKey(variant.name, tested.name)
            failures[key] = f"not to be had: {judges.failures.get(who)}"
    return wanted


def _measure(
    plan: Plan, judges: Judges, tested: EvaluationSet, wanted: Mapping[str, Who], setup: Setup
) -> dict[str, SetResult]:
    """Measure all variants on a set; only models without an answer are asked."""
    dataset = tested.dataset
    if dataset is None:
        raise AssertionError("sets without images are not measured")
    questions = {
        name: Question(judges.models[who], dataset, plan.limit, plan.experiment.sweep)
        for name, who in wanted.items()
    }
    known = {name: question.known(setup.out) for name, question in questions.items()}
    missing = [name for name, result in known.items() if result is None]
    done = f" ({len(known) - len(missing)} of {len(known)} done before)" if known else ""
    setup.say(f"{tested.name}: {len(dataset.samples)} images{done}")
    if missing:
        networks = {name: _network_key(judges, wanted[name]) for name in missing}
        first = {key: questions[name].model for name, key in reversed(networks.items())}
        answers = _ask(dataset, first, plan.limit, setup)
        for name in missing:
            # Another variant of the same network may have measured both image scores by now.
            known[name] = questions[name].known(setup.out) or questions[name].settle(
                answers[networks[name]], setup.out
            )
    return {name: result for name, result in known.items() if result is not None}


def _ask(
    dataset: Dataset, models: Mapping[str, AnomalyModel], limit: int | None, setup: Setup
) -> dict[str, Predictions]:
    asked = predict_dataset(
        dataset,
        list(models.values()),
        store=setup.out / ANSWERS,
        batch_size=setup.batch_size,
        limit=limit,
    )
    return dict(zip(models, asked, strict=True))


def _network_key(judges: Judges, who: Who) -> str:
    training = judges.trainings.get(who)
    return judges.models[who].method if training is None else training.digest
