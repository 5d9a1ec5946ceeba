"""The smoke test: small sets in full, and whether what comes out is what the paper prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from headclip_med.datasets import KNOWN_SETS
from headclip_med.datasets.discover import INDUSTRIAL, MEDICAL
from headclip_med.models.registry import DEFAULT, METHODS
from headclip_med.pipelines.experiments.definitions import EXPERIMENTS, ExperimentDefinition
from headclip_med.pipelines.experiments.paper_comparison import PAPER_BACKBONE
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan, replan
from headclip_med.pipelines.experiments.results import Compared
from headclip_med.pipelines.reproduce.bench import WIDEST, Bench
from headclip_med.pipelines.reproduce.facts import Objection
from headclip_med.write.tables import Number, Table

SMOKE = "smoke"

BAND_POINTS = 5.0
"""How far mAD may lie from the paper's, in points of percent.

The paper prints no spread. Switching off what it learns of heads moves a set by 3.4 points at most
(tables 4 to 6), and reports of its users name 1 to 4 points between machines and seeds; wrong
weights, preprocessing or masks cost more than 5."""

SETS_OF_A_LEVEL = 2
"""The smallest with masks, and as many with labels only."""

JUDGED = "mAD"

State = Literal["inside", "outside", "not-judged"]

Cause = Literal["backbone", "settings", "training-data", "limit", "images", "undefined"]

CAUSES: dict[Cause, str] = {
    "backbone": f"the paper's numbers are of {PAPER_BACKBONE}, and this is another backbone",
    "settings": "settings were changed",
    "training-data": "other sets were trained on than the paper's",
    "limit": "not all images were tested",
    "images": "the set has other images than the paper's",
    "undefined": "it is undefined on these images",
}
"""Why a band of the paper says nothing of a number."""


@dataclass(frozen=True)
class BandCheck:
    """One number of the smoke test beside the band around the paper's.

    Attributes:
        dataset: The set.
        variant: The method, as tables call it.
        table: Of the document that it stands in.
        ours: In percent; None where it is undefined.
        paper: In percent.
        state: Whether it lies in the band, or why it is not judged, see ``causes``.
        causes: Keys of ``CAUSES``.
    """

    dataset: str
    variant: str
    table: str
    ours: float | None
    paper: float
    state: State
    causes: tuple[Cause, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> BandCheck:
        """Read what ``to_json`` gave."""
        return cls(**{**stored, "causes": tuple(stored["causes"])})


def smoke_definition() -> ExperimentDefinition:
    """Give the smoke test as an experiment."""
    widest = EXPERIMENTS[WIDEST]
    return replace(
        widest,
        name=SMOKE,
        title="Smoke test: small sets in full",
        question=(
            f"The method that is reproduced, and those that the paper prints and that need no "
            f"training, on the smallest sets. {JUDGED} is to lie within {BAND_POINTS:g} points of "
            "the paper's.",
        ),
    )


def smoke_plan(bench: Bench) -> ExperimentPlan:
    """Choose the smallest of the sets that are here, and what is tested on them.

    Raises:
        InvalidSettings: There is nothing to test.
    """
    definition = smoke_definition()
    methods = tuple(
        one.method
        for one in definition.variants
        if one.method == DEFAULT or (one.is_printed and not METHODS[one.method].needs_training)
    )
    here = [one for one in bench.plan.tested if one.dataset]
    ranked = sorted([one for one in here if not one.untrained] or here, key=_rank)
    by_level = (
        [one.name for one in ranked if one.dataset and one.dataset.level == level]
        for level in ("image", "pixel")
    )
    chosen = [name for names in by_level for name in names[:SETS_OF_A_LEVEL]]
    return replan(bench.plan, definition, methods=methods, sets=tuple(chosen))


def _rank(one: EvaluationSet) -> tuple[bool, bool, int]:
    """Put sets that the paper has first, of these such with as many images, and small ones."""
    images = len(one.dataset.samples) if one.dataset else 0
    known = KNOWN_SETS.get(one.name)
    has_its_images = known is not None and known.test is not None and sum(known.test) == images
    return one.name not in (*INDUSTRIAL, *MEDICAL), not has_its_images, images


def causes_of(bench: Bench) -> tuple[Cause, ...]:
    """Say why no number of a reproduction can be held against the paper's, if so."""
    found: list[Cause] = []
    if not bench.setup.backbone.name.startswith(PAPER_BACKBONE):
        found.append("backbone")
    if any(bench.setup.changes.values()):
        found.append("settings")
    if bench.request.data.train:
        found.append("training-data")
    if bench.request.data.limit is not None:
        found.append("limit")
    return tuple(found)


def check_bands(tables: Sequence[Table], causes: Sequence[Cause] = ()) -> tuple[BandCheck, ...]:
    """Hold every set's mAD against the paper's.

    Args:
        tables: Of the smoke test, by set and variant.
        causes: Why none can be judged, if so.
    """
    return tuple(_checks(tables, tuple(causes)))


def _checks(tables: Sequence[Table], causes: tuple[Cause, ...]) -> Iterator[BandCheck]:
    printed = {*INDUSTRIAL, *MEDICAL}  # and no average
    for table in tables:
        if JUDGED not in table.columns or table.heads != ("set", "variant"):
            continue
        column = table.columns.index(JUDGED)
        for line in table.lines:
            number = line.numbers[column] if line.numbers else None
            name, variant = line.heads
            if number is not None and number.paper is not None and name in printed:
                blank = BandCheck(name, variant, table.key, None, number.paper, "not-judged")
                yield _judged(blank, number, causes)


def _judged(check: BandCheck, number: Number, causes: tuple[Cause, ...]) -> BandCheck:
    ours = number.ours if math.isfinite(number.ours) else None
    if isinstance(number, Compared) and number.other_images:
        causes = (*causes, "images")
    difference = number.difference
    if difference is None:
        causes = (*causes, "undefined")
    state: State = "not-judged"
    if not causes and difference is not None:
        state = "inside" if abs(difference) <= BAND_POINTS else "outside"
    return replace(check, ours=ours, state=state, causes=causes)


def smoke_objection(checks: Sequence[BandCheck]) -> Objection | None:
    """Say which numbers lie outside the paper's band; None where none does."""
    outside = [one for one in checks if one.state == "outside"]
    if not outside:
        return None
    named = "; ".join(
        f"{one.variant} on {one.dataset}: {one.ours:.1f}, the paper's {one.paper:.1f}"
        for one in outside
    )
    judged = sum(one.state != "not-judged" for one in checks)
    return Objection(
        SMOKE,
        "smoke-outside-band",
        f"{len(outside)} of {judged} numbers of the smoke test lie more than {BAND_POINTS:g} "
        f"points of {JUDGED} from the paper's ({named}).",
        "Look at the weights, the data check and the settings first.",
    )
