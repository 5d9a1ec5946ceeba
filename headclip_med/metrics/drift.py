"""Whether p-values still look like those of what was calibrated: exact tests by windows.

Nobody knows which studies of a worklist are normal, so p-values are not uniform. But a normal study
has p <= a (for a = alpha, and for a = 1/2) with a probability q that is known up to how the
calibration set was drawn: q follows Beta(k, n + 1 - k) with k = floor(a (n + 1)). Of m normal
studies, BetaBinomial(m, k, n + 1 - k) have it. An abnormal study has it more often than a normal
one; at most a share pi of studies is abnormal. So of a window of w studies, where nothing changed,

- no more than Binomial(w, pi) + BetaBinomial(the others, k, n + 1 - k) have p <= a, and
- no fewer than BetaBinomial(w, k', n + 1 - k'), whatever is abnormal,

where k' = k - 1 or, where normal scores have ties, as many as lie above the threshold. Both tails,
for both a, are held to a quarter of the false alarms that are allowed: by the union bound the share
of windows with a false alarm, on average over calibration sets, is at most what was allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

from headclip_med.metrics.conformal import NormalScores
from headclip_med.settings import DriftSettings

HALF = 0.5
"""The other level that is watched: it moves where the bulk of scores does."""

_ROUNDING = 0.1
"""Of p (n + 1), which is a whole number: p may have been kept with six decimals."""

_TAILS = 4
"""Too many and too few, of two levels."""

AlarmCode = Literal["many-flagged", "few-flagged", "many-low", "few-low"]
"""More, or fewer, studies than can be by chance have p <= alpha, or p <= 1/2."""


@dataclass(frozen=True)
class Alarm:
    """A window whose p-values do not look like those of what was calibrated.

    Attributes:
        code: In what.
        window: Which one, from 0.
        count: Studies of it with p <= alpha, or p <= 1/2.
        limit: The last count that would have been no alarm.
    """

    code: AlarmCode
    window: int
    count: int
    limit: int


@dataclass(frozen=True)
class Drift:
    """What p-values of one stratum show, in the order in which they came.

    Attributes:
        seen: How many there are.
        windows: How many windows are complete.
        flagged: Of the last ``recent``, the share with p <= alpha; None where there is none.
        high: Of these, the share with p > 1/2.
        recent: How many these are: a window's, or all while there are fewer.
        alarms: Of all windows, in order.
    """

    seen: int
    windows: int
    flagged: float | None
    high: float | None
    recent: int
    alarms: tuple[Alarm, ...] = ()

    @property
    def is_stale(self) -> bool:
        """Whether the calibration must not be used until someone has looked."""
        return bool(self.alarms)

    def sentence(self) -> str:
        """Say it in words."""
        if self.flagged is None or self.high is None:
            return "No study of this kind was judged so far."
        shares = (
            f"Of the last {self.recent} studies {100 * self.flagged:.1f} % are flagged, and "
            f"{100 * self.high:.1f} % have p above 0.5."
        )
        if not self.alarms:
            return shares
        first = self.alarms[0]
        return (
            f"{shares} The calibration is stale: in window {first.window + 1}, "
            f"{_WORDS[first.code]} ({first.count}; {first.limit} would not have been). Look for "
            "what changed, and calibrate again."
        )


_WORDS: dict[AlarmCode, str] = {
    "many-flagged": "more studies were flagged than can be by chance",
    "few-flagged": "fewer studies were flagged than can be by chance",
    "many-low": "more studies had p of 0.5 or less than can be by chance",
    "few-low": "fewer studies had p of 0.5 or less than can be by chance",
}


def watch(
    p_values: Sequence[float] | Float[np.ndarray, "studies"],
    normal: NormalScores,
    alpha: float,
    settings: DriftSettings | None = None,
) -> Drift:
    """Watch p-values of one stratum and one calibration.

    Args:
        p_values: One of each study, the least of its series, in the order in which they came.
        normal: What gave them.
        alpha: What is flagged.
        settings: Of the windows; each study counts in one.

    Raises:
        InvalidSettings: There are too few normal studies to state alpha, or 1/2.
        ValueError: A p-value is none that these normal studies can give.
    """
    settings = settings or DriftSettings()
    exact = np.asarray(p_values, dtype=float) * (len(normal) + 1)
    ranks = np.rint(exact)
    if not (np.abs(exact - ranks) < _ROUNDING).all() or (ranks < 1).any():
        raise ValueError("p-values must be those of these normal studies")
    windows = len(ranks) // settings.window
    alarms: list[Alarm] = []
    shares = []
    levels: tuple[tuple[float, AlarmCode, AlarmCode], ...] = (
        (alpha, "many-flagged", "few-flagged"),
        (HALF, "many-low", "few-low"),
    )
    for level, many, few in levels:
        is_low = ranks <= normal.flagged_ranks(level)
        shares.append(float(is_low[-settings.window :].mean()) if len(ranks) else None)
        counts = is_low[: windows * settings.window].reshape(windows, settings.window).sum(axis=1)
        least, most = limits(normal, level, settings)
        alarms += [Alarm(many, i, int(one), most) for i, one in enumerate(counts) if one > most]
        alarms += [Alarm(few, i, int(one), least) for i, one in enumerate(counts) if one < least]
    flagged, low = shares
    return Drift(
        seen=len(ranks),
        windows=windows,
        flagged=flagged,
        high=None if low is None else 1 - low,
        recent=min(len(ranks), settings.window),
        alarms=tuple(sorted(alarms, key=lambda one: one.window)),
    )


def limits(normal: NormalScores, level: float, settings: DriftSettings) -> tuple[int, int]:
    """Give the least and the most studies of a window that may have p <= level.

    Args:
        normal: What gives the p-values.
        level: In (0, 1).
        settings: Of the window.
    """
    tail = settings.false_alarms / _TAILS
    return (
        _least(len(normal), normal.above_threshold(level), settings.window, tail),
        _most(
            len(normal), normal.flagged_ranks(level), settings.window, settings.abnormal, tail
        ),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _most(studies: int, ranks: int, window: int, abnormal: float, tail: float) -> int:
    """Find the least m for which more than m of a window have a probability of at most ``tail``."""
    from scipy.stats import betabinom, binom  # it takes a second

    chance = np.zeros(window + 1)
    for number, weight in enumerate(binom.pmf(np.arange(window + 1), window, abnormal)):
        if weight:
            rest = window - number
            counts = betabinom.pmf(np.arange(rest + 1), rest, ranks, studies + 1 - ranks)
            chance[number:] += weight * counts
    beyond = np.append(np.cumsum(chance[::-1])[::-1][1:], 0.0)
    return int(np.argmax(beyond <= tail))


@lru_cache(maxsize=256)
def _least(studies: int, ranks: int, window: int, tail: float) -> int:
    """Find the most m for which fewer than m of a window have a probability of at most ``tail``."""
    from scipy.stats import betabinom  # it takes a second

    if not ranks:
        return 0
    below = np.cumsum(betabinom.pmf(np.arange(window + 1), window, ranks, studies + 1 - ranks))
    return int((below <= tail).sum())
