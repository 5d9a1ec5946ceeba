"""The paper's tables as forms: which sets, levels, metrics and averages each of them has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import pandas as pd

from headclip_med.models.registry import METHODS
from headclip_med.paper import METRICS, Level, paper_values
from headclip_med.pipelines.experiments.definitions import Variant

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
        categories: Of its set, in order, where it is about one.
        metrics: By level, images before pixels.
    """

    number: int
    kind: Kind
    domain: str
    datasets: tuple[str, ...]
    categories: tuple[str, ...]
    metrics: dict[Level, tuple[str, ...]]


@cache
def form_of(number: int) -> Form:
    """Read the form of a table off its values."""
    values = paper_values(table=number)
    datasets = tuple(one for one in values["dataset"].unique() if one != AVERAGE)
    categories = tuple(filter(None, values["category"].unique()))
    domains = values["domain"].unique()
    metrics = {
        level: tuple(values.loc[values["level"] == level, "metric"].unique()) for level in METRICS
    }
    return Form(
        number,
        "categories" if categories else "sets" if datasets else "averages",
        domains[0] if len(domains) == 1 else "",
        datasets,
        categories,
        {level: found for level, found in metrics.items() if found},
    )


def averaged_sets(domain: str, level: Level) -> tuple[str, ...]:
    """Name the sets that the paper averages over."""
    return form_of(_SETS_OF[domain, level]).datasets


def printed(table: int, variants: Iterable[Variant]) -> pd.DataFrame:
    """Give what a table has for variants.

    Table 7's header names its four columns image-industrial, pixel-industrial, image-medical and
    pixel-medical, but its second and third numbers are of the size of image-medical (85.8 in table
    6) and pixel-industrial (60.5 in table 4) and of no other; they are read so.

    Returns:
        ``paper``, in percent, by ``variant``, ``domain``, ``dataset``, ``category``, ``level`` and
        ``metric``.
    """
    values = paper_values(table=table).rename(columns={"value": "paper"})
    if table == _SWAPPED:
        is_medical, is_image = values["domain"] == "medical", values["level"] == "image"
        swapped = values.assign(
            domain=is_image.map({True: "industrial", False: "medical"}),
            level=is_medical.map({True: "pixel", False: "image"}),
        )
        values = values.where(is_medical != is_image, swapped)
    rows = [(one.name, METHODS[one.method].title, one.paper) for one in variants if one.is_printed]
    named = pd.DataFrame(rows, columns=["variant", "method", "setting"])
    return named.merge(values)
