"""What each experiment varies, and which tables of the paper it mirrors."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Literal

from pydantic import TypeAdapter

from headclip_med.errors import InvalidSettings, nearest
from headclip_med.models.registry import METHODS

PAPER_DEPTH = 24
"""Layers of ViT-L/14, which the paper's layer numbers count."""

PAPER_SIZE_PX = 336
"""Rows and columns of the images that it was pretrained on."""

PAPER_PATCH_PX = 14


@dataclass(frozen=True)
class Variant:
    """One row of an experiment: what differs from the method as published.

    Attributes:
        name: Of the row.
        method: Name in ``headclip_med.models.registry``.
        model: Fields of ``HeadClipSettings`` that differ, for a tower of ``PAPER_DEPTH`` layers and
            ``PAPER_SIZE_PX``; layers and image sizes are scaled to another one.
        image_score: With JAS (``joint``) or without (``global``); None as the method is published.
        paper: What the paper's tables call it in ``PaperValue.setting``.
        is_printed: Whether the paper has such a row.
    """

    name: str
    method: str = "headclip"
    model: Mapping[str, bool | int | str | tuple[int, ...]] = field(default_factory=dict)
    image_score: Literal["joint", "global"] | None = None
    paper: str = ""
    is_printed: bool = True


@dataclass(frozen=True)
class ExperimentDefinition:
    """One experiment.

    Attributes:
        name: On the command line.
        tracked_as: What runs of it are called where runs are tracked.
        title: Above its tables.
        question: What it asks, and how what the paper leaves open is read.
        variants: Its rows.
        tables: Numbers of the paper's tables that it mirrors.
        sweep: Values of r that every variant is scored with, where r is what is varied.
    """

    name: str
    tracked_as: str
    title: str
    question: tuple[str, ...]
    variants: tuple[Variant, ...] = ()
    tables: tuple[int, ...] = ()
    sweep: tuple[float, ...] = ()

    @property
    def varied(self) -> frozenset[str]:
        """Fields of ``HeadClipSettings`` that the experiment sets itself."""
        return frozenset(name for variant in self.variants for name in variant.model)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it compares."""
        return tuple(dict.fromkeys(variant.method for variant in self.variants))


# In the order of the paper's tables, which lack the first; methods of later come last.
_PRINTED = ("anovl", "anomalyclip", "adaclip", "headclip")
_COMPARED = tuple(dict.fromkeys(("winclip", *_PRINTED, *METHODS)))


def _declared() -> Iterator[ExperimentDefinition]:
    """Read the experiments off the list in this folder; one without rows compares the methods."""
    declared = tomllib.loads((files(__package__) / "experiments.toml").read_text("utf-8"))
    for one in TypeAdapter(list[ExperimentDefinition]).validate_python(declared["experiment"]):
        compared = (
            Variant(METHODS[name].title, name, is_printed=bool(one.tables) and name in _PRINTED)
            for name in _COMPARED
        )
        yield replace(one, variants=one.variants or tuple(compared))


EXPERIMENTS: Mapping[str, ExperimentDefinition] = {one.name: one for one in _declared()}
"""All experiments by name."""


def experiment_named(name: str) -> ExperimentDefinition:
    """Look an experiment up.

    Raises:
        InvalidSettings: There is none of that name.
    """
    if name not in EXPERIMENTS:
        raise InvalidSettings(
            f"There is no experiment '{name}'.",
            f"{nearest(name, EXPERIMENTS)}Choose one of {', '.join(EXPERIMENTS)}.",
            code="unknown-experiment",
        )
    return EXPERIMENTS[name]


def scaled_layers(layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Put layers of the paper's tower at the same fractions of another depth.

    Args:
        layers: One-based, of ``PAPER_DEPTH``.
        depth: Layers of the tower at hand.

    Returns:
        One-based layers, ascending; two that fall together are one.
    """
    if depth == PAPER_DEPTH:
        return layers
    return tuple(sorted({max(1, round(layer * depth / PAPER_DEPTH)) for layer in layers}))


def scaled_size(size_px: int, own_px: int, patch_px: int) -> int:
    """Put an image size at the same multiple of what another tower was pretrained on.

    Args:
        size_px: For a tower of ``PAPER_SIZE_PX``.
        own_px: Of the images that the tower at hand was pretrained on.
        patch_px: Of its patches.

    Returns:
        Pixels, a whole number of patches.
    """
    return max(1, round(size_px * own_px / PAPER_SIZE_PX / patch_px)) * patch_px
