"""Turned axes: where voxels go, where they lie, and how square pixels are laid over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headclip_med.findings import Box
from headclip_med.geometry import Grid
from headclip_med.transforms import choose_views
from headclip_med.transforms.pixels import EvenPixels
from headclip_med.transforms.planes import AS_STORED, Arrangement
from headclip_med.volume import SliceSource, Volume
from tests.phantoms import make_grid
from tests.stored_orders import ORDERS

ARRANGEMENTS = [
    Arrangement(axes, (x < 0, y < 0, z < 0))  # every order, each axis both ways
    for axes, (x, y, z) in ORDERS
]


def volume_on(grid: Grid) -> Volume:
    voxels = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    return Volume(voxels, grid, (SliceSource(Path("scan")),) * len(voxels), "nifti")


def test_axes_by_hand() -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    turned = Arrangement((2, 0, 1), (True, False, False)).arranged(array)
    assert turned.shape == (4, 2, 3)
    # Its first slice is the last column, with stored slices as rows and stored rows as columns.
    assert turned[0].tolist() == [[3, 7, 11], [15, 19, 23]]
    assert turned[3].tolist() == [[0, 4, 8], [12, 16, 20]]


@pytest.mark.parametrize("how", ARRANGEMENTS, ids=str)
def test_what_was_arranged_comes_back(how: Arrangement) -> None:
    array = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    there = how.arranged(array)
    np.testing.assert_array_equal(how.inverse.arranged(there), array)
    assert how.inverse.inverse == how


@pytest.mark.parametrize("how", ARRANGEMENTS, ids=str)
@pytest.mark.parametrize(
    "grid",
    [
        make_grid(shape=(4, 5, 6)),
        make_grid(shape=(4, 5, 6), step_lps_mm=(0.3, 1, 3), across=(0.8, 0.6, 0)),
        make_grid(shape=(1, 5, 6)),
    ],
    ids=["upright", "tilted and turned", "one slice"],
)
def test_a_voxel_stays_where_it_lies(how: Arrangement, grid: Grid) -> None:
    own = np.argwhere(np.ones(grid.shape, dtype=bool))
    places = how.arranged(grid.to_lps_mm(own.astype(float)).reshape(*grid.shape, 3))
    turned = how.grid_of(grid)
    indices = np.argwhere(np.ones(turned.shape, dtype=bool)).astype(float)
    np.testing.assert_allclose(turned.to_lps_mm(indices).reshape(places.shape), places, atol=1e-9)
    volumes = turned.voxel_volumes_mm3.sum() * turned.rows * turned.columns
    if grid.shape[0] > 1:
        assert volumes == pytest.approx(grid.voxel_volumes_mm3.sum() * grid.rows * grid.columns)


def test_uneven_slices_keep_their_places_when_they_are_turned() -> None:
    grid = make_grid(shape=(3, 5, 6))
    grid.origins_lps_mm[2, 2] += 7
    turned = Arrangement((0, 1, 2), (True, False, True)).grid_of(grid)
    moved = grid.origins_lps_mm[::-1] + 5 * grid.column_step_lps_mm
    np.testing.assert_allclose(turned.origins_lps_mm, moved)


@pytest.mark.parametrize("how", ARRANGEMENTS[::3], ids=str)
def test_a_box_holds_the_same_voxels_in_stored_slices(how: Arrangement) -> None:
    grid = make_grid(shape=(7, 8, 9))
    marked = np.zeros(how.grid_of(grid).shape, dtype=bool)
    box = Box(1, 4, 2, 6)
    marked[(..., *box.indices)] = True
    rows, columns = np.nonzero(how.inverse.arranged(marked).any(axis=0))
    found = how.stored_box(box, grid)
    assert (found.first_row, found.end_row - 1) == (rows.min(), rows.max())
    assert (found.first_column, found.end_column - 1) == (columns.min(), columns.max())


def test_a_large_array_is_arranged_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headclip_med.mapped.SMALLEST_FILE_BYTES", 1)
    array = np.arange(40 * 35 * 33, dtype=np.float32).reshape(40, 35, 33)
    for how in ARRANGEMENTS[::5]:
        np.testing.assert_array_equal(how.arranged(array), how.seen(array))


@pytest.mark.parametrize(
    ("across", "down", "step_mm", "plane", "kept"),
    [
        ((1, 0, 0), (0, 1, 0), (0, 0, 1), "axial", True),
        ((0, 1, 0), (0, 0, -1), (-1, 0, 0), "sagittal", True),
        ((1, 0, 0), (0, 0, -1), (0, 1, 0), "coronal", True),
        ((-1, 0, 0), (0, -1, 0), (0, 0, 1), "axial", False),  # prone
    ],
)
def test_slices_of_a_scanner_that_stand_as_expected_are_left_alone(
    across: tuple[int, ...], down: tuple[int, ...], step_mm: tuple[int, ...], plane: str, kept: bool
) -> None:
    grid = make_grid(
        shape=(20, 21, 22), across=across, down=down, step_lps_mm=step_mm, spacing_mm=(1.0, 1.0)
    )
    volume = volume_on(grid)
    ((view,), _) = choose_views(volume, plane)  # type: ignore[arg-type]
    assert view.arrangement.keeps_slices
    assert (view.arrangement == AS_STORED) is kept
    assert (view.shown is volume) is kept


def test_pictures_without_patient_geometry_are_seen_as_stored() -> None:
    volume = volume_on(Grid.of_pixels(slices=3, rows=20, columns=30))
    for asked in ("axial", "coronal", "all"):
        (view,), left_out = choose_views(volume, asked)  # type: ignore[arg-type]
        assert (view.plane, view.shown, left_out) == (None, volume, ())


def test_square_pixels_by_hand() -> None:
    # Rows 2 mm apart and columns 1 mm: a row is put between each two.
    grid = make_grid(shape=(1, 3, 4), spacing_mm=(2.0, 1.0))
    even = EvenPixels.of(grid)
    assert even is not None
    values = np.array([[[0.0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]], dtype=np.float32)
    spread = even.spread(values)
    assert spread[0].tolist() == [[row, row + 1, row + 2, row + 3] for row in range(5)]
    np.testing.assert_allclose(even.gathered(spread), values)
    assert even.gathered_box(Box(1, 4, 0, 4)) == Box(0, 3, 0, 4)


@pytest.mark.parametrize("down", [(0, 1, 0), (0, 1, 0.4), (0.3, 0.9, 0.2)])
def test_square_pixels_lie_where_the_others_lie(down: tuple[float, ...]) -> None:
    grid = make_grid(shape=(2, 12, 15), down=down, across=(0.6, 0, 0.8), spacing_mm=(2.0, 1.0))
    even = EvenPixels.of(grid)
    assert even is not None
    row_mm, column_mm = even.even.pixel_spacing_mm
    assert row_mm == pytest.approx(column_mm)
    assert even.even.row_step_lps_mm @ even.even.column_step_lps_mm == pytest.approx(0)
    indices = np.array([[1.0, 0, 0], [1, 5, 3], [0, 2, 7]])
    inner = indices[:, 1:] @ even.matrix.T + even.offset
    through = np.column_stack([indices[:, 0], inner])
    np.testing.assert_allclose(grid.to_lps_mm(through), even.even.to_lps_mm(indices), atol=1e-9)
    # What is linear in the place comes back unchanged.
    own = np.argwhere(np.ones(grid.shape, dtype=bool)).astype(float)
    values = (grid.to_lps_mm(own) @ (0.1, -0.2, 0.3)).reshape(grid.shape).astype(np.float32)
    back = even.gathered(even.spread(values))
    np.testing.assert_allclose(back[:, 2:-2, 2:-2], values[:, 2:-2, 2:-2], atol=1e-3)


def test_square_upright_pixels_need_nothing() -> None:
    assert EvenPixels.of(make_grid(spacing_mm=(1.0, 1.02))) is None
