"""The values printed in tables 1 to 26 of the HeadCLIP paper, to be put beside our own.

They are facts quoted for comparison, in percent with one decimal as printed, from "Domain
Adaptation of Attention Heads for Zero-shot Anomaly Detection".
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import pandas as pd

Level = Literal["image", "pixel"]

METRICS: dict[Level, tuple[str, ...]] = {
    "image": ("AUROC", "AP", "F1-max", "mAD"),
    "pixel": ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max", "mAD"),
}
"""In the order of the paper's columns."""

_NAMES = {"Endo": "EndoTect", "Br35h": "Br35H"}
"""What the paper calls a set otherwise than ``headclip_med.datasets`` does."""


def paper_values(
    *,
    table: int | None = None,
    method: str | None = None,
    dataset: str | None = None,
    category: str | None = None,
    level: Level | None = None,
    metric: str | None = None,
) -> pd.DataFrame:
    """Choose values; what is left out may be anything.

    Args:
        table: Number of the table.
        method: Name of the method.
        dataset: Name of the set, or ``Average``.
        category: Of the set, with spaces or underscores; ``""`` for the averages of whole sets.
        level: ``image`` or ``pixel``.
        metric: Name of the metric.

    Returns:
        The values that agree, a row for each in the order of the tables; none where there is no
        such value. Its columns:

        - ``table``: its number, 1 to 26;
        - ``domain``: ``industrial`` or ``medical``;
        - ``dataset``: as ``headclip_med.datasets`` names it, or ``Average`` of the domain;
        - ``category``: of the set, with spaces as printed (``metal nut``); ``""`` is the set's
          average;
        - ``method``: ``HeadCLIP``, ``AnoVL``, ``AnomalyCLIP`` or ``AdaCLIP``;
        - ``setting``: what was varied; ``""`` where nothing was;
        - ``level``: whether it is of images or of pixels;
        - ``metric``: ``AUROC``, ``AUPRO``, ``AP``, ``F1-max``, ``IoU-max`` or ``mAD``;
        - ``value``: in percent, as printed.
    """
    wanted = {
        "table": table,
        "method": method,
        "dataset": None if dataset is None else _NAMES.get(dataset, dataset),
        "category": None if category is None else category.replace("_", " "),
        "level": level,
        "metric": metric,
    }
    found = _all_values()
    for name, value in wanted.items():
        if value is not None:
            found = found[found[name] == value]
    return found


@cache
def _all_values() -> pd.DataFrame:
    with (files(__name__) / "tables.csv").open(encoding="utf-8") as file:
        # As text first: the parser's own way with numbers may miss the nearest one.
        found = pd.read_csv(file, dtype=str, keep_default_na=False)
    found = found.rename(columns={"subclass": "category"}).replace({"dataset": _NAMES})
    return found.astype({"table": int, "value": float})
