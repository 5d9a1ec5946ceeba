"""What a reproduction works with: sets that are open, a backbone in memory, and how."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import headclip_med
from headclip_med.datasets import PROTOCOLS, find_sets
from headclip_med.models.clip.snapshots import Activation
from headclip_med.pipelines.experiments.definitions import EXPERIMENTS
from headclip_med.pipelines.experiments.models import Setup
from headclip_med.pipelines.experiments.paper_comparison import PAPER_BACKBONE
from headclip_med.pipelines.experiments.plan import ExperimentPlan, Request, plan_experiment
from headclip_med.pipelines.reproduce.facts import FactFile, Facts
from headclip_med.tracking import TrackingOptions

WIDEST = "main"
"""The experiment that compares every method: its plan has all sets."""


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest:
    """What is to be reproduced.

    Attributes:
        data: Where the sets are, and how many images of them are tested.
        backbone: Its name, as the user gave it.
        weights: The same of its weights.
        activation: The same of what they were trained with.
        device: Where it runs.
        experiments: Names, in the order in which they are done.
        command: That the report shall name as the one which made it.
        go_on: Whether what speaks against going on is only written down.
        tracking: Where the runs of experiments are recorded.
    """

    data: Request
    backbone: str = PAPER_BACKBONE
    weights: str | None = None
    activation: Activation | None = None
    device: str = "auto"
    experiments: tuple[str, ...] = tuple(EXPERIMENTS)
    command: str = ""
    go_on: bool = False
    tracking: TrackingOptions = field(default_factory=lambda: TrackingOptions(is_on=False))


@dataclass(frozen=True, eq=False)
class Bench:
    """All that stages need.

    Attributes:
        request: What is to be reproduced.
        setup: Backbone, settings, and where everything is kept.
        plan: Of the experiment with every method: the sets, opened once.
    """

    request: ReproduceRequest
    setup: Setup
    plan: ExperimentPlan

    @classmethod
    def of(cls, request: ReproduceRequest, setup: Setup) -> Bench:
        """Open the sets.

        Raises:
            InvalidSettings: Nothing can be tested, or a setting is one that an experiment varies.
            UnreadableInput: A set to train on cannot be used.
        """
        for name in request.experiments:
            setup.refuse_varied(EXPERIMENTS[name])
        return cls(request, setup, plan_experiment(EXPERIMENTS[WIDEST], request.data))

    @property
    def out(self) -> Path:
        """Give the folder that everything is kept in."""
        return self.setup.out

    def own_setup(self) -> Setup:
        """Give an experiment a backbone of its own: its models are moved to the device in place."""
        if self.setup.device.type == "cpu":
            return self.setup
        return replace(self.setup, backbone=deepcopy(self.setup.backbone))

    @cached_property
    def specs(self) -> tuple[str, ...]:
        """Name all sets that are tested or trained on, as ``LAYOUT:FOLDER``, each once."""
        root, given = self.request.data.data_root, self.request.data.train
        places = find_sets(root) if root and not given else {}
        trained = (
            f"{name}:{places[name]}"
            for key in self.plan.auxiliaries
            if key in PROTOCOLS
            for name in PROTOCOLS[key].train
        )
        tested = (one.spec for one in self.plan.tested if one.spec)
        return tuple(dict.fromkeys((*tested, *given, *trained)))

    @cached_property
    def rests_on(self) -> Mapping[str, Any]:
        """Say what every number depends on."""
        backbone, setup = self.setup.backbone, self.setup
        return {
            "version": headclip_med.__version__,
            "backbone": {"digest": backbone.digest, "activation": backbone.activation},
            "changed": setup.changes,
            "precision": setup.precision,
            "seeds": setup.seeds,
            "limit": self.request.data.limit,
            "tested": {
                one.name: one.dataset.content_digest if one.dataset else one.reason
                for one in self.plan.tested
            },
            "trained_on": {
                key: [one.content_digest for one in sets]
                for key, sets in self.plan.auxiliaries.items()
            },
        }

    def facts(self, stage: str, identity: Facts | None = None) -> FactFile:
        """Say where a stage leaves its facts; by default they depend on all that numbers do."""
        return FactFile(self.out, stage, self.rests_on if identity is None else identity)
