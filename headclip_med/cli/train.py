"""Train HeadCLIP, AnomalyCLIP or AdaCLIP on a data set of defects, such as MVTec AD.

As in the field's protocol, the images of the set's test split are used, which hold the anomalies
and their masks. Never evaluate on the set that was trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headclip_med.cli.models import add_weights
from headclip_med.cli.options import (
    add_joint_settings,
    add_settings,
    refuse_other_methods,
    settings_from,
)
from headclip_med.cli.progress import progress
from headclip_med.cli.protocols import add_protocol, protocol_sets
from headclip_med.cli.tracking import add_tracking, show_run, tracking_from
from headclip_med.errors import InvalidSettings
from headclip_med.ranks import torchrun_ranks
from headclip_med.settings import HeadClipSettings, ScoreSettings, TrainSettings, usual_headclip
from headclip_med.settings_learned import (
    PUBLISHED_MODEL,
    PUBLISHED_SCORES,
    PUBLISHED_TRAINING,
    LearnedSettings,
)
from headclip_med.settings_training_free import TRAINING_FREE_MODEL
from headclip_med.tracking import Run, TrackingOptions, check_model_name, track

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.pipelines.train import Trained
    from headclip_med.training.handlers import StepReport

MOSAICS_OF = ("adaclip", "MVTecAD")
"""The method and the set that are published with mosaics."""

PUBLISHED_MOSAIC = 0.2
"""How often."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--data", action="append", default=[], metavar="LAYOUT:DIR",
        help="mvtec:DIR for one category or many, folder:DIR, or a set that 'headclip datasets' "
        "lists; may be given several times",
    )  # fmt: skip
    add_protocol(parser, "train on")
    parser.add_argument("--data-root", type=Path, help="folder that holds the protocol's sets")
    parser.add_argument(
        "--method", default="headclip",
        help=f"{', '.join(PUBLISHED_MODEL)}; others need no training (default: headclip)",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help="folder for the checkpoint")
    parser.add_argument(
        "--cache", default="auto",
        help="what the frozen tower makes of each image is kept: none, ram, or a folder that later "
        "trainings read too (default: auto, which is ram where --cache-limit-gb allows, or none "
        "where torchrun started several processes)",
    )  # fmt: skip
    parser.add_argument(
        "--cache-limit-gb", type=float, default=4.0, help="most that it may take (default: 4)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with a stopped training")
    parser.add_argument(
        "--from-epoch", type=int, metavar="N",
        help="go on from the end of this epoch, and not of the last one; implies --resume",
    )  # fmt: skip
    group = parser.add_argument_group("backbone")
    group.add_argument(
        "--backbone", default="headclip-mini",
        help="headclip-mini, a name of open_clip's registry, or a folder (default: headclip-mini, "
        "on which HeadCLIP's local layers and class token norm are as it was pretrained)",
    )  # fmt: skip
    add_weights(group)
    add_joint_settings(parser, "training", PUBLISHED_TRAINING)
    add_joint_settings(parser, "method", PUBLISHED_MODEL)
    add_settings(parser, ScoreSettings)
    add_tracking(parser).add_argument(
        "--register", metavar="NAME",
        help="register the checkpoint at the tracker, as the next version of this model",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the checkpoint is."""
    method = _method(arguments.method)
    model_settings, settings, scores = _settings(arguments, method)
    options = _tracking(arguments)
    specs = [*arguments.data, *protocol_sets(arguments, "train")]
    if not specs:
        raise InvalidSettings("Nothing to train on: name a set with --data, or a --protocol.")
    from headclip_med.evaluation.datasets import open_datasets

    dataset = open_datasets(specs)
    from headclip_med.evaluation.examples import Examples
    from headclip_med.models.clip.loading import load_backbone
    from headclip_med.models.inference import default_image_size
    from headclip_med.models.loading import choose_device
    from headclip_med.pipelines.tracked_training import TrainingRecord
    from headclip_med.pipelines.train import train
    from headclip_med.training.processes import own_device

    if arguments.mosaic is None and (method, dataset.name) == MOSAICS_OF:
        settings = replace(settings, mosaic=PUBLISHED_MOSAIC)
    backbone = load_backbone(
        arguments.backbone, weights=arguments.weights, activation=arguments.activation
    ).to(own_device(choose_device(arguments.device)))
    examples = Examples(dataset, default_image_size(model_settings, backbone.vision))
    steps = settings.epochs * -(-len(examples) // settings.batch_size)
    cache = _cache(arguments, settings, model_settings, backbone, len(examples))
    with track("train", options=options) as tracked, progress(steps, "step") as bar:
        record = TrainingRecord(tracked)
        record.begin(method, backbone, model=model_settings, training=settings, scores=scores)
        tracked.parameters({"images": len(examples), "resumed": _resumes(arguments)})
        tracked.dataset(dataset.name, dataset.content_digest, use="training")

        def report(step: StepReport) -> None:
            behind = (step.epoch - 1) * step.steps + step.step - 1
            if not bar.n:
                bar.n = bar.initial = behind  # of a resumed training: they tell nothing of time
            bar.update(1)
            bar.set_postfix(epoch=step.epoch, loss=f"{step.loss:.3f}", refresh=False)
            record.step(step)

        trained = train(
            examples, backbone, out=arguments.out, resume=_resumes(arguments),
            from_epoch=arguments.from_epoch,
            data={"name": dataset.name, "digest": dataset.content_digest},
            cache=cache, model_settings=model_settings, settings=settings, scores=scores,
            report=report, report_epoch=record.epoch,
        )  # fmt: skip
        record.end(trained, backbone, examples)
        registered = _register(tracked, trained, arguments.register)
    if torchrun_ranks().first:
        show_run(tracked, options)
        _show(trained, registered, as_json=arguments.json)
    return 0


def _settings(
    arguments: argparse.Namespace, method: str
) -> tuple[LearnedSettings, TrainSettings, ScoreSettings]:
    """Say what the model is made of, how it is trained, and how its maps become scores."""
    refuse_other_methods(arguments, method, PUBLISHED_MODEL)
    usual: LearnedSettings = PUBLISHED_MODEL[method]
    if isinstance(usual, HeadClipSettings):
        usual = usual_headclip(arguments.backbone)
    return (
        settings_from(arguments, type(usual), usual),
        settings_from(arguments, TrainSettings, PUBLISHED_TRAINING[method]),
        settings_from(arguments, ScoreSettings, PUBLISHED_SCORES[method]),
    )


def _resumes(arguments: argparse.Namespace) -> bool:
    return arguments.resume or arguments.from_epoch is not None


def _tracking(arguments: argparse.Namespace) -> TrackingOptions:
    """Say how the run is recorded; what cannot be registered is refused before it is trained."""
    options = tracking_from(arguments)
    if arguments.register is not None:
        check_model_name(arguments.register)
        if not options.is_on:
            raise InvalidSettings("--register needs the tracker.", "Leave --no-tracking out.")
    return options


def _register(run: Run, trained: Trained, name: str | None) -> str | None:
    if name is None or not run.is_recording:  # one of several processes that is not the first
        return None
    from headclip_med.models.checkpoint import read_checkpoint
    from headclip_med.pipelines.tracked_training import about

    path = trained.checkpoint
    return run.register(path, name, about(read_checkpoint(path)))


def _show(trained: Trained, registered: str | None, *, as_json: bool) -> None:
    """Print where the checkpoint is, and how to use it."""
    if as_json:
        found = {"checkpoint": str(trained.checkpoint), "registered": registered,
                 "losses": list(trained.losses), "threshold": trained.threshold}  # fmt: skip
        print(json.dumps(found))
        return
    if trained.losses:
        print(f"loss {trained.losses[0]:.4f} -> {trained.losses[-1]:.4f}")
    print(f"use it: headclip screen --model {registered or trained.checkpoint} ...")


def _cache(
    arguments: argparse.Namespace,
    training: TrainSettings,
    settings: LearnedSettings,
    backbone: Backbone,
    count: int,
) -> Path | Literal["ram"] | None:
    """Choose where features are kept, and say what they take."""
    wanted = arguments.cache
    place: Path | Literal["ram"] = "ram" if wanted in ("auto", "ram") else Path(wanted)
    ranks, keeps = torchrun_ranks(), isinstance(settings, HeadClipSettings) and not training.mosaic
    if wanted == "none" or (wanted == "auto" and (not keeps or ranks.count > 1)):
        return None
    if not isinstance(settings, HeadClipSettings):
        return place  # which is refused where the training begins
    from headclip_med.models.headclip.features import features_bytes

    need, limit = features_bytes(settings, backbone.vision, count) / 1e9, arguments.cache_limit_gb
    if ranks.first:
        print(f"the features of {count} images take {need:.2f} GB", file=sys.stderr)
    if need <= limit:
        return place
    if wanted == "auto":
        print(f"that is above {limit:g} GB: the tower runs in every epoch", file=sys.stderr)
        return None
    raise InvalidSettings(
        f"The features would take {need:.1f} GB, above --cache-limit-gb {limit:g}.",
        "Raise it, or choose a smaller --image-size or --cache none.",
        code="cache-too-large",
    )


def _method(name: str) -> str:
    """Accept the methods that are trained."""
    if name in PUBLISHED_MODEL:
        return name
    trained = ", ".join(PUBLISHED_MODEL)
    if name in TRAINING_FREE_MODEL:
        raise InvalidSettings(
            f"{name} needs no training: name it as --method where it is used.",
            f"{trained} are trained.",
            code="untrainable-method",
        )
    raise InvalidSettings(
        f"There is no method '{name}' to train.", f"Choose one of {trained}.", code="unknown-method"
    )
