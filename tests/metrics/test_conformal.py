"""p-values by hand, by brute force, and by simulation; where pooling unlike strata fails."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from headclip_med.errors import InvalidSettings
from headclip_med.metrics.conformal import NormalScores, needed_studies


def normal(*scores: float) -> NormalScores:
    return NormalScores(np.array(scores, dtype=float))


def test_a_p_value_by_hand() -> None:
    known = normal(0.1, 0.2, 0.3, 0.4)

    assert known.p_value(0.5) == 1 / 5
    assert known.p_value(0.4) == 2 / 5  # a tie counts as higher
    assert known.p_value(0.35) == 2 / 5
    assert known.p_value(0.0) == 1


def test_five_percent_can_be_stated_from_nineteen_studies_on() -> None:
    assert needed_studies(0.05) == 19
    assert needed_studies(0.01) == 99
    assert needed_studies(0.3) == 3

    nineteen = normal(*np.linspace(0, 1, 19))
    assert nineteen.threshold(0.05) == 1.0
    assert nineteen.flags(1.01, 0.05)
    assert not nineteen.flags(1.0, 0.05)
    with pytest.raises(InvalidSettings) as raised:
        normal(*np.linspace(0, 1, 18)).threshold(0.05)
    assert raised.value.code == "too-few-studies"


@pytest.mark.parametrize(
    ("studies", "low", "high"),
    [(100, 0.016, 0.099), (200, 0.024, 0.084), (500, 0.033, 0.071), (1000, 0.037, 0.064)],
)
def test_the_true_rate_of_five_percent(studies: int, low: float, high: float) -> None:
    found = normal(*np.linspace(0, 1, studies)).true_rate(0.05)

    assert found == pytest.approx((low, high), abs=6e-4)


def test_where_normal_scores_are_tied_the_lower_end_is_that_of_those_above() -> None:
    """By hand: 20 a tie at the threshold, of which none is flagged; two above."""
    tied = normal(*[0.5] * 20, 0.8, 0.9)

    assert (tied.threshold(0.3), tied.above_threshold(0.3)) == (0.5, 2)
    assert not tied.flags(0.5, 0.3)
    low, high = tied.true_rate(0.3)
    assert low == pytest.approx(float(beta.ppf(0.025, 2, 21)))
    assert high == pytest.approx(float(beta.ppf(0.975, 6, 17)))
    assert normal(*[0.5] * 22).true_rate(0.3)[0] == 0


scores = st.lists(st.integers(0, 12), min_size=1, max_size=60)


@given(scores, st.integers(-1, 13), st.fractions(Fraction(1, 60), Fraction(59, 60)))
def test_flagging_is_the_same_as_counting(known: list[int], score: int, alpha: Fraction) -> None:
    """Brute force, in fractions: also where alpha (n + 1) is a whole number."""
    given_scores = normal(*known)
    p_value = Fraction(1 + sum(one >= score for one in known), len(known) + 1)

    assert given_scores.p_value(float(score)) == pytest.approx(float(p_value))
    if len(known) < math.ceil(1 / alpha - 1):
        with pytest.raises(InvalidSettings):
            given_scores.flags(float(score), float(alpha))
    else:
        assert given_scores.flags(float(score), float(alpha)) == (p_value <= alpha)


def test_the_share_of_flagged_normal_studies_is_what_was_stated() -> None:
    """Simulated, within four standard errors; over calibration sets it spreads as the beta says."""
    draw = np.random.default_rng(5)
    rates = []
    for _ in range(400):
        known, new = NormalScores(draw.gamma(2, size=199)), draw.gamma(2, size=2_000)
        rates.append(float((new > known.threshold(0.05)).mean()))

    mean, spread = float(np.mean(rates)), float(np.std(rates))
    assert mean == pytest.approx(0.05, abs=4 * spread / 20)
    low, high = NormalScores(draw.gamma(2, size=199)).true_rate(0.05)
    inside = np.mean([low - 0.005 <= rate <= high + 0.005 for rate in rates])
    assert inside > 0.92


def test_pooling_two_unlike_strata_flags_one_too_often_and_the_other_hardly_ever() -> None:
    draw = np.random.default_rng(6)
    means = (0.0, 1.5)
    new = [draw.normal(mean, 1, 5_000) for mean in means]
    own, pooled = [], []
    for _ in range(50):
        known = [draw.normal(mean, 1, 500) for mean in means]
        thresholds = [NormalScores(one).threshold(0.05) for one in known]
        own.append([(n > t).mean() for n, t in zip(new, thresholds, strict=True)])
        threshold = NormalScores(np.concatenate(known)).threshold(0.05)
        pooled.append([(n > threshold).mean() for n in new])

    assert np.mean(own, axis=0) == pytest.approx([0.05, 0.05], abs=0.006)
    assert np.mean(pooled, axis=0)[0] < 0.006
    assert np.mean(pooled, axis=0)[1] > 0.085


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_what_is_no_rate_is_refused(alpha: float) -> None:
    with pytest.raises(InvalidSettings, match="between 0 and 1"):
        normal(0.1).threshold(alpha)


@pytest.mark.parametrize("known", [[], [0.1, math.nan], [math.inf]])
def test_scores_must_be_finite(known: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        normal(*known)
    with pytest.raises(ValueError, match="finite"):
        normal(0.1).p_value(math.nan)
