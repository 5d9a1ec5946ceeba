"""Lesion candidates: which voxels belong together, and how large and where they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from scipy import ndimage

from headclip_med.geometry import Grid
from headclip_med.transforms import find_lesions
from headclip_med.volume import Heatmap

ACROSS = np.array([0.8, 0.0, 0.0])
TILTED_DOWN = np.array([0.0, 0.4, 0.3])  # 0.5 mm; normal (0, -0.6, 0.8)


def axial(positions_mm: list[float], rows: int = 6, columns: int = 7) -> Grid:
    origins = np.zeros((len(positions_mm), 3))
    origins[:, 2] = positions_mm
    return Grid(origins, np.array([0.0, 0.5, 0]), ACROSS, rows, columns)


def heat(grid: Grid, spots: dict[tuple[int, int, int], float]) -> Heatmap:
    values = np.zeros(grid.shape, dtype=np.float32)
    for index, value in spots.items():
        values[index] = value
    return Heatmap(values, grid)


def test_a_lesion_is_measured_in_millimetres() -> None:
    grid = axial([10.0, 13.0, 16.0])
    found = heat(grid, {(1, 2, 3): 0.7, (1, 2, 4): 0.9, (2, 2, 4): 0.6, (0, 5, 0): 0.4})
    labels, lesions = find_lesions(found, 0.5, 0.0)
    (lesion,) = lesions
    assert lesion.size == pytest.approx(3 * 0.8 * 0.5 * 3)
    assert lesion.centre == pytest.approx((0.8 * 11 / 3, 1.0, 14.0))
    assert lesion.max_score == pytest.approx(0.9)
    assert lesion.slices == (1, 2)
    assert labels.dtype == np.int32
    assert np.argwhere(labels == 1).tolist() == [[1, 2, 3], [1, 2, 4], [2, 2, 4]]
    assert np.count_nonzero(labels) == 3


def test_a_value_equal_to_the_threshold_counts() -> None:
    assert len(find_lesions(heat(axial([0.0]), {(0, 1, 1): 0.5}), 0.5, 0.0)[1]) == 1
    assert find_lesions(heat(axial([0.0]), {(0, 1, 1): 0.4}), 0.5, 0.0)[1] == ()


def test_voxels_that_touch_at_a_corner_belong_together() -> None:
    spots = {(0, 1, 1): 0.9, (1, 2, 2): 0.9, (1, 3, 3): 0.9, (2, 5, 5): 0.9}
    labels, lesions = find_lesions(heat(axial([0.0, 1, 2]), spots), 0.5, 0.0)
    assert len(lesions) == 2
    assert labels[0, 1, 1] == labels[1, 2, 2] == labels[1, 3, 3] != labels[2, 5, 5]


def test_two_parts_are_one_lesion_if_they_meet_in_another_slice() -> None:
    bridge = {(1, 2, column): 0.8 for column in range(1, 6)}
    spots = {(0, 2, 1): 0.9, (0, 2, 5): 0.7, **bridge}
    labels, (lesion,) = find_lesions(heat(axial([0.0, 1.0]), spots), 0.5, 0.0)
    assert labels[0, 2, 1] == labels[0, 2, 5] == lesion.id == 1
    assert lesion.size == pytest.approx(7 * 0.4)


def test_lesions_are_numbered_by_score_then_by_volume_and_small_ones_dropped() -> None:
    spots = {
        (0, 0, 0): 0.6,
        (0, 0, 2): 0.8,
        (0, 2, 0): 0.8,
        (0, 2, 1): 0.7,
        (0, 5, 5): 0.9,
        (0, 5, 6): 0.9,
    }
    labels, lesions = find_lesions(heat(axial([0.0]), spots), 0.5, 0.0)
    assert [lesion.id for lesion in lesions] == [1, 2, 3, 4]
    assert [labels[0, 5, 5], labels[0, 2, 0], labels[0, 0, 2], labels[0, 0, 0]] == [1, 2, 3, 4]
    # A voxel of a single slice counts as 1 mm thick: 0.4 mm3.
    labels, lesions = find_lesions(heat(axial([0.0]), spots), 0.5, 0.7)
    assert [lesion.size for lesion in lesions] == pytest.approx([0.8, 0.8])
    assert labels[0, 0, 2] == labels[0, 0, 0] == 0
    assert sorted(np.unique(labels)) == [0, 1, 2]


def test_a_lesion_is_not_joined_across_a_missing_slice() -> None:
    spots = {(number, 3, 3): 0.9 for number in range(5)}
    _, lesions = find_lesions(heat(axial([0.0, 5, 15, 20, 25]), spots), 0.5, 0.0)
    assert sorted(lesion.slices for lesion in lesions) == [(0, 1), (2, 4)]


def test_a_stack_that_is_thin_at_the_base_and_thick_above_does_not_fall_apart() -> None:
    positions = [0.0, 1, 2, 3, 4, 5, 9, 13, 17]
    spots = {(number, 3, 3): 0.9 for number in range(len(positions))}
    _, (lesion,) = find_lesions(heat(axial(positions), spots), 0.5, 0.0)
    # Half way to each neighbour: 1 x 5, (1 + 4) / 2, 4 x 3 mm.
    assert lesion.size == pytest.approx(0.4 * (5 + 2.5 + 12))
    assert lesion.slices == (0, 8)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_reversed_stack_gives_the_same_lesion(reverse: bool) -> None:
    positions = [0.0, 3, 6, 12]
    spots = {(1, 2, 3): 0.9, (2, 2, 3): 0.7}
    if reverse:
        positions = positions[::-1]
        spots = {(3 - number, row, column): v for (number, row, column), v in spots.items()}
    _, (lesion,) = find_lesions(heat(axial(positions), spots), 0.5, 0.0)
    # The third slice stands for (3 + 6) / 2 mm, so it weighs more.
    assert lesion.size == pytest.approx(0.4 * (3 + 4.5))
    assert lesion.centre == pytest.approx((2.4, 1.0, (3 * 3 + 4.5 * 6) / 7.5))


def test_in_a_tilted_stack_the_neighbour_is_straight_across() -> None:
    # 5 mm up the patient is 4 mm along the normal and 3 mm, that is 6 rows, back along the slice.
    origins = np.array([[0.0, 0, 0], [0, 0, 5], [0, 0, 10]])
    grid = Grid(origins, TILTED_DOWN, ACROSS, 10, 6)
    spots = {(0, 8, 2): 0.6, (0, 8, 3): 0.7, (1, 2, 3): 0.8, (1, 8, 3): 0.9}
    labels, (other, lesion) = find_lesions(heat(grid, spots), 0.5, 0.0)
    assert other.size == pytest.approx(1.6)
    assert labels[0, 8, 2] == labels[0, 8, 3] == labels[1, 2, 3] == lesion.id == 2
    assert lesion.size == pytest.approx(3 * 0.8 * 0.5 * 4)
    assert lesion.centre == pytest.approx((6.4 / 3, 2.4, 10.4 / 3))


def test_photographs_in_one_file_are_not_a_volume() -> None:
    grid = Grid.of_pixels(slices=3, rows=4, columns=5)
    spots = {(0, 1, 1): 0.9, (0, 1, 2): 0.9, (1, 1, 1): 0.8, (2, 1, 1): 0.7}
    _, lesions = find_lesions(heat(grid, spots), 0.5, 0.0)
    assert [lesion.slices for lesion in lesions] == [(0, 0), (1, 1), (2, 2)]
    assert lesions[0].size == 2


def test_everything_at_or_above_the_threshold_is_one_lesion() -> None:
    grid = axial([0.0, 3, 6])
    labels, (lesion,) = find_lesions(heat(grid, {}), 0.0, 0.0)
    assert (labels == 1).all()
    assert lesion.size == pytest.approx(3 * 6 * 7 * 1.2)
    assert lesion.centre == pytest.approx((2.4, 1.25, 3.0))
    assert lesion.max_score == 0


@tries(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 8), st.integers(0, 10_000))
def test_an_upright_even_stack_gives_the_usual_components(
    slices: int, rows: int, columns: int, seed: int
) -> None:
    grid = axial([2.0 * number for number in range(slices)], rows, columns)
    values = np.random.default_rng(seed).random(grid.shape, dtype=np.float32)
    labels, lesions = find_lesions(Heatmap(values, grid), 0.8, 0.0)
    usual, count = ndimage.label(values >= 0.8, structure=np.ones((3, 3, 3)))
    assert len(lesions) == count
    pairs = {(int(a), int(b)) for a, b in zip(labels.ravel(), usual.ravel(), strict=True)}
    assert len(pairs) == count + (0 in labels)
    total_mm3 = sum(lesion.size for lesion in lesions)
    measured = (labels > 0).sum(axis=(1, 2)) @ grid.voxel_volumes_mm3
    assert total_mm3 == pytest.approx(measured)
    peaks = [lesion.max_score for lesion in lesions]
    assert peaks == sorted(peaks, reverse=True)
    for lesion in lesions:
        assert values[labels == lesion.id].max() == pytest.approx(lesion.max_score)
