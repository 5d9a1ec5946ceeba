"""Where the body is on a volume's slices, by hand and by its properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headclip_med.findings import Box, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.pipelines.screen import screen
from headclip_med.settings import ScoreSettings, ScreenSettings
from headclip_med.transforms import find_body, paste_maps
from headclip_med.volume import SliceSource, Volume
from tests.bright import BrightModel
from tests.phantoms import make_grid

SHAPE = (3, 100, 120)
AS_IT_IS = WindowUsed("custom", 0.0, 1.0, "grey levels already")


def volume_of(grey: np.ndarray, *, is_patient: bool = True) -> Volume:
    count, rows, columns = grey.shape[:3]
    grid = (
        make_grid(shape=(count, rows, columns))
        if is_patient
        else Grid.of_pixels(slices=count, rows=rows, columns=columns)
    )
    sources = (SliceSource(Path("none")),) * count
    return Volume(grey, grid, sources, origin="dicom" if is_patient else "image")


def phantom() -> np.ndarray:
    """A body of 40 x 30 px on the middle slice, off centre; the other slices show less of it."""
    grey = np.zeros(SHAPE, dtype=np.float32)
    grey[0, 30:40, 60:70] = 0.5
    grey[1, 20:60, 50:80] = 0.5
    return grey


def test_the_box_is_a_square_around_the_body_with_a_margin() -> None:
    grey = phantom()
    # 40 px and 5 % on either side make 44; the middles are row 40 and column 65.
    assert find_body(volume_of(grey), AS_IT_IS) == Box(18, 62, 43, 87)


def test_one_box_serves_all_slices() -> None:
    grey = phantom()
    grey[2, 90:100, 0:10] = 0.5  # a second piece, on another slice: nothing of a body is cut away
    box = find_body(volume_of(grey), AS_IT_IS)
    assert grey[(..., *box.indices)].sum() == pytest.approx(grey.sum())


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mirrored_body_has_a_mirrored_box(axis: int) -> None:
    grey = phantom()
    box, mirrored = (find_body(volume_of(g), AS_IT_IS) for g in (grey, np.flip(grey, axis)))
    limit = SHAPE[axis]
    first, end = (box.first_row, box.end_row) if axis == 1 else (box.first_column, box.end_column)
    found = (
        (mirrored.first_row, mirrored.end_row)
        if axis == 1
        else (mirrored.first_column, mirrored.end_column)
    )
    assert found == (limit - end, limit - first)


def test_a_table_and_noise_are_no_body() -> None:
    grey = phantom()
    expected = find_body(volume_of(grey), AS_IT_IS)
    grey[:, 95, :] = 0.8
    grey[1, np.arange(0, 100, 7), 3] = 0.9
    assert find_body(volume_of(grey), AS_IT_IS) == expected


def test_a_body_at_the_edge_has_a_box_within_the_slice() -> None:
    grey = np.zeros(SHAPE, dtype=np.float32)
    grey[:, 0:40, 90:120] = 0.5
    assert find_body(volume_of(grey), AS_IT_IS) == Box(0, 44, 76, 120)


def test_bright_everywhere_dark_everywhere_and_pictures_stay_whole() -> None:
    whole = Box(0, 100, 0, 120)
    for level in (0.0, 1.0):
        grey = np.full(SHAPE, level, dtype=np.float32)
        assert find_body(volume_of(grey), AS_IT_IS) == whole
    grey = phantom()
    assert find_body(volume_of(grey, is_patient=False), AS_IT_IS) == whole


def test_maps_go_back_to_where_they_were_cut() -> None:
    box = Box(1, 4, 2, 5)
    maps = np.arange(27, dtype=np.float32).reshape(3, 3, 3) / 27
    heatmap = np.zeros((3, 6, 7), dtype=np.float32)
    paste_maps(heatmap, maps, box)
    np.testing.assert_array_equal(heatmap[:, 1:4, 2:5], maps)
    assert heatmap.sum() == pytest.approx(maps.sum())


def test_only_the_body_is_shown_to_the_model_and_the_screening_says_so() -> None:
    grey = phantom()
    grey[1, 25, 55] = 1.0
    settings = ScreenSettings(window="0.5,1", minimum_size=0.0)
    model = BrightModel(image_size=44, scores=ScoreSettings(joint_weight=0.0, top_percent=0.06))
    cropped = screen(volume_of(grey), model, settings=settings)
    assert cropped.crop_box == Box(18, 62, 43, 87)
    np.testing.assert_allclose(cropped.heatmap.values, grey, atol=1e-6)  # 44 px: nothing resized
    # One pixel of 44 x 44 is 0.05 %: the brightest pixel alone is the score.
    np.testing.assert_allclose(cropped.slice_scores, [0.5, 1.0, 0.0], atol=1e-6)
    whole = screen(volume_of(grey), model, settings=ScreenSettings(window="0.5,1", crop="none"))
    assert whole.crop_box == Box(0, 100, 0, 120)
