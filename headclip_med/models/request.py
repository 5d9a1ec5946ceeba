"""Which models are wanted, as a user says it; nothing is loaded yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from headclip_med.models.registry import METHODS, method_named
from headclip_med.settings import (
    AUTO,
    EMBEDDED_NAME,
    Precision,
    Seed,
    Settings,
    Words,
    checked,
    require,
)

ALL = "all"
"""Every method that can be had on one backbone."""


@checked
class ModelRequest(Settings):
    """One model, or with method ``all`` every one that can be had on its backbone."""

    name: Words = EMBEDDED_NAME
    """``headclip-mini``; a checkpoint, which names its method and backbone; the folder of a bundle,
    which stands for the checkpoint that travels with it; for a method that needs no training any
    backbone; or, with random weights, a backbone of open_clip's registry with nothing learned, for
    tests and benchmarks."""
    method: Words | None = None
    """A method's name, or ``all``; by default the checkpoint's."""
    weights: Words | None = None
    """The backbone's weights, where its name alone does not lead to them: a file, a tag of
    open_clip's registry, or ``random``."""
    activation: Literal["gelu", "quickgelu"] | None = None
    """What the backbone's weights were trained with, for files that do not tell."""
    seed: Seed = 0
    """Of random weights."""
    device: Words = AUTO
    """``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    precision: Precision = "fp32"
    """``bf16`` runs the image tower in bfloat16: faster where the hardware is made for it, and not
    done elsewhere; ``auto`` finds out."""
    checkpoints: tuple[Path, ...] = ()
    """Of further trained methods on the same backbone, with method ``all``."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Of methods that need no training, by name; as published by default. Checkpoints have their
    own."""
    scores: Mapping[str, Any] = Field(default_factory=dict)
    """Fields of ``ScoreSettings`` that differ from a model's own."""
    tracking_uri: Words | None = None
    """Where a registered model is looked up; by default what ``MLFLOW_TRACKING_URI`` says, else
    ``sqlite:///mlflow.db``."""

    def __post_init__(self) -> None:
        """Check what concerns two fields, and the names of methods."""
        require(
            not self.checkpoints or self.method == ALL,
            "--checkpoint goes with --method all.",
            "Name one as --model instead.",
        )
        if self.method is not None and self.method != ALL:
            method_named(self.method)
        for name, given in self.settings.items():
            method = METHODS.get(name)
            require(
                method is not None and not method.learning and type(given) is type(method.settings),
                f"The settings given are not those of {name or 'a checkpoint, which has its own'}.",
                "Leave them out, or name their method.",
            )
