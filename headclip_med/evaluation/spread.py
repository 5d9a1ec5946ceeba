"""How far a number moves with the seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

DDOF_NOTE = "±: standard deviation over seeds, with n - 1 below (ddof 1)."


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Average a number over seeds, and say how far it spreads: sqrt(sum (x - mean)^2 / (n - 1)).

    Args:
        values: Of each seed; the mean is NaN where one is.

    Returns:
        The mean and the standard deviation; None for the latter where there are not two, where one
        is undefined, or where all are equal, so that nothing was drawn.
    """
    if not all(map(math.isfinite, values)):
        return math.nan, None
    if len(set(values)) == 1:
        return values[0], None
    return statistics.fmean(values), statistics.stdev(values)
