"""Pictures: a fixed scale, true proportions, outlines in the right place, nothing of a patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.findings import Box, Lesion, Screening, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.volume import Heatmap, SliceSource, Volume
from headclip_med.write.pictures import sheet
from headclip_med.write.pictures.overlay import (
    OUTLINE,
    TEXT,
    blend,
    grey_slice,
    heat_colours,
    panel,
)
from headclip_med.write.pictures.sheet import (
    MOST_TILES,
    caption,
    draw_slice,
    draw_tile,
    most_suspicious,
)


def screening(
    slices: int = 3,
    rows: int = 20,
    columns: int = 30,
    *,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    colour: bool = False,
) -> Screening:
    origins = np.zeros((slices, 3))
    origins[:, 2] = np.arange(slices)
    down, across = np.array([0, spacing_mm[0], 0.0]), np.array([spacing_mm[1], 0, 0.0])
    grid = Grid(origins, down, across, rows, columns)
    voxels = np.full((*grid.shape, 3) if colour else grid.shape, 40, dtype=np.float32)
    labels = np.zeros(grid.shape, dtype=np.int32)
    labels[-1, 4:8, 20:26] = 1
    heat = np.where(labels > 0, 0.75, 0.0).astype(np.float32)
    return Screening(
        Volume(voxels, grid, (SliceSource(Path("x")),) * slices, "nifti"),
        Heatmap(heat, grid),
        heat.max(axis=(1, 2)).astype(np.float64),
        0.75,
        0.5,
        labels,
        (Lesion(1, 24.0, "mm3", (22.5, 5.5, 2.0), "lps_mm", 0.75, (slices - 1,) * 2, slices - 1),),
        WindowUsed("brain", 0.0, 80.0, "a CT of the head"),
        Box(0, 1, 0, 1),
        {},
        {},
    )


def draw_montage(found: Screening) -> Image.Image:
    """Draw the sheet as the overlay's writer does."""
    chosen = most_suspicious(found, MOST_TILES)
    return sheet.draw_montage(
        found, {index: draw_tile(found, index, count=len(chosen)) for index in chosen}
    )


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_greys_follow_the_window_of_the_screening() -> None:
    base = screening()
    voxels = base.volume.voxels.copy()
    voxels[0, 0, :5] = [-5, 0, 20, 80, 300]
    voxels[0, 1, :3] = [np.nan, np.inf, -np.inf]
    shown = grey_slice(replace(base, volume=replace(base.volume, voxels=voxels)), 0)
    assert shown[0, :5, 0].tolist() == [0, 0, 64, 255, 255]
    assert shown[1, :3, 1].tolist() == [0, 255, 0]
    assert (shown[..., 0] == shown[..., 2]).all()


def test_colour_images_keep_their_colour() -> None:
    base = screening(colour=True)
    voxels = np.broadcast_to(np.float32([80, 40, 0]), base.volume.voxels.shape).copy()
    shown = grey_slice(replace(base, volume=replace(base.volume, voxels=voxels)), 0)
    assert shown[3, 3].tolist() == [255, 128, 0]


def test_a_colour_means_the_same_value_in_every_picture() -> None:
    grey = np.full((1, 3, 3), 100, dtype=np.uint8)
    low = blend(grey, np.array([[0.0, 0.1, 0.2]], dtype=np.float32))
    high = blend(grey, np.array([[0.2, 0.9, 1.0]], dtype=np.float32))
    assert low[0, 2].tolist() == high[0, 0].tolist()
    assert low[0, 0].tolist() == [100, 100, 100]
    expected = 100 * 0.3 + heat_colours()[255] * 0.7
    np.testing.assert_allclose(high[0, 2], expected, atol=0.5)


def test_values_outside_the_scale_and_missing_ones_are_clipped() -> None:
    grey = np.full((1, 3, 3), 100, dtype=np.uint8)
    shown = blend(grey, np.array([[-1.0, np.nan, 7.0]], dtype=np.float32))
    assert shown[0, 0].tolist() == shown[0, 1].tolist() == [100, 100, 100]
    top = blend(grey[:, :1], np.ones((1, 1), dtype=np.float32))
    assert shown[0, 2].tolist() == top[0, 0].tolist()


def test_a_slice_is_shown_in_its_true_proportions() -> None:
    base = screening(rows=20, columns=30, spacing_mm=(3.0, 0.5))  # 60 mm high, 15 mm wide
    assert panel(base, 0, side_px=400, with_heat=True).size == (100, 400)
    no_patient = replace(base.volume.grid, is_patient=False)
    flat = replace(base, volume=replace(base.volume, grid=no_patient))
    assert panel(flat, 0, side_px=300, with_heat=True).size == (300, 200)


def test_the_outline_runs_round_the_candidate_and_hides_none_of_it() -> None:
    base = screening()  # rows 4 to 7, columns 20 to 25, drawn ten times as large
    shown = pixels(panel(base, 2, side_px=300, with_heat=False))
    outlined = (shown == OUTLINE).all(axis=2)
    assert outlined[[39, 80], 200:260].all()
    assert outlined[40:80, [199, 260]].all()
    assert outlined[:, :255].sum() == 2 * 55 + 40  # further right stands the number
    inside = shown[40:80, 200:248]  # left of the lesion's number
    assert (inside == 128).all()
    assert not (pixels(panel(base, 0, side_px=300, with_heat=False)) == OUTLINE).all(axis=2).any()


