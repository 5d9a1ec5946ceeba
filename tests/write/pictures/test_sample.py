"""A test image beside its map and the truth."""

from __future__ import annotations

import numpy as np

from headclip_med.write.pictures.overlay import (
    BACKGROUND,
    SAMPLE_GAP_PX,
    SAMPLE_PX,
    SAMPLE_TITLE_PX,
    blend,
    draw_sample,
    heat_colours,
)


def panels(row: np.ndarray, side: int, count: int) -> list[np.ndarray]:
    """Take a sample's panels apart, and make them as small as the image was."""
    times = -(-SAMPLE_PX // side)
    shown = row[SAMPLE_TITLE_PX:]
    assert shown.shape == (side * times, count * (side * times + SAMPLE_GAP_PX) - SAMPLE_GAP_PX, 3)
    lefts = [place * (side * times + SAMPLE_GAP_PX) for place in range(count)]
    found = [shown[:, left : left + side * times] for left in lefts]
    for one in found:  # every pixel of the image is a square of one colour
        tiles = one.reshape(side, times, side, times, 3)
        assert (tiles == tiles[:, :1, :, :1]).all()
    return [one[::times, ::times] for one in found]


def test_three_pictures_stand_side_by_side() -> None:
    grey = np.linspace(0, 1, 36, dtype=np.float32).reshape(6, 6)
    heat, truth = np.zeros((6, 6), dtype=np.float32), np.zeros((6, 6), dtype=bool)
    heat[0, 1], truth[5, 2] = 1.0, True
    row = draw_sample(grey[..., None], heat, truth)
    image, under_map, under_truth = panels(row, 6, 3)
    plain = np.rint(grey * 255).astype(np.uint8)
    assert (image == plain[..., None]).all()
    changed = np.argwhere((under_map != image).any(axis=2))
    assert changed.tolist() == [[0, 1]], "where the map is 0 nothing is laid over the image"
    assert under_map[0, 1].tolist() == blend(image, heat)[0, 1].tolist()
    marked = np.argwhere((under_truth != image).any(axis=2))
    assert marked.tolist() == [[5, 2]]
    strongest = 0.3 * plain[5, 2] + 0.7 * heat_colours()[255].astype(np.float32)
    np.testing.assert_allclose(under_truth[5, 2], strongest, atol=0.51)


def test_each_panel_says_what_it_shows() -> None:
    row = draw_sample(np.zeros((6, 6, 1)), np.zeros((6, 6)), np.zeros((6, 6), dtype=bool))
    titles = row[:SAMPLE_TITLE_PX]
    third = titles.shape[1] // 3
    for place in range(3):
        shown = titles[:, place * third : (place + 1) * third]
        assert (shown != BACKGROUND).any()


def test_colour_stays_and_no_truth_means_two_pictures() -> None:
    picture = np.zeros((4, 4, 3), dtype=np.float32)
    picture[..., 0] = 2.0  # above what can be shown
    image, _ = panels(draw_sample(picture, np.zeros((4, 4), dtype=np.float32), None), 4, 2)
    assert image[0, 0].tolist() == [255, 0, 0]


def test_a_large_image_keeps_its_size() -> None:
    side = 2 * SAMPLE_PX
    row = draw_sample(np.zeros((side, side, 1)), np.zeros((side, side)), None)
    assert row.shape == (side + SAMPLE_TITLE_PX, 2 * side + SAMPLE_GAP_PX, 3)
