"""What was measured: by variant and set, with averages formed as the paper forms them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headclip_med.datasets import KNOWN_SETS
from headclip_med.metrics import Protocol
from headclip_med.paper import Level
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.paper_comparison import OTHER_IMAGES
from headclip_med.pipelines.experiments.plan import EvaluationSet, Plan

Place = tuple[str, Level, str]
"""Category (``""`` is the set's average), level and metric."""


@dataclass(frozen=True)
class SetResult:
    """What one variant reached on one set; fractions of 1, NaN where undefined.

    Attributes:
        normal: Images.
        abnormal: Images.
        image_size: Rows and columns of the model's input.
        values: By place and protocol.
        sweep: Image mAD for each r, averaged over categories, where r is what is varied; there
            are no ``values`` then.
        sample: A picture of some abnormal images with their maps, if it was kept.
    """

    normal: int
    abnormal: int
    image_size: int
    values: Mapping[Place, Mapping[Protocol, float]]
    sweep: tuple[float, ...] = ()
    sample: Path | None = None

    @property
    def is_swept(self) -> bool:
        """Whether images can be told apart on this set, and were for every r."""
        return any(math.isfinite(value) for value in self.sweep)

    @property
    def levels(self) -> frozenset[Level]:
        """Levels that are defined on this set."""
        return frozenset(
            level
            for (category, level, _), by in self.values.items()
            if not category and any(math.isfinite(value) for value in by.values())
        )

    @property
    def categories(self) -> tuple[str, ...]:
        """Its categories, in order."""
        return tuple(dict.fromkeys(category for category, _, _ in self.values if category))


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that an experiment measured.

    Attributes:
        plan: What was to be done.
        found: By name of the variant and of the set.
        failures: Why there is no result, by the same, where trying showed it.
    """

    plan: Plan
    found: Mapping[tuple[str, str], SetResult]
    failures: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, variant: Variant, name: str) -> SetResult | None:
        """Look up what a variant reached on a set."""
        return self.found.get((variant.name, name))

    def reason(self, variant: Variant, tested: EvaluationSet) -> str:
        """Say why there is no result, or nothing where there is one."""
        if (variant.name, tested.name) in self.found:
            return ""
        failed = self.failures.get((variant.name, tested.name), "")
        return tested.refusal(variant.method) or failed or "not measured"

    def value(
        self, variant: Variant, name: str, place: Place, protocol: Protocol = "paper"
    ) -> float | None:
        """Look one value up, in percent; NaN where it is undefined, None where there is none."""
        result = self.of(variant, name)
        by = None if result is None else result.values.get(place)
        return None if by is None else 100 * by[protocol]

    def average(
        self, variant: Variant, names: Iterable[str], place: Place, protocol: Protocol = "paper"
    ) -> float | None:
        """Average a metric over sets, those left out where it is undefined; None without any."""
        values = [self.value(variant, name, place, protocol) for name in names]
        return mean_of([value for value in values if value is not None])

    def other_images(self, variant: Variant, names: Iterable[str]) -> str:
        """Say that a set holds other images than the paper's, as far as counts tell, or nothing."""
        for name in names:
            result, known = self.of(variant, name), KNOWN_SETS.get(name)
            if result and known and known.test not in (None, (result.normal, result.abnormal)):
                return OTHER_IMAGES
        return ""


def mean_of(values: Sequence[float]) -> float | None:
    """Average what is defined; None where nothing is."""
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else None
