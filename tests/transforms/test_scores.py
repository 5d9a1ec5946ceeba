"""Local, joint and study scores, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from headclip_med.settings import ScreenSettings
from headclip_med.transforms import joint_score, local_score, pool_slices


def test_the_local_score_averages_the_top_percent() -> None:
    maps = np.zeros((2, 10, 10))
    maps[0, 3, 4], maps[0, 9, 9], maps[0, 0, 1], maps[0, 5, 5] = 0.9, 0.6, 0.3, 0.1
    maps[1] = 0.2
    np.testing.assert_allclose(local_score(maps, 3.0), [0.6, 0.2])


@pytest.mark.parametrize(
    ("top_percent", "counted"), [(0.3, 3), (0.29, 2), (29.0, 290), (100.0, 1000), (0.01, 1)]
)
def test_the_share_is_rounded_down_but_never_to_nothing(top_percent: float, counted: int) -> None:
    maps = np.arange(1000.0).reshape(1, 20, 50) / 1000
    expected = np.arange(1000 - counted, 1000).mean() / 1000
    assert local_score(maps, top_percent)[0] == pytest.approx(expected)


@tries(deadline=None, max_examples=50)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.floats(0.01, 100))
def test_the_local_score_lies_between_mean_and_maximum(
    slices: int, rows: int, columns: int, top_percent: float
) -> None:
    maps = np.random.default_rng(0).random((slices, rows, columns), dtype=np.float32)
    before = maps.copy()
    scores = local_score(maps, top_percent)
    assert (scores <= maps.max(axis=(1, 2)) + 1e-6).all()
    assert (scores >= maps.mean(axis=(1, 2)) - 1e-6).all()
    np.testing.assert_array_equal(maps, before)


def test_the_joint_score_weighs_the_global_one_by_r() -> None:
    joint = joint_score(np.array([0.8, 0.0]), np.array([0.4, 1.0]), 0.25)
    np.testing.assert_allclose(joint, [0.5, 0.75])


@pytest.mark.parametrize(
    ("pooling", "expected"), [("top-slices", 0.7), ("max", 0.9), ("mean", 0.45)]
)
def test_the_study_s_score_is_pooled_as_asked(pooling: str, expected: float) -> None:
    settings = ScreenSettings(pooling=pooling, pooled_slices=2)  # type: ignore[arg-type]
    assert pool_slices(np.array([0.3, 0.9, 0.1, 0.5]), settings) == pytest.approx(expected)


def test_a_short_study_averages_what_it_has() -> None:
    assert pool_slices(np.array([0.2, 0.4]), ScreenSettings(pooled_slices=5)) == pytest.approx(0.3)
