"""The experiments of the paper: one definition for each, as data, and one runner for all."""

from headclip_med.pipelines.experiments.definitions import (
    EXPERIMENTS,
    Experiment,
    Variant,
    experiment_named,
)
from headclip_med.pipelines.experiments.plan import Plan, Request, plan_experiment
from headclip_med.pipelines.experiments.runner import Outcome, run_experiment
from headclip_med.pipelines.experiments.setup import Setup

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Outcome",
    "Plan",
    "Request",
    "Setup",
    "Variant",
    "experiment_named",
    "plan_experiment",
    "run_experiment",
]
