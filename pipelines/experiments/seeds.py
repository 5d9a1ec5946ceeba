"""The same tables of several seeds, made one: means, and standard deviations over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from headclip_med.evaluation.spread import DDOF_NOTE, mean_and_deviation
from headclip_med.write.tables import Line, Number, Table

FIXED = "What has no ± came out the same with every seed: nothing of it is drawn."


def over_seeds(tables: Sequence[Sequence[Table]]) -> tuple[Table, ...]:
    """Average tables of the same rows over seeds.

    Args:
        tables: Of each seed; one alone is given back as it is, without any deviation.

    Returns:
        The tables of the first seed with means in place of its numbers. A row that any seed could
        not fill says why; what any seed leaves undefined is undefined.
    """
    first, *others = tables
    if not others:
        return tuple(first)
    found = []
    for table in first:
        same = [table, *(one for each in others for one in each if one.key == table.key)]
        rows = [{line.heads: line for line in one.lines} for one in same]
        lines = [
            _merged([one.get(line.heads) for one in rows] if len(same) == len(tables) else [None])
            or replace(line, numbers=(), reason="not there with every seed")
            for line in table.lines
        ]
        found.append(replace(table, lines=tuple(lines), notes=(*table.notes, DDOF_NOTE, FIXED)))
    return tuple(found)


def _merged(lines: Sequence[Line | None]) -> Line | None:
    """Average one row over seeds; None where a seed has no such row."""
    known = [line for line in lines if line is not None]
    if len(known) < len(lines):
        return None
    for line in known:
        if line.reason:
            return line
    columns = zip(*(line.numbers for line in known), strict=True)
    return replace(known[0], numbers=tuple(_mean(column) for column in columns))


def _mean(numbers: Iterable[Number | None]) -> Number | None:
    every = list(numbers)
    known = [one for one in every if one is not None]
    if len(known) < len(every):
        return None
    ours, deviation = mean_and_deviation([one.ours for one in known])
    exacts = [math.nan if one.exact is None else one.exact for one in known]
    exact, exact_deviation = mean_and_deviation(exacts)
    return replace(
        known[0],
        ours=ours,
        exact=None if known[0].exact is None else exact,
        deviation=deviation,
        exact_deviation=None if known[0].exact is None else exact_deviation,
    )
