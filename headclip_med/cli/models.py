"""The options that choose a model, the same in every command that needs one."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING

from headclip_med.cli.options import (
    add_joint_settings,
    add_settings,
    refuse_other_methods,
    settings_from,
    was_given,
)
from headclip_med.models.request import ALL, ModelRequest
from headclip_med.settings import ScoreSettings
from headclip_med.settings_training_free import (
    METHOD_NAMES,
    TRAINING_FREE_MODEL,
    TrainingFreeSettings,
)

if TYPE_CHECKING:
    from headclip_med.models.model import AnomalyModel


def add_weights(parser: argparse._ArgumentGroup) -> None:
    """Add the options that lead to a backbone's weights."""
    parser.add_argument(
        "--weights", help="the backbone's weights: a file, a tag such as openai, or random"
    )
    parser.add_argument(
        "--activation",
        choices=("gelu", "quickgelu"),
        help="what the weights were trained with, for files that do not tell",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def add_model(parser: argparse.ArgumentParser, *, without: Collection[str] = ()) -> None:
    """Add the options of ``load_model``; ``cli.tracking`` adds where registered models are.

    Args:
        parser: Where to.
        without: Settings of methods that the command has an option of its own for.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="headclip-mini",
        help="headclip-mini, a checkpoint that 'headclip train' wrote or registered "
        "(models:/NAME/VERSION, models:/NAME@ALIAS), the folder of a bundle, or for a method that "
        "needs no training a backbone such as ViT-L-14-336 (default: headclip-mini)",
    )  # fmt: skip
    group.add_argument(
        "--method",
        help=f"{', '.join(METHOD_NAMES)}; {' and '.join(TRAINING_FREE_MODEL)} need no training "
        "(default: the checkpoint's)",
    )
    add_weights(group)
    group.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32",
        help="bf16 is faster where the hardware has it (default: fp32)",
    )  # fmt: skip
    add_settings(parser, ScoreSettings)
    title = " and ".join(TRAINING_FREE_MODEL)
    add_joint_settings(parser, title, TRAINING_FREE_MODEL, without=without)


def model_from(arguments: argparse.Namespace, *, without: Collection[str] = ()) -> AnomalyModel:
    """Load the model that was asked for.

    Args:
        arguments: Of the command.
        without: As for ``add_model``.

    Raises:
        InvalidSettings: An option of another method was given, or the method is unknown.
    """
    method = arguments.method
    refuse_other_methods(arguments, method, TRAINING_FREE_MODEL, without=without)
    from headclip_med.models.loading import load_model

    model = load_model(
        arguments.model, method=method,
        settings=_settings(arguments, without).get(method or ""), weights=arguments.weights,
        activation=arguments.activation, device=arguments.device, precision=arguments.precision,
        tracking_uri=getattr(arguments, "tracking_uri", None),  # the demonstration has none
    )  # fmt: skip
    return _scored(arguments, model)


def requested_model(
    arguments: argparse.Namespace, *, without: Collection[str] = ()
) -> ModelRequest:
    """Say which model, or that all methods, were asked for.

    Args:
        arguments: Of the command.
        without: As for ``add_model``.

    Raises:
        InvalidSettings: An option of another method was given.
    """
    if arguments.method != ALL:
        refuse_other_methods(arguments, arguments.method, TRAINING_FREE_MODEL, without=without)
    given = {one.name: getattr(arguments, one.name, None) for one in fields(ScoreSettings)}
    return ModelRequest(
        name=arguments.model, method=arguments.method, weights=arguments.weights,
        activation=arguments.activation, device=arguments.device, precision=arguments.precision,
        checkpoints=tuple(arguments.checkpoint), settings=_settings(arguments, without),
        scores={name: value for name, value in given.items() if value is not None},
        tracking_uri=arguments.tracking_uri,
    )  # fmt: skip


def _scored(arguments: argparse.Namespace, model: AnomalyModel) -> AnomalyModel:
    if not was_given(arguments, ScoreSettings):
        return model
    return model.with_scores(settings_from(arguments, ScoreSettings, model.scores))


def _settings(
    arguments: argparse.Namespace, without: Collection[str]
) -> dict[str, TrainingFreeSettings]:
    """Build the settings of the methods that need no training from their options."""
    own = argparse.Namespace(**{k: v for k, v in vars(arguments).items() if k not in without})
    return {
        name: settings_from(own, type(usual), usual) for name, usual in TRAINING_FREE_MODEL.items()
    }
