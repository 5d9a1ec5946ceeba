"""Measure a model, or all methods, on labelled images, beside baselines that have learnt nothing.

Sets are named as LAYOUT:FOLDER (mvtec:DIR, folder:DIR, BrainMRI:DIR ...), found below --data-root,
or are the synthetic head volumes of --acceptance. Intervals are 95 % bootstrap intervals.
--method all puts every method that can be had on the model's backbone into one table; --paper adds
tables of the differences from what the HeadCLIP paper prints.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from headclip_med.cli.models import add_model, requested_model
from headclip_med.cli.protocols import add_protocol
from headclip_med.cli.tracking import add_tracking, show_run, tracking_from
from headclip_med.evaluation.request import EvaluationRequest

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
    request = EvaluationRequest(
        data=tuple(arguments.data), data_root=arguments.data_root, protocol=arguments.protocol,
        acceptance=arguments.acceptance, limit=arguments.limit, batch_size=arguments.batch_size,
        image_size=arguments.image_size, metrics=arguments.metrics, eval_size=arguments.eval_size,
        intervals=arguments.intervals, store=arguments.store, curves=arguments.curves,
        paper=arguments.paper, per_category=arguments.per_category, out=arguments.out,
        model=requested_model(arguments, without=OWN), tracking=tracking_from(arguments),
    )  # fmt: skip
    from headclip_med.pipelines.evaluate import evaluate

    report = evaluate(request, say=lambda line: print(f"headclip: {line}", file=sys.stderr))
    show_run(report.run, request.tracking)
    print(report.text(".json" if arguments.json else ".md"))
    return 3 if report.failed else 0
