"""The paper's tables as forms: which sets, levels, metrics and averages each of them has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from headclip_med.paper import Level, PaperValue, paper_values
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.settings_training_free import METHOD_TITLES

AVERAGE = "Average"

Kind = Literal["sets", "categories", "averages"]

_SETS_OF: dict[tuple[str, Level], int] = {
    ("industrial", "image"): 1,
    ("industrial", "pixel"): 1,
    ("medical", "pixel"): 2,
    ("medical", "image"): 3,
}
"""The table that lists the sets which a domain's average at a level is formed of."""

_SWAPPED = 7
"""Of its four numbers per row, the second and the third stand below each other's heading."""


@dataclass(frozen=True)
class Form:
    """What a table of the paper looks like.

    Attributes:
        number: Of the table.
        kind: Whether its rows are sets, categories of one set, or variants alone.
        domain: Of its sets; ``""`` where it has both.
        datasets: Its sets, in order, the average left out.
        levels: Images before pixels.
    """

    number: int
    kind: Kind
    domain: str
    datasets: tuple[str, ...]
    levels: tuple[Level, ...]

    def metrics(self, level: Level) -> tuple[str, ...]:
        """Name its metrics at a level, in order."""
        values = paper_values(table=self.number, level=level)
        return tuple(dict.fromkeys(value.metric for value in values))

    def categories(self) -> tuple[str, ...]:
        """Name its categories, in order."""
        values = paper_values(table=self.number)
        return tuple(dict.fromkeys(value.category for value in values if value.category))


@cache
def form_of(number: int) -> Form:
    """Read the form of a table off its values."""
    values = paper_values(table=number)
    names = tuple(dict.fromkeys(value.dataset for value in values if value.dataset != AVERAGE))
    domains = {value.domain for value in values}
    present = {value.level for value in values}
    kind: Kind = "averages" if not names else "sets"
    if any(value.category for value in values):
        kind = "categories"
    levels: tuple[Level, ...] = ("image", "pixel")
    domain = domains.pop() if len(domains) == 1 else ""
    return Form(number, kind, domain, names, tuple(one for one in levels if one in present))


def averaged_sets(domain: str, level: Level) -> tuple[str, ...]:
    """Name the sets that the paper averages over."""
    return form_of(_SETS_OF[domain, level]).datasets


def printed(  # noqa: PLR0913 - what a number of a table is, each part by its name
    table: int,
    variant: Variant,
    *,
    dataset: str,
    category: str = "",
    domain: str | None = None,
    level: Level,
    metric: str,
) -> float | None:
    """Look up what a table has for a variant, in percent; None where it has nothing.

    Table 7's header names its four columns image-industrial, pixel-industrial, image-medical and
    pixel-medical, but its second and third numbers are of the size of image-medical (85.8 in table
    6) and pixel-industrial (60.5 in table 4) and of no other; they are read so.
    """
    if not variant.is_printed:
        return None
    wanted = (domain, level)
    if table == _SWAPPED and wanted == ("medical", "image"):
        wanted = ("industrial", "pixel")
    elif table == _SWAPPED and wanted == ("industrial", "pixel"):
        wanted = ("medical", "image")
    values = paper_values(
        table=table,
        method=METHOD_TITLES[variant.method],
        dataset=dataset,
        category=category,
        level=wanted[1],
        metric=metric,
    )
    return _only(
        tuple(
            one
            for one in values
            if one.setting == variant.paper and wanted[0] in (None, one.domain)
        )
    )


def _only(values: tuple[PaperValue, ...]) -> float | None:
    return values[0].value if values else None
