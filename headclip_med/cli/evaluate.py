"""Measure a model, or all methods, on labelled images, beside baselines that have learnt nothing.

Sets are named as LAYOUT:FOLDER (mvtec:DIR, folder:DIR, BrainMRI:DIR ...), found below --data-root,
or are the synthetic head volumes of --acceptance. Intervals are 95 % bootstrap intervals.
--method all puts every method that can be had on the model's backbone into one table; --paper adds
tables of the differences from what the HeadCLIP paper prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headclip_med.cli.models import ALL, add_model, methods_from, model_from
from headclip_med.cli.protocols import add_protocol, protocol_sets
from headclip_med.cli.tracking import add_tracking, show_run, tracking_from
from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput
from headclip_med.tracking import Run, track

if TYPE_CHECKING:
    from headclip_med.evaluation.results import Evaluation
    from headclip_med.metrics import Protocol
    from headclip_med.models.method_set import LoadedMethods

FORMS = (".md", ".csv", ".json")
"""How the file of ``--out`` may end."""

OWN = ("image_size",)
"""Settings of methods that this command has options of its own for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("data", nargs="*", help="sets, as LAYOUT:FOLDER")
    parser.add_argument("--data-root", type=Path, help="evaluate every known set below this folder")
    add_protocol(parser, "evaluate on")
    parser.add_argument(
        "--acceptance", action="store_true", help="evaluate the synthetic acceptance phantoms"
    )
    parser.add_argument("--limit", type=int, help="at most this many images per category")
    parser.add_argument("--batch-size", type=int, default=8, help="images per pass (default: 8)")
    parser.add_argument("--image-size", type=int, help="rows and columns of the model's input")
    _add_measures(parser)
    parser.add_argument(
        "--out", type=Path,
        help="write the table there: .md, .csv (the paper's beside it as .paper.csv) or .json",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=Path, action="append", default=[],
        help="with --method all: a trained method's checkpoint on the same backbone; may be "
        "repeated",
    )  # fmt: skip
    add_model(parser, without=OWN)
    add_tracking(parser)


