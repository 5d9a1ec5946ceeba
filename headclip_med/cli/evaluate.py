"""Measure a model on labelled images, beside baselines that have learnt nothing.

Sets are named as LAYOUT:FOLDER (mvtec:DIR, folder:DIR, BrainMRI:DIR ...), found below --data-root,
or are the synthetic head volumes of --acceptance. Intervals are 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from headclip_med.cli.models import add_model, model_from
from headclip_med.errors import HeadClipError, InvalidSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("data", nargs="*", help="sets, as LAYOUT:FOLDER")
    parser.add_argument("--data-root", type=Path, help="evaluate every known set below this folder")
    parser.add_argument(
        "--acceptance", action="store_true", help="evaluate the synthetic acceptance phantoms"
    )
    parser.add_argument("--limit", type=int, help="at most this many images per category")
    parser.add_argument("--batch-size", type=int, default=8, help="images per pass (default: 8)")
    parser.add_argument("--image-size", type=int, help="rows and columns of the model's input")
    parser.add_argument("--out", type=Path, help="write the table there: .md or .json")
    add_model(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate everything that was named, and print one table."""
    if not (arguments.data or arguments.data_root or arguments.acceptance):
        raise InvalidSettings("Nothing to evaluate on: name a set, --data-root or --acceptance.")
    from headclip_med.datasets import open_dataset
    from headclip_med.datasets.discover import discover
    from headclip_med.pipelines.acceptance import evaluate_acceptance
    from headclip_med.pipelines.evaluate import evaluate_dataset
    from headclip_med.pipelines.evaluation import to_markdown
    from headclip_med.write.atomic import write_file

    specs = list(arguments.data)
    if arguments.data_root:
        specs += discover(arguments.data_root)
    model = model_from(arguments)
    evaluations, failed = [], 0
    if arguments.acceptance:
        evaluations.append(evaluate_acceptance(model))
    for spec in specs:
        print(f"evaluating {spec.partition(':')[0]} ...", file=sys.stderr)
        try:
            dataset = open_dataset(spec)
            evaluations.append(
                evaluate_dataset(
                    dataset, model, batch_size=arguments.batch_size, limit=arguments.limit,
                    image_size=arguments.image_size,
                )
            )  # fmt: skip
        except HeadClipError as error:
            failed += 1
            print(f"headclip: {error}", file=sys.stderr)
    table = to_markdown(evaluations)
    as_json = json.dumps([one.to_json() for one in evaluations], indent=2)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        content = as_json if arguments.out.suffix == ".json" else table
        write_file(arguments.out, content.encode())
    print(as_json if arguments.json else table)
    if not failed:
        return 0
    return 3 if evaluations else 1
