"""Which model is asked for: all that loading it needs, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headclip_med.errors import InvalidSettings
from headclip_med.settings import EMBEDDED_NAME

ALL = "all"
"""In place of a method's name: every method that can be had, side by side."""


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """A model, or all methods on one backbone, as a user names it; see ``load_model``.

    Raises:
        InvalidSettings: Checkpoints are named and not all methods.
    """

    name: str = EMBEDDED_NAME
    """``headclip-mini``, a checkpoint, the folder of a bundle, or a backbone."""
    method: str | None = None
    """One of ``METHODS``, or ``all``; by default the checkpoint's."""
    weights: str | None = None
    """Of the backbone: a file, a tag of open_clip's registry, or ``random``."""
    activation: Literal["gelu", "quickgelu"] | None = None
    """What the weights were trained with, for files that do not tell."""
    seed: int = 0
    """Of random weights."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What the trunk is run in."""
    checkpoints: tuple[Path, ...] = ()
    """With all methods: trained methods' checkpoints on the same backbone."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of methods that need no training, by their names; as published by default."""
    scores: Mapping[str, object] = field(default_factory=dict)
    """Fields of ``ScoreSettings`` that shall be others than the model's own."""
    tracking_uri: str | None = None
    """Where a registered model is looked up."""

    def __post_init__(self) -> None:
        if self.checkpoints and self.method != ALL:
            raise InvalidSettings(
                "--checkpoint goes with --method all.", "Name one as --model instead."
            )