def _add_measures(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is measured, and what is kept."""
    parser.add_argument(
        "--metrics", choices=("exact", "paper", "both"), default="exact",
        help="thresholds of the pixel metrics: all, or those of the field's published code, which "
        "follow the scale of the scores (default: exact)",
    )  # fmt: skip
    parser.add_argument(
        "--eval-size", choices=("input", "native"), default="input",
        help="where pixels are compared: at the model's input, as published, or at each image's "
        "own size (default: input)",
    )  # fmt: skip
    parser.add_argument(
        "--no-intervals", dest="intervals", action="store_false",
        help="no bootstrap, which reads all maps a second time",
    )  # fmt: skip
    parser.add_argument(
        "--per-category", action="store_true", help="show a table for each category as well"
    )
    parser.add_argument(
        "--paper", action="store_true",
        help="show the HeadCLIP paper's numbers and the difference where it has the set and the "
        "method (measures by both protocols)",
    )  # fmt: skip
    parser.add_argument(
        "--store", type=Path, metavar="DIR",
        help="keep there what models say of each image, and look it up: no image is shown to the "
        "same model twice (default: temporary files)",
    )  # fmt: skip
    parser.add_argument(
        "--curves", type=Path, metavar="DIR",
        help="draw ROC, precision-recall and per-region-overlap curves there",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Evaluate everything that was named, and print one table."""
    if not (arguments.data or arguments.data_root or arguments.acceptance):
        raise InvalidSettings("Nothing to evaluate on: name a set, --data-root or --acceptance.")
    if arguments.checkpoint and arguments.method != ALL:
        raise InvalidSettings(
            "--checkpoint goes with --method all.", "Name one as --model instead."
        )
    more = arguments.store or arguments.curves or arguments.metrics != "exact"
    more = more or arguments.eval_size != "input"
    if arguments.acceptance and more:
        raise InvalidSettings(
            "--acceptance is measured by --metrics exact at --eval-size input, keeps no --store "
            "and draws no --curves.",
            "Leave them out, or evaluate the sets alone.",
        )
    if arguments.out and arguments.out.suffix not in FORMS:
        raise InvalidSettings(f"--out names a file that ends in {', '.join(FORMS)}.")
    options = tracking_from(arguments)
    specs = _sets(arguments)
    loaded = _load(arguments)
    for method, reason in loaded.missing.items():
        print(f"headclip: without {method}: {reason}", file=sys.stderr)
    from headclip_med.pipelines.tracked_evaluation import record_tables, runs_of_methods

    with track("evaluate", options=options, parameters=_parameters(arguments)) as tracked:
        with runs_of_methods(tracked, loaded.models) as runs:
            evaluations, failed = _evaluate(specs, loaded, arguments, runs)
        if not evaluations:
            raise UnreadableInput(
                "None of the sets could be evaluated, so there is no table.",
                "The reasons stand above.",
                code="none-evaluated",
            )
        if tracked.is_recording:
            table, as_json = (_text(evaluations, form, arguments) for form in (".md", ".json"))
            record_tables(tracked, table, as_json, failed=failed)
    show_run(tracked, options)
    if arguments.out:
        from headclip_med.atomic import write_file

        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        for path, content in _files(evaluations, arguments.out, arguments):
            write_file(path, content.encode())
    print(_text(evaluations, ".json" if arguments.json else ".md", arguments))
    return 3 if failed else 0


def _evaluate(
    specs: list[str],
    loaded: LoadedMethods,
    arguments: argparse.Namespace,
    runs: dict[str, Run],
) -> tuple[list[Evaluation], int]:
    """Evaluate every set, and count those that could not be."""
    evaluations, failed = [], 0
    if arguments.acceptance:
        evaluations.append(_on_phantoms(loaded, runs))
    for spec in specs:
        print(f"evaluating {spec.partition(':')[0]} ...", file=sys.stderr)
        try:
            taken = [one.dataset for one in evaluations]
            evaluations.append(_on_set(spec, loaded, arguments, runs, taken=taken))
        except HeadClipError as error:
            failed += 1
            print(f"headclip: {error}", file=sys.stderr)
    return evaluations, failed


def _parameters(arguments: argparse.Namespace) -> dict[str, object]:
    names = ("protocol", "limit", "image_size", "metrics", "intervals", "eval_size", "method")
    return {name: getattr(arguments, name) for name in names}


def _files(
    evaluations: list[Evaluation], out: Path, arguments: argparse.Namespace
) -> Iterator[tuple[Path, str]]:
    """Give the files of ``--out``: the paper's tables have other columns, so a CSV of their own."""
    from headclip_med.pipelines.experiments.paper_comparison import paper_comparison
    from headclip_med.write.tables import to_csv

    yield out, _text(evaluations, out.suffix, arguments)
    if arguments.paper and out.suffix == ".csv":
        yield out.with_suffix(".paper.csv"), to_csv(paper_comparison(evaluations))


def _text(evaluations: list[Evaluation], form: str, arguments: argparse.Namespace) -> str:
    """Put everything that was found into one of ``FORMS``."""
    from headclip_med.evaluation.results import to_csv, to_markdown
    from headclip_med.pipelines.experiments.paper_comparison import paper_comparison
    from headclip_med.write.tables import table_to_json, table_to_markdown

    paper = paper_comparison(evaluations) if arguments.paper else ()
    if form == ".csv":
        return to_csv(evaluations)
    if form == ".md":
        text = to_markdown(evaluations, per_category=arguments.per_category)
        return "\n".join([text, *map(table_to_markdown, paper)])
    found = [one.to_json() for one in evaluations]
    if not arguments.paper:
        return json.dumps(found, indent=2)
    beside = [table_to_json(table) for table in paper]
    return json.dumps({"evaluations": found, "paper_comparison": beside}, indent=2)


def _load(arguments: argparse.Namespace) -> LoadedMethods:
    """Load one model, under no method's name, or all methods."""
    if arguments.method == ALL:
        return methods_from(arguments, without=OWN)
    from headclip_med.models.method_set import LoadedMethods

    return LoadedMethods({"": model_from(arguments, without=OWN)}, {})


def _sets(arguments: argparse.Namespace) -> list[str]:
    """Name every set: those given, and the protocol's or all known ones below --data-root."""
    from headclip_med.datasets.discover import discover

    if arguments.protocol:
        return [*arguments.data, *protocol_sets(arguments, "test")]
    return [*arguments.data, *(discover(arguments.data_root) if arguments.data_root else ())]


def _on_set(
    spec: str,
    loaded: LoadedMethods,
    arguments: argparse.Namespace,
    runs: dict[str, Run],
    *,
    taken: Collection[str],
) -> Evaluation:
    from headclip_med.evaluation.datasets import open_datasets
    from headclip_med.pipelines.evaluate import evaluate_models
    from headclip_med.pipelines.tracked_evaluation import SetRecord

    dataset = open_datasets([spec])
    label, curves = _label(dataset.name, taken), arguments.curves
    if curves and label != dataset.name:
        curves = curves / label
    record = SetRecord(runs, [model.scores for model in loaded.models.values()], label)
    found = evaluate_models(
        dataset, list(loaded.models.values()), batch_size=arguments.batch_size,
        image_size=arguments.image_size, limit=arguments.limit, store=arguments.store,
        protocols=_protocols(arguments), intervals=arguments.intervals, curves=curves,
        look=record.look, eval_size=arguments.eval_size,
    )  # fmt: skip
    found = [replace(one, dataset=label) for one in found]
    record.end(dict(zip(loaded.models, found, strict=True)))
    return _joined(loaded, found)


def _label(name: str, taken: Collection[str]) -> str:
    """Number a set whose name another one has, so that no table or number is taken for its own."""
    number, label = 1, name
    while label in taken:
        number += 1
        label = f"{name}-{number}"
    if number > 1:
        print(f"headclip: another set is called {name}; this one is {label}", file=sys.stderr)
    return label


def _protocols(arguments: argparse.Namespace) -> tuple[Protocol, ...]:
    if arguments.paper or arguments.metrics == "both":
        return ("exact", "paper")
    return ("paper",) if arguments.metrics == "paper" else ("exact",)


def _on_phantoms(loaded: LoadedMethods, runs: dict[str, Run]) -> Evaluation:
    from headclip_med.pipelines.acceptance import evaluate_acceptance
    from headclip_med.pipelines.tracked_evaluation import record_evaluation

    found = [evaluate_acceptance(model) for model in loaded.models.values()]
    for run, evaluation in zip(runs.values(), found, strict=True):
        record_evaluation(run, evaluation)
    return _joined(loaded, found)


def _joined(loaded: LoadedMethods, found: list[Evaluation]) -> Evaluation:
    if "" in loaded.models:
        return found[0]
    from headclip_med.evaluation.results import side_by_side

    return side_by_side(dict(zip(loaded.models, found, strict=True)), loaded.missing)
