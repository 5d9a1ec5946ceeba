"""Watched p-values: limits by hand and by brute force, false alarms and detection by simulation."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.special import beta as beta_function

from headclip_med.metrics.conformal import NormalScores
from headclip_med.metrics.drift import Drift, limits, watch
from headclip_med.settings import DriftSettings

STRICT = DriftSettings(window=50, abnormal=0.0, false_alarms=0.02)


def normal(count: int) -> NormalScores:
    return NormalScores(np.arange(count, dtype=float))


def beta_binomial(count: int, studies: int, a: int, b: int) -> float:
    ways = comb(studies, count)
    return float(ways * beta_function(count + a, studies - count + b) / beta_function(a, b))


def brute_most(n: int, k: int, settings: DriftSettings) -> int:
    """Sum over how many of the window are abnormal, all of them with a low p-value."""
    window, share = settings.window, settings.abnormal
    chance = np.zeros(window + 1)
    for ill in range(window + 1):
        weight = comb(window, ill) * share**ill * (1 - share) ** (window - ill)
        for low in range(window - ill + 1):
            chance[ill + low] += weight * beta_binomial(low, window - ill, k, n + 1 - k)
    beyond = [chance[most + 1 :].sum() for most in range(window + 1)]
    return next(m for m, one in enumerate(beyond) if one <= settings.false_alarms / 4)


@pytest.mark.parametrize("abnormal", [0.0, 0.3])
@pytest.mark.parametrize("level", [0.05, 0.5])
def test_limits_are_those_of_brute_force(level: float, abnormal: float) -> None:
    settings = DriftSettings(window=20, abnormal=abnormal, false_alarms=0.04)
    n = 39
    k = {0.05: 2, 0.5: 20}[level]
    below = np.cumsum([beta_binomial(i, 20, k - 1, n + 2 - k) for i in range(21)])

    assert limits(normal(n), level, settings) == (
        int((below <= 0.01).sum()),
        brute_most(n, k, settings),
    )


def test_one_normal_study_more_or_less_decides() -> None:
    """By hand: as many as the limit say nothing, one more is an alarm, whatever stands between."""
    known = normal(199)
    _, most = limits(known, 0.05, STRICT)
    low, high = 1 / 200, 101 / 200
    quiet = [low] * most + [0.5, high] * ((STRICT.window - most) // 2)
    quiet += [high] * (STRICT.window - len(quiet))

    assert not watch(quiet, known, 0.05, STRICT).is_stale
    found = watch([*quiet[:-1], low], known, 0.05, STRICT)
    (alarm,) = found.alarms
    assert (alarm.code, alarm.window) == ("many-flagged", 0)
    assert (alarm.count, alarm.limit) == (most + 1, most)
    assert found.is_stale
    assert "more studies were flagged" in found.sentence()


def test_a_window_that_is_not_complete_raises_no_alarm() -> None:
    known = normal(199)
    found = watch([1 / 200] * (STRICT.window - 1), known, 0.05, STRICT)

    assert (found.alarms, found.windows, found.seen) == ((), 0, STRICT.window - 1)
    assert (found.flagged, found.high) == (1.0, 0.0)
    assert watch([], known, 0.05, STRICT) == Drift(0, 0, None, None, 0)
    assert "No study" in watch([], known, 0.05, STRICT).sentence()


@pytest.mark.parametrize("wrong", [0.0, 0.3333, np.nan, -0.005])
def test_p_values_of_something_else_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="these normal studies"):
        watch([0.5, wrong], normal(199), 0.05)


def test_an_alarm_stays_when_later_windows_are_quiet() -> None:
    known, draw = normal(199), np.random.default_rng(0)
    later = draw.integers(1, 201, size=5 * STRICT.window) / 200

    found = watch([*[1 / 200] * STRICT.window, *later], known, 0.05, STRICT)
    assert found.is_stale
    assert found.alarms[0].window == 0


def p_values(known: NormalScores, scores: np.ndarray) -> list[float]:
    return [known.p_value(float(one)) for one in scores]


def alarms(settings: DriftSettings, *, sets: int = 300, **how: float) -> float:
    """The share of windows that raise an alarm, over many calibration sets."""
    draw, found, windows = np.random.default_rng(11), 0, 0
    digits = int(how.get("digits", 9))
    for _ in range(sets):
        known = NormalScores(np.round(draw.normal(size=int(how.get("known", 150))), digits))
        new = draw.normal(size=5 * settings.window) + how.get("shift", 0.0)
        ill = draw.random(len(new)) < how.get("ill", 0.0)
        scores = np.round(np.where(ill, new + 3, new), digits)
        seen = watch(p_values(known, scores), known, 0.05, settings)
        found += len({one.window for one in seen.alarms})
        windows += seen.windows
    return found / windows


@pytest.mark.parametrize(
    ("ill", "abnormal", "digits"), [(0.0, 0.0, 9), (0.2, 0.2, 9), (0.4, 0.5, 9), (0.0, 0.0, 0)]
)
def test_false_alarms_stay_below_what_was_allowed(ill: float, abnormal: float, digits: int) -> None:
    """Also with disease up to the share that is ordinary, and where most scores are tied."""
    settings = DriftSettings(window=50, abnormal=abnormal, false_alarms=0.04)
    assert alarms(settings, ill=ill, digits=digits) <= 0.04 + 4 * np.sqrt(0.04 / 1_500)


@pytest.mark.parametrize(
    ("shift", "ill", "least"),
    [(1.0, 0.0, 0.9), (1.5, 0.0, 0.9), (-1.5, 0.0, 0.9), (-1.5, 0.2, 0.5)],
)
def test_scores_that_moved_are_found_in_either_direction(
    shift: float, ill: float, least: float
) -> None:
    """A scanner whose images score higher by 1.5 standard deviations, or lower."""
    settings = DriftSettings(window=100, abnormal=0.2)
    assert alarms(settings, shift=shift, ill=ill, sets=60, known=500) > least


def test_disease_beyond_what_is_ordinary_is_an_alarm() -> None:
    settings = DriftSettings(window=100, abnormal=0.1)
    assert alarms(settings, ill=0.6, sets=30) > 0.9
