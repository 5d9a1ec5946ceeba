"""Run an experiment of the paper, and write its tables with the paper's numbers beside ours.

main (tables 1-3, 10-26), lhw (4-6), layers (7), init (8), jas (figure 4), modules (9). VisA is
trained on to test MVTec AD and MVTec AD to test all other sets, unless --train names others; sets
that are absent are marked absent. What is there already (trainings, answers) is not done again, so
that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclip_med.cli.models import add_weights
from headclip_med.cli.options import add_joint_settings, add_settings
from headclip_med.cli.progress import progress
from headclip_med.cli.tracking import add_tracking, show_run, tracking_from
from headclip_med.settings import HeadClipSettings, ScoreSettings, TrainSettings
from headclip_med.settings_learned import PUBLISHED_TRAINING
from headclip_med.settings_training_free import METHOD_NAMES

if TYPE_CHECKING:
    from tqdm import tqdm

    from headclip_med.pipelines.experiments import Plan, Setup

NAMES = ("main", "lhw", "layers", "init", "jas", "modules")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("name", choices=NAMES, help="which experiment")
    parser.add_argument("--data-root", type=Path, help="folder below which sets are looked for")
    parser.add_argument(
        "--datasets", nargs="+", default=[], metavar="SET",
        help="sets to test: names below --data-root, or LAYOUT:DIR (default: all that are found)",
    )  # fmt: skip
    parser.add_argument(
        "--train", action="append", default=[], metavar="LAYOUT:DIR",
        help="train on this set for every test, instead of the published protocol; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--methods", nargs="+", default=[], choices=METHOD_NAMES, metavar="METHOD",
        help="of main and jas: only these",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, help="test at most this many images per category")
    parser.add_argument(
        "--out", type=Path, default=Path("experiments"),
        help="folder for tables, trainings and answers (default: experiments)",
    )  # fmt: skip
    parser.add_argument(
        "--cache-limit-gb", type=float, default=4.0,
        help="most that the frozen tower's outputs may take on disk while trainings read them; 0 "
        "keeps none (default: 4)",
    )  # fmt: skip
    parser.add_argument("--images-per-pass", type=int, default=8, help="when judging (default: 8)")
    group = parser.add_argument_group("backbone")
    group.add_argument(
        "--backbone", default="headclip-mini",
        help="headclip-mini, a name of open_clip's registry, or a folder (default: headclip-mini)",
    )  # fmt: skip
    add_weights(group)
    group.add_argument(
        "--judging-precision", choices=("fp32", "bf16"), default="fp32",
        help="bf16 is faster where the hardware has it (default: fp32)",
    )  # fmt: skip
    add_joint_settings(parser, "training", PUBLISHED_TRAINING)
    add_settings(parser, HeadClipSettings)
    add_settings(parser, ScoreSettings)
    add_tracking(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the experiment, and print its tables."""
    from headclip_med.pipelines.experiments import (
        Request,
        experiment_named,
        plan_experiment,
        run_experiment,
    )
    from headclip_med.tracking import track
    from headclip_med.write.tables import to_json, to_markdown

    experiment = experiment_named(arguments.name)
    options = tracking_from(arguments)
    request = Request(
        data_root=arguments.data_root,
        datasets=tuple(arguments.datasets),
        train=tuple(arguments.train),
        methods=tuple(arguments.methods),
        limit=arguments.limit,
    )
    plan = plan_experiment(experiment, request)
    with progress(None, "step") as bar:
        setup = _setup(arguments, bar)
        setup.refuse_varied(experiment)
        _say_what_is_missing(plan, setup.say)
        with track(experiment.name, experiment=experiment.tracked_as, options=options) as tracked:
            outcome = run_experiment(plan, setup, command=_command(arguments), run=tracked)
    show_run(tracked, options)
    if arguments.json:
        found = to_json(outcome.document)
        print(json.dumps({**found, "files": {k: str(v) for k, v in outcome.paths.items()}}))
    else:
        print(to_markdown(outcome.document))
    print(f"written: {', '.join(str(path) for path in outcome.paths.values())}", file=sys.stderr)
    return 3 if outcome.failed else 0


def shown_command(arguments: Sequence[str], data_root: Path | None) -> str:
    """Write a command line so that it tells no one's folders: they are named DATA, or shortened."""
    root = "" if data_root is None else str(data_root)

    def shown(text: str) -> str:
        option, separator, value = text.partition("=") if text.startswith("--") else ("", "", text)
        layout, colon, folder = value.partition(":")
        path = folder if colon else value
        if root and (path == root or path.startswith(f"{root.rstrip('/')}/")):
            path = f"DATA{path.removeprefix(root.rstrip('/'))}"
        elif Path(path).is_absolute():
            path = Path(path).name
        return f"{option}{separator}{layout + colon if colon else ''}{path}"

    return shlex.join(["headclip", *map(shown, arguments)])


def _command(arguments: argparse.Namespace) -> str:
    return shown_command(getattr(arguments, "command_line", ()), arguments.data_root)


def _setup(arguments: argparse.Namespace, bar: tqdm) -> Setup:
    from headclip_med.models.clip.loading import load_backbone
    from headclip_med.models.loading import choose_device
    from headclip_med.pipelines.experiments import Setup

    def step(report: Any, total: int) -> None:
        position = (report.epoch - 1) * report.steps + report.step
        if position < bar.n or bar.total != total:
            bar.reset(total)
        bar.update(position - bar.n)
        bar.set_postfix(loss=f"{report.loss:.3f}", refresh=False)

    return Setup(
        backbone=load_backbone(
            arguments.backbone, weights=arguments.weights, activation=arguments.activation
        ),
        out=arguments.out,
        device=choose_device(arguments.device),
        training=_given(arguments, TrainSettings),
        model=_given(arguments, HeadClipSettings),
        scores=_given(arguments, ScoreSettings),
        batch_size=arguments.images_per_pass,
        precision=arguments.judging_precision,
        cache_limit_gb=arguments.cache_limit_gb,
        say=lambda text: bar.write(text, file=sys.stderr),
        step=step,
    )


def _given(arguments: argparse.Namespace, settings: type) -> dict[str, Any]:
    """Collect the fields of settings whose options were given."""
    values = {one.name: getattr(arguments, one.name, None) for one in fields(settings)}
    return {name: value for name, value in values.items() if value is not None}


def _say_what_is_missing(plan: Plan, say: Callable[[str], None]) -> None:
    for one in plan.tested:
        reason = one.reason or one.untrained
        if reason:
            say(f"{one.name}: {reason}")
