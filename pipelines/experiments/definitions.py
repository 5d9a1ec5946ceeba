"""What each experiment varies, and which tables of the paper it mirrors: nothing but data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from headclip_med.errors import InvalidSettings
from headclip_med.models.registry import METHODS

PAPER_DEPTH = 24
"""Layers of ViT-L/14, which the paper's layer numbers count."""

JOINT_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
"""r of figure 4, from the map alone (0) to the class token alone (1)."""


@dataclass(frozen=True)
class Variant:
    """One row of an experiment: what differs from the method as published.

    Attributes:
        name: Of the row.
        method: Name in ``headclip_med.models.registry``.
        model: Fields of ``HeadClipSettings`` that differ. ``local_layers`` are those of a tower of
            ``PAPER_DEPTH`` layers, and are scaled to another depth.
        image_score: With JAS (``joint``) or without (``global``); None as the method is published.
        paper: What the paper's tables call it in ``PaperValue.setting``.
        is_printed: Whether the paper has such a row.
    """

    name: str
    method: str = "headclip"
    model: Mapping[str, object] = field(default_factory=dict)
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
    variants: tuple[Variant, ...]
    tables: tuple[int, ...]
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
_COMPARED = tuple(
    Variant(METHODS[name].title, name, is_printed=name in _PRINTED)
    for name in dict.fromkeys(("winclip", *_PRINTED, *METHODS))
)
_WITHOUT_JAS = "without JAS"
_OFF: Mapping[str, object] = {"head_weights": "ones"}
_LHW = (
    Variant("no LHW", model=_OFF, image_score="global", paper=f"no LHW; {_WITHOUT_JAS}"),
    Variant("LHW", image_score="global", paper=f"LHW; {_WITHOUT_JAS}"),
)
_LAYERS = ((6, 12, 18, 24), (12, 18, 24), (18, 24), (24,), (18,), (12,), (6,))


def _at_layers(layers: tuple[int, ...]) -> tuple[Variant, ...]:
    shown = f"layers {', '.join(map(str, layers))}"
    return tuple(
        Variant(
            f"{shown}; {one.name}",
            model={"local_layers": layers, **one.model},
            image_score="global",
            paper=f"{shown}; {one.paper}",
        )
        for one in _LHW
    )


EXPERIMENTS: Mapping[str, ExperimentDefinition] = {
    one.name: one
    for one in (
        ExperimentDefinition(
            "main",
            "main",
            "HeadCLIP and the methods it is compared with",
            (
                "Every method as it is published: HeadCLIP scores images with JAS, the others "
                "without. --set image_score=joint gives JAS to all, global to none.",
                "The paper has no numbers of WinCLIP.",
            ),
            _COMPARED,
            (1, 2, 3, *range(10, 27)),
        ),
        ExperimentDefinition(
            "lhw",
            "LHW",
            "Learnable head weights on and off, without JAS",
            (
                "Without LHW all head weights stay at 1, and only the prompts are learned. Images "
                "are scored by the class token alone, which head weights do not reach: image "
                "metrics differ only through the prompts that were learned beside them.",
            ),
            _LHW,
            (4, 5, 6),
        ),
        ExperimentDefinition(
            "layers",
            "layers",
            "Which layers have value-value attention, with LHW on and off, without JAS",
            (
                "The layers named are the ones with value-value attention, whose weighted heads "
                "are summed (eq. 6); the local stream starts from what enters the first of them. "
                "Their numbers are those of ViT-L/14's 24 layers.",
            ),
            tuple(variant for layers in _LAYERS for variant in _at_layers(layers)),
            (7,),
        ),
        ExperimentDefinition(
            "init",
            "init",
            "Where head weights start",
            ("Pixels only, as in the paper's table; JAS does not move them.",),
            tuple(
                Variant(
                    shown,
                    model={"head_weight_start": start},
                    image_score="global",
                    paper=f"LHW init {shown}",
                )
                for shown, start in (
                    ("Gaussian", "gaussian"),
                    ("0.0", "0.0"),
                    ("0.5", "0.5"),
                    ("1.0", "1.0"),
                )
            ),
            (8,),
        ),
        ExperimentDefinition(
            "jas",
            "JAS",
            "Joint scores of every method, r from 0 to 1",
            (
                "r = 1 is the method's own image score, r = 0 the mean of the map's top pixels "
                "(eq. 7 and 8). All r are computed from what each model said once. The paper "
                "draws this as figure 4 and prints no numbers.",
            ),
            tuple(Variant(one.name, one.method, is_printed=False) for one in _COMPARED),
            (),
            sweep=JOINT_WEIGHTS,
        ),
        ExperimentDefinition(
            "modules",
            "modules",
            "LHW and JAS, one by one and together",
            ("The paper prints three of the four combinations.",),
            (
                Variant(
                    "neither", model=_OFF, image_score="global", paper=f"no LHW; {_WITHOUT_JAS}"
                ),
                Variant("LHW", image_score="global", paper=f"LHW; {_WITHOUT_JAS}"),
                Variant("JAS", model=_OFF, image_score="joint", is_printed=False),
                Variant("LHW and JAS", image_score="joint", paper="LHW; JAS"),
            ),
            (9,),
        ),
    )
}
"""All experiments by name."""


def experiment_named(name: str) -> ExperimentDefinition:
    """Look an experiment up.

    Raises:
        InvalidSettings: There is none of that name.
    """
    if name not in EXPERIMENTS:
        raise InvalidSettings(
            f"There is no experiment '{name}'.",
            f"Choose one of {', '.join(EXPERIMENTS)}.",
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
