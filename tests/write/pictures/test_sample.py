"""A test image beside its map and the truth."""

from __future__ import annotations

import numpy as np

from headclip_med.write.pictures.overlay import BACKGROUND, blend, draw_sample, heat_colours


def test_three_pictures_stand_side_by_side() -> None:
    grey = np.linspace(0, 1, 36, dtype=np.float32).reshape(6, 6)
    heat, truth = np.zeros((6, 6), dtype=np.float32), np.zeros((6, 6), dtype=bool)
    heat[0, 1], truth[5, 2] = 1.0, True
    row = draw_sample(grey[..., None], heat, truth)
    assert row.shape == (6, 3 * 6 + 2 * 4, 3)
    plain = np.rint(grey * 255).astype(np.uint8)
    assert (row[:, :6] == plain[..., None]).all()
    assert (row[:, 6:10] == BACKGROUND).all()
    changed = np.argwhere((row[:, 10:16] != row[:, :6]).any(axis=2))
    assert changed.tolist() == [[0, 1]], "where the map is 0 nothing is laid over the image"
    assert row[0, 11].tolist() == blend(row[:, :6], heat)[0, 1].tolist()
    marked = np.argwhere((row[:, 20:] != row[:, :6]).any(axis=2))
    assert marked.tolist() == [[5, 2]]
    strongest = 0.3 * plain[5, 2] + 0.7 * heat_colours()[255].astype(np.float32)
    np.testing.assert_allclose(row[5, 22], strongest, atol=0.51)


def test_colour_stays_and_no_truth_means_two_pictures() -> None:
    picture = np.zeros((4, 4, 3), dtype=np.float32)
    picture[..., 0] = 2.0  # above what can be shown
    row = draw_sample(picture, np.zeros((4, 4), dtype=np.float32), None)
    assert row.shape == (4, 12, 3)
    assert row[0, 0].tolist() == [255, 0, 0]
