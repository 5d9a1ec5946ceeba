"""One volume through the five steps, with a model whose maps are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.screen import screen
from headclip_med.prediction import Prediction
from headclip_med.read import read_volume
from headclip_med.settings import ScoreSettings, ScreenSettings
from tests.bright import BrightModel
from tests.phantoms import make_grid, write_phantom

SETTINGS = ScreenSettings(window="100,200", minimum_size=0.0, batch_size=2, symmetry="off")
"""0 HU is black, 200 HU is white."""


def volume_of(folder: Path, **grid: object):  # type: ignore[no-untyped-def]
    write_phantom(folder, make_grid(**grid))  # type: ignore[arg-type]
    return read_volume(folder)


def test_scores_by_hand(tmp_path: Path) -> None:
    # 5 slices of 6 x 7 HU values that grow by one; 0 HU is black, 200 HU is white. The model's
    # input is the slice's own size, so nothing is resized.
    volume = volume_of(tmp_path, shape=(5, 7, 7))
    model = BrightModel(image_size=7, scores=ScoreSettings(joint_weight=0.25, top_percent=4.1))
    found = screen(volume, model, settings=SETTINGS)
    grey = np.clip(volume.voxels, 0, 200) / 200
    np.testing.assert_allclose(found.heatmap.values, grey, atol=1e-6)
    two = np.sort(grey.reshape(5, -1), axis=1)[:, -2:]  # 4.1 % of 49 pixels are two
    expected = 0.25 * two[:, 1] + 0.75 * two.mean(axis=1)
    np.testing.assert_allclose(found.slice_scores, expected, atol=1e-6)
    assert found.score == pytest.approx(np.sort(expected)[-3:].mean())


def test_the_bright_corner_is_found_where_it_lies(tmp_path: Path) -> None:
    grid = make_grid()
    volume = volume_of(tmp_path)
    model = BrightModel(image_size=84, threshold=0.6)
    found = screen(volume, model, settings=SETTINGS)
    assert len(found.lesions) == 1
    lesion = found.lesions[0]
    assert lesion.slices == (0, 0)
    truth = grid.to_lps_mm(np.array([[0.0, 0.0, 1.0]]))[0]
    assert np.abs(np.array(lesion.centre) - truth).max() < 1.0
    assert found.labels[0, 0, 1] == lesion.id


def test_reversing_the_stack_changes_nothing_in_the_patient(tmp_path: Path) -> None:
    model = BrightModel(image_size=84, threshold=0.6)
    upright = screen(volume_of(tmp_path / "a"), model, settings=SETTINGS)
    turned = make_grid(step_lps_mm=(0, 0, -3), origin_lps_mm=(-20, -30, 52))
    write_phantom(tmp_path / "b", turned)
    other = screen(read_volume(tmp_path / "b"), model, settings=SETTINGS)
    assert other.lesions[0].size == pytest.approx(upright.lesions[0].size)


def test_batches_follow_the_settings_and_are_reported(tmp_path: Path) -> None:
    model, done = BrightModel(), []
    screen(volume_of(tmp_path), model, settings=SETTINGS, report=done.append)
    assert model.calls == done == [2, 2, 1]


def test_the_model_s_threshold_holds_unless_another_is_given(tmp_path: Path) -> None:
    volume = volume_of(tmp_path)
    assert screen(volume, BrightModel(threshold=0.7), settings=SETTINGS).threshold == 0.7
    own = ScreenSettings(window="100,200", threshold=0.2)
    assert screen(volume, BrightModel(threshold=0.7), settings=own).threshold == 0.2


def test_everything_needed_to_repeat_it_is_kept(tmp_path: Path) -> None:
    found = screen(volume_of(tmp_path), BrightModel(), settings=SETTINGS)
    assert found.settings["window"] == "100,200"
    assert found.settings["scores"] == ScoreSettings().to_json()
    assert found.model["name"] == "bright"
    assert (found.window.low, found.window.high) == (0, 200)
    assert set(found.timings_s) == {"read", "preprocess", "predict", "find"}


def test_the_heatmap_is_handed_on_as_it_comes(tmp_path: Path) -> None:
    volume, blocks = volume_of(tmp_path), []
    found = screen(
        volume, BrightModel(), settings=replace(SETTINGS, batch_size=2), follow=blocks.append
    )
    assert len(blocks) == -(-len(volume.voxels) // 2)
    np.testing.assert_array_equal(np.concatenate(blocks), found.heatmap.values)


def test_a_wrong_window_is_said_before_any_work(tmp_path: Path) -> None:
    model = BrightModel()
    with pytest.raises(InvalidSettings, match="window is not known"):
        screen(volume_of(tmp_path), model, settings=ScreenSettings(window="brian"))
    assert model.calls == []


class EvenModel(BrightModel):
    """Finds the same everywhere, but for noise."""

    def predict(self, images: torch.Tensor) -> Prediction:
        found = super().predict(images)
        return replace(found, map=0.95 + 0.01 * found.map)


def test_a_flat_map_says_so_instead_of_naming_candidates(tmp_path: Path) -> None:
    volume = volume_of(tmp_path)
    settings = replace(SETTINGS, threshold=0.951)
    found = screen(volume, EvenModel(), settings=settings)
    assert found.lesions == ()
    assert not found.labels.any()
    assert found.flat_regions > 0
    assert any("flat" in note for note in found.notes)
    assert found.to_json()["flat_regions"] == found.flat_regions
    usual = screen(volume, BrightModel(), settings=replace(SETTINGS, threshold=0.5))
    assert usual.lesions
    assert usual.flat_regions == 0
