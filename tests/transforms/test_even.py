"""A stack of any kind on an orthogonal, even grid: every value stays where it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float

from headclip_med.geometry import Grid
from headclip_med.transforms.even import MOST_SLICES, even_grid, is_too_large, resample_evenly

ROWS, COLUMNS = 14, 11


def stack(
    step_mm: tuple[float, float, float],
    *,
    numbers: tuple[float, ...] = (0, 1, 2, 3, 4, 5),
    turn: Float[np.ndarray, "3 3"] | None = None,
    row_mm: tuple[float, float, float] = (0, 0.9, 0),
) -> Grid:
    turn = np.eye(3) if turn is None else turn
    origins = np.array([-31.25, 12.5, 101.75]) + np.outer(numbers, turn @ np.array(step_mm))
    return Grid(origins, turn @ np.array(row_mm), turn @ np.array([0.7, 0, 0]), ROWS, COLUMNS)


def turned(angles: tuple[float, float, float]) -> Float[np.ndarray, "3 3"]:
    turn = np.eye(3)
    for (first, second), angle in zip(((0, 1), (1, 2), (0, 2)), angles, strict=True):
        rotation = np.eye(3)
        rotation[[first, second], [first, second]] = np.cos(angle)
        rotation[first, second], rotation[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ rotation
    return turn


def places(grid: Grid) -> Float[np.ndarray, "points 3"]:
    return grid.to_lps_mm(np.argwhere(np.ones(grid.shape)).astype(float))


def resampled(values: np.ndarray, grid: Grid, target: Grid) -> np.ndarray:
    return np.stack(list(resample_evenly(values.astype(np.float32), grid, target)))


def errors(grid: Grid, target: Grid) -> Float[np.ndarray, "points"]:
    """How far from its place each coordinate of the patient comes out, inside the stack, in mm."""
    inner = np.zeros(grid.shape)
    inner[:, 1:-1, 1:-1] = 1
    inside = resampled(inner, grid, target) > 0.9999
    assert inside.any()
    found = [resampled(places(grid)[:, i].reshape(grid.shape), grid, target) for i in range(3)]
    off = np.stack(found, axis=-1).reshape(-1, 3) - places(target)
    return np.abs(off[inside.ravel()]).max(axis=1)


EVEN = {
    "axial": stack((0, 0, 3.0)),
    "reversed": stack((0, 0, -3.0)),
    "oblique": stack((0, 0, 3.0), turn=turned((0.4, -0.3, 0.2))),
    "one slice": stack((0, 0, 3.0), numbers=(0,)),
    "a hundredth of a millimetre off": stack((0, 0, 3.0), numbers=(0, 1, 2.003, 3, 4, 5)),
}
UNEVEN = {
    "tilted": stack((0, 1.2, 3.0)),
    "tilted and reversed": stack((0, -1.2, -3.0)),
    "gapped": stack((0, 0, 3.0), numbers=(0, 1, 2, 4, 5, 6)),
    "tilted and gapped": stack((0.3, 1.2, 3.0), numbers=(0, 1, 2, 4, 5, 6)),
    "uneven": stack((0, 0, 1.0), numbers=(0, 1, 2, 6, 10, 14)),
    "leaning rows": stack((0, 0, 3.0), row_mm=(0.2, 0.9, 0)),
    "oblique and tilted": stack((0, 1.2, 3.0), turn=turned((0.4, -0.3, 0.2))),
}


@pytest.mark.parametrize("name", EVEN)
def test_what_is_orthogonal_and_even_needs_no_other_grid(name: str) -> None:
    assert even_grid(EVEN[name]) is None


def test_the_grid_around_a_tilted_stack_is_the_one_worked_out_by_hand() -> None:
    target = even_grid(UNEVEN["tilted"])
    assert target is not None
    # Six slices that climb by 1.2 mm each need 5 x 1.2 / 0.9 = 6.67, so 7 rows more.
    assert target.shape == (6, ROWS + 7, COLUMNS)
    np.testing.assert_allclose(target.origins_lps_mm[0], [-31.25, 12.5, 101.75])
    np.testing.assert_allclose(target.origins_lps_mm[5], [-31.25, 12.5, 116.75])


def test_the_grid_of_a_gapped_stack_has_the_slice_that_is_missing() -> None:
    target = even_grid(UNEVEN["gapped"])
    assert target is not None
    assert target.shape == (7, ROWS, COLUMNS)
    values = np.zeros(UNEVEN["gapped"].shape)
    values[2], values[3] = 0.2, 0.6  # at 6 and at 12 mm
    found = resampled(values, UNEVEN["gapped"], target)
    np.testing.assert_allclose(found[:, 3, 4], [0, 0, 0.2, 0.4, 0.6, 0, 0], atol=1e-6)


@pytest.mark.parametrize("name", UNEVEN)
def test_every_value_stays_at_its_place_in_the_patient(name: str) -> None:
    target = even_grid(UNEVEN[name])
    assert target is not None
    assert even_grid(target) is None, "it is one that needs no other"
    assert errors(UNEVEN[name], target).max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    st.lists(st.sampled_from([0.6, 1.0, 1.01, 2.0, 5.0]), min_size=1, max_size=7),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
)
def test_any_leaning_stack_keeps_its_place(
    angles: tuple[float, float, float], gaps: list[float], lean: tuple[float, float]
) -> None:
    numbers = tuple(np.cumsum([0.0, *gaps]).tolist())
    grid = stack((*lean, 3.0), numbers=numbers, turn=turned(angles))
    target = even_grid(grid)
    if target is not None and not is_too_large(target, grid):
        assert target.shape[0] <= MOST_SLICES * grid.shape[0] + 1
        assert errors(grid, target).max() < 1e-3


def test_a_stack_on_its_side_would_fill_a_room_with_nothing() -> None:
    grid = stack((0, 400.0, 3.0))
    target = even_grid(grid)
    assert target is not None
    assert is_too_large(target, grid)
