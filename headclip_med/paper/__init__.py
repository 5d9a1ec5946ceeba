"""The values printed in tables 1 to 26 of the HeadCLIP paper, to be put beside our own.

They are facts quoted for comparison, in percent with one decimal as printed, from "Domain
Adaptation of Attention Heads for Zero-shot Anomaly Detection".
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast

Level = Literal["image", "pixel"]

_NAMES = {"Endo": "EndoTect", "Br35h": "Br35H"}
"""What the paper calls a set otherwise than ``headclip_med.datasets`` does."""


@dataclass(frozen=True)
class PaperValue:
    """One number of one table.

    Attributes:
        table: Its number, 1 to 26.
        domain: ``industrial`` or ``medical``.
        dataset: Name of the set as in ``headclip_med.datasets``, or ``Average`` of the domain.
        category: Of the set, with spaces as printed (``metal nut``); ``""`` is the set's average.
        method: ``HeadCLIP``, ``AnoVL``, ``AnomalyCLIP`` or ``AdaCLIP``.
        setting: What was varied; ``""`` where nothing was.
        level: Whether images or pixels were judged.
        metric: ``AUROC``, ``AUPRO``, ``AP``, ``F1-max``, ``IoU-max`` or ``mAD``.
        value: In percent, as printed.
    """

    table: int
    domain: Literal["industrial", "medical"]
    dataset: str
    category: str
    method: str
    setting: str
    level: Level
    metric: str
    value: float


@cache
def all_paper_values() -> tuple[PaperValue, ...]:
    """Read all values, in the order of the tables' rows."""
    text = (files(__name__) / "tables.csv").read_text(encoding="utf-8")
    return tuple(_value(row) for row in csv.DictReader(text.splitlines()))


def paper_values(
    *,
    table: int | None = None,
    method: str | None = None,
    dataset: str | None = None,
    category: str | None = None,
    level: Level | None = None,
    metric: str | None = None,
) -> tuple[PaperValue, ...]:
    """Choose values; what is left out may be anything.

    Args:
        table: Number of the table.
        method: Name of the method.
        dataset: Name of the set, or ``Average``.
        category: Of the set, with spaces or underscores; ``""`` for the averages of whole sets.
        level: ``image`` or ``pixel``.
        metric: Name of the metric.

    Returns:
        The values that agree, in the order of the tables; none where there is no such value.
    """
    wanted = {
        "table": table,
        "method": method,
        "dataset": None if dataset is None else _NAMES.get(dataset, dataset),
        "category": None if category is None else category.replace("_", " "),
        "level": level,
        "metric": metric,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return tuple(
        one
        for one in all_paper_values()
        if all(getattr(one, name) == value for name, value in given.items())
    )


def _value(row: dict[str, str]) -> PaperValue:
    return PaperValue(
        table=int(row["table"]),
        domain=cast(Literal["industrial", "medical"], row["domain"]),
        dataset=_NAMES.get(row["dataset"], row["dataset"]),
        category=row["subclass"],
        method=row["method"],
        setting=row["setting"],
        level=cast(Level, row["level"]),
        metric=row["metric"],
        value=float(row["value"]),
    )
