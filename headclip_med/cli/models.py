"""The options that choose a model, the same in every command that needs one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from headclip_med.cli.options import add_settings, settings_from, was_given
from headclip_med.settings import ScoreSettings

if TYPE_CHECKING:
    from headclip_med.models.anomaly import AnomalyModel


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


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``load_model``."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="headclip-mini",
        help="headclip-mini, or a checkpoint that 'headclip train' wrote (default: headclip-mini)",
    )  # fmt: skip
    add_weights(group)
    group.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32",
        help="bf16 is faster where the hardware has it (default: fp32)",
    )  # fmt: skip
    add_settings(parser, ScoreSettings)


def model_from(arguments: argparse.Namespace) -> AnomalyModel:
    """Load the model that was asked for."""
    from headclip_med.models.loading import load_model

    model = load_model(
        arguments.model, weights=arguments.weights, activation=arguments.activation,
        device=arguments.device, precision=arguments.precision,
    )  # fmt: skip
    if was_given(arguments, ScoreSettings):
        model = model.with_scores(settings_from(arguments, ScoreSettings, model.scores))
    return model