def test_touching_candidates_and_those_at_the_border_are_outlined() -> None:
    base = screening()
    labels = np.zeros_like(base.labels)
    labels[2, 0:4, 0:5], labels[2, 4:8, 0:5] = 1, 2
    shown = pixels(panel(replace(base, labels=labels), 2, side_px=300, with_heat=False))
    outlined = (shown == OUTLINE).all(axis=2)
    assert outlined[39:41, 3:10].any()  # between the two
    assert not outlined[:, 290:].any()  # nothing rolls over the edge
    assert not outlined[190:, :].any()


def test_the_heat_is_where_the_lesion_is() -> None:
    base = screening()
    plain = pixels(panel(base, 2, side_px=300, with_heat=False))
    heated = pixels(panel(base, 2, side_px=300, with_heat=True))
    changed = np.abs(plain - heated).sum(axis=2) > 40
    rows, columns = np.nonzero(changed)
    assert 35 <= rows.min() < rows.max() <= 85
    assert 195 <= columns.min() < columns.max() <= 265


@pytest.mark.parametrize(
    ("spacing_mm", "length_mm"),
    [((1.0, 1.0), 10), ((8.0, 7.0), 50), ((0.9, 0.5), 5), ((40.0, 60.0), 200)],
)
def test_the_scale_is_as_long_as_it_says(spacing_mm: tuple[float, float], length_mm: float) -> None:
    dark = replace(screening(spacing_mm=spacing_mm), window=WindowUsed("wide", 40.0, 80.0, ""))
    drawn = pixels(panel(dark, 0, side_px=600, with_heat=False))
    is_bar = (drawn[-15:] == TEXT).all(axis=2)
    width_px = is_bar.sum(axis=1).max()
    assert width_px / drawn.shape[1] * 30 * spacing_mm[1] == pytest.approx(length_mm, rel=0.01)


def test_what_has_no_place_in_the_patient_has_no_scale() -> None:
    base = screening()
    placeless = replace(base.volume, grid=Grid.of_pixels(slices=3, rows=20, columns=30))
    bare = pixels(panel(replace(base, volume=placeless), 0, side_px=600, with_heat=False))
    assert not (bare == TEXT).all(axis=2).any()


def test_pictures_count_slices_as_people_do() -> None:
    assert caption(screening(), 2) == "Slice 3 of 3   score 0.75"


def test_the_slice_of_every_candidate_comes_before_mere_high_scores() -> None:
    base = screening(slices=9)
    scores = np.linspace(0.9, 0.5, 9)
    labels = np.zeros_like(base.labels)
    labels[7, 1, 1] = 1
    lesion = replace(base.lesions[0], slices=(7, 7), peak_slice=7)
    found = replace(base, slice_scores=scores, labels=labels, lesions=(lesion,))
    assert most_suspicious(found, 3) == [0, 1, 7]
    assert most_suspicious(replace(found, lesions=()), 3) == [0, 1, 2]
    assert most_suspicious(found, 99) == list(range(9))


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("shape", [(20, 30), (1, 200), (200, 1)])
def test_a_sheet_of_any_stack_can_be_drawn(slices: int, shape: tuple[int, int]) -> None:
    base = screening(slices, 20, 30)
    grid = Grid.of_pixels(slices=slices, rows=shape[0], columns=shape[1])
    labels = np.zeros(grid.shape, dtype=np.int32)
    heat = np.zeros(grid.shape, dtype=np.float32)
    volume = Volume(heat, grid, base.volume.sources, "image")
    bare = replace(base, volume=volume, heatmap=Heatmap(heat, grid), labels=labels, lesions=())
    for picture in (draw_montage(bare), draw_slice(bare, 0)):
        assert picture.mode == "RGB"
        assert max(picture.size) < 1400


def test_the_same_screening_gives_the_same_picture() -> None:
    assert draw_montage(screening()).tobytes() == draw_montage(screening()).tobytes()
    assert draw_slice(screening(), 2).tobytes() == draw_slice(screening(), 2).tobytes()


def test_nothing_of_a_patient_changes_a_picture() -> None:
    base = screening()
    volume = replace(base.volume, name="Doe.nii.gz", study_instance_uid="1.2", modality="CT")
    named = replace(base, volume=volume)
    assert draw_montage(named).tobytes() == draw_montage(base).tobytes()
    assert draw_slice(named, 2).tobytes() == draw_slice(base, 2).tobytes()


def test_the_sheet_follows_the_stack_and_frames_the_highest_slice() -> None:
    scores = np.array([0.1, 0.2, 0.9, 0.3], np.float32)
    found = replace(screening(slices=4), slice_scores=scores)
    tiles = {index: Image.new("RGB", (240, 240), (20 * index, 0, 0)) for index in (2, 0, 3, 1)}
    page = np.asarray(sheet.draw_montage(found, tiles))
    down, across = sheet.MARGIN_PX + 26, 240 + sheet.MARGIN_PX
    for place in range(4):
        x = sheet.MARGIN_PX + place % 2 * across
        y = down + sheet.LINE_PX + place // 2 * (240 + sheet.LINE_PX + sheet.MARGIN_PX)
        assert page[y + 120, x + 120].tolist() == [20 * place, 0, 0]
        is_framed = page[y + 120, x - 1].tolist() == list(TEXT)
        assert is_framed == (place == 2)
