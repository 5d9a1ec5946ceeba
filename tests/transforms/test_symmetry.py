"""Lines and planes of symmetry that are known, and what both sides differ by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from headclip_med.content import ImageContent
from headclip_med.findings import Box, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.transforms.symmetry import (
    MirrorLine,
    MirrorPlane,
    Sides,
    compare_sides,
    fit_line,
    fit_plane,
    mirrored_slices,
    spans_enough,
    wants_symmetry,
)
from headclip_med.transforms.symmetry.planes import indices_of
from headclip_med.transforms.symmetry.scale import Scale
from tests.phantoms import make_grid
from tests.transforms.heads import head_picture, head_volume

WINDOW = WindowUsed("as-is", 0.0, 100.0, "")


def pair(picture: np.ndarray, line: MirrorLine) -> Sides:
    both = torch.from_numpy(np.stack([picture, line.mirrored(picture)]))[:, None]
    both = both.expand(-1, 3, -1, -1)
    return Sides(both[:1], both[1:])


def test_a_picture_is_mirrored_by_hand() -> None:
    picture = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(MirrorLine(0.0, 0.0).mirrored(picture), picture[:, ::-1])
    moved = MirrorLine(0.0, 0.5).mirrored(picture)  # between the second and the third column
    np.testing.assert_array_equal(moved, [[0, 2, 1], [0, 5, 4]])
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    turned = MirrorLine(45.0, 0.0).mirrored(square)
    np.testing.assert_allclose(turned, square[::-1, ::-1].T, atol=1e-5)


def test_mirroring_twice_gives_the_place_back() -> None:
    plane = MirrorPlane(7.0, -4.0, 12.0)
    points = np.array([[1.0, 2.0, 3.0], [-40.0, 7.0, 90.0]])
    np.testing.assert_allclose(plane.mirrored(plane.mirrored(points)), points, atol=1e-9)
    on_it = plane.normal_lps * plane.offset_mm
    np.testing.assert_allclose(plane.mirrored(on_it[None]), on_it[None], atol=1e-9)


@pytest.mark.parametrize("lesion", [0.0, 0.5, -0.4])
@pytest.mark.parametrize(("angle_deg", "offset_px"), [(0, 0), (12, -9), (-25, 14)])
def test_the_line_of_a_picture_is_found(angle_deg: float, offset_px: float, lesion: float) -> None:
    found = fit_line(head_picture(angle_deg, offset_px, lesion=lesion))
    assert found is not None
    assert found.is_symmetric
    assert found.line.angle_deg == pytest.approx(angle_deg, abs=1.5)
    assert found.line.offset_px == pytest.approx(offset_px, abs=1.5)


def test_letters_beside_the_head_do_not_move_its_line() -> None:
    picture = head_picture(5, 6)
    picture[90:110, 2:14] = 1.0
    found = fit_line(picture)
    assert found is not None
    assert found.line.offset_px == pytest.approx(6, abs=1.5)


def test_pixels_that_are_not_square_are_known() -> None:
    found = fit_line(head_picture(12, 8)[::2], 2.0)
    assert found is not None
    assert found.line.angle_deg == pytest.approx(12, abs=1.5)
    assert found.line.offset_px == pytest.approx(8, abs=1.5)


def test_what_has_one_side_is_refused() -> None:
    profile = np.zeros((120, 120), dtype=np.float32)
    profile[10:40, 10:80] = profile[40:80, 50:80] = profile[80:110, 50:112] = 0.6
    found = fit_line(profile)
    assert found is not None
    assert not found.is_symmetric
    assert fit_line(np.zeros((40, 40), dtype=np.float32)) is None


@pytest.mark.parametrize(
    ("yaw_deg", "roll_deg", "offset_mm", "lesion"),
    [(0, 0, 0, 0.0), (9, 0, 6, 0.5), (-14, 8, -11, 0.4)],
)
def test_the_plane_of_a_volume_is_found(
    yaw_deg: float, roll_deg: float, offset_mm: float, lesion: float
) -> None:
    volume = head_volume(yaw_deg, roll_deg, offset_mm, lesion=lesion)
    found = fit_plane(volume, WINDOW)
    assert found is not None
    assert found.is_symmetric
    assert found.plane.yaw_deg == pytest.approx(yaw_deg, abs=1.0)
    assert found.plane.roll_deg == pytest.approx(roll_deg, abs=1.5)
    assert found.plane.offset_mm == pytest.approx(offset_mm, abs=1.5)


def test_slices_across_the_plane_are_told_from_those_along_it() -> None:
    plane = MirrorPlane(8.0, 5.0, 0.0)
    assert plane.stands_on(np.array([0.0, 0.0, 1.0]))  # axial
    assert plane.stands_on(np.array([0.0, 1.0, 0.0]))  # coronal
    assert not plane.stands_on(np.array([1.0, 0.0, 0.0]))  # sagittal


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_way_back_from_millimetres(order: slice) -> None:
    tilted = make_grid(step_lps_mm=(0, 1.2, 3))
    gaps = np.array([0, 1, 3, 4, 7])[:, None] * np.array([0, 0.5, 3])
    uneven = Grid(
        (tilted.origins_lps_mm[:1] + gaps)[order], tilted.row_step_lps_mm,
        tilted.column_step_lps_mm, 6, 7,
    )  # fmt: skip
    places = np.array([[0, 0, 0], [1.5, 2, 3], [3.9, 5, 6], [2, 0.5, 0.25]], dtype=float)
    for grid in (tilted, uneven):
        np.testing.assert_allclose(indices_of(grid, grid.to_lps_mm(places)), places, atol=1e-9)


def test_an_uneven_stack_is_mirrored_as_an_even_one() -> None:
    volume = head_volume(6, 4, 3, lesion=0.4)
    plane, box = MirrorPlane(6.0, 4.0, 3.0), Box(10, 70, 8, 66)
    even = mirrored_slices(volume, WINDOW, plane, slice(12, 20), box)
    moved = volume.grid.origins_lps_mm.copy()
    moved[0, 2] -= 30  # far from what is looked at
    grid = Grid(moved, volume.grid.row_step_lps_mm, volume.grid.column_step_lps_mm, 80, 80)
    assert not grid.is_even
    uneven = mirrored_slices(replace(volume, grid=grid), WINDOW, plane, slice(12, 20), box)
    np.testing.assert_allclose(uneven, even, atol=1e-4)


def test_a_handful_of_slices_is_no_volume() -> None:
    assert spans_enough(head_volume().grid)
    assert not spans_enough(make_grid())
    assert not spans_enough(Grid.of_pixels(slices=90, rows=8, columns=8))


@pytest.mark.parametrize(("angle_deg", "offset_px"), [(0, 0), (10, -8)])
def test_equal_sides_give_nothing(angle_deg: float, offset_px: float) -> None:
    line = MirrorLine(float(angle_deg), float(offset_px))
    found = compare_sides(pair(head_picture(angle_deg, offset_px), line))
    assert found.maps.max() < (0.2 if angle_deg else 0.02)  # a turned one is interpolated
    assert found.scores[0] < 0.02


@pytest.mark.parametrize("lesion", [0.5, -0.4])
def test_a_lesion_is_marked_on_its_side(lesion: float) -> None:
    picture = head_picture(lesion=lesion)
    found = compare_sides(pair(picture, MirrorLine(0.0, 0.0)))
    mm = 200 / 224
    at = round(111.5 + 8 / mm), round(111.5 + 28 / mm)
    assert found.maps[0][at] > 0.5
    assert found.maps[0][at] > 3 * found.maps[0][at[0], 223 - at[1]]
    assert found.scores[0] > 0.25


def test_a_mirrored_picture_has_the_mirrored_map_and_the_same_score() -> None:
    picture = head_picture(lesion=0.5)
    own = compare_sides(pair(picture, MirrorLine(0.0, 0.0)))
    other = compare_sides(pair(np.ascontiguousarray(picture[:, ::-1]), MirrorLine(0.0, 0.0)))
    np.testing.assert_allclose(other.maps[0], own.maps[0][:, ::-1], atol=1e-5)
    assert other.scores[0] == pytest.approx(own.scores[0], abs=1e-6)


def test_features_count_by_what_two_places_differ_by() -> None:
    picture = head_picture()
    sides = pair(picture, MirrorLine(0.0, 0.0))
    draw = torch.Generator().manual_seed(1)
    grid = torch.nn.functional.normalize(torch.randn(1, 8, 8, 6, generator=draw), dim=-1)
    same = compare_sides(Sides(sides.seen, sides.mirrored, (grid, grid)))
    other = compare_sides(Sides(sides.seen, sides.mirrored, (grid, grid.flip(1, 2))))
    assert same.scores[0] < 0.02
    assert 0.1 < other.scores[0] <= 1 / 3


def test_the_scale_by_hand() -> None:
    scale = Scale(0.1, 0.4, 0.2, 0.5)
    np.testing.assert_allclose(
        scale.unusual(np.array([0.0, 0.1, 0.2, 0.4, 1e9])), [0, 0.2, 1 / 3, 0.5, 1], atol=1e-6
    )


@pytest.mark.parametrize(
    ("asked", "name", "modality", "basis"),
    [
        ("auto", "head", "CT", "subject"),
        ("auto", "brain", "MR", "subject"),
        ("auto", "skull", "CT", "subject"),
        ("auto", "chest", "CT", "other-subject"),
        ("auto", "brain", "PT", "other-subject"),
        ("auto", "brain", None, "unknown-subject"),
        ("auto", None, "CT", "unknown-subject"),
        ("auto", None, None, "unknown-subject"),
        ("on", None, None, "asked"),
        ("off", "head", "CT", "switched-off"),
    ],
)
def test_facts_decide(asked: str, name: str | None, modality: str | None, basis: str) -> None:
    assert wants_symmetry(asked, ImageContent(name, modality)) == basis  # type: ignore[arg-type]
