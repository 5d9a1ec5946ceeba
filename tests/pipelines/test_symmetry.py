"""Both sides of a head compared while it is screened, and beside a model that is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
from PIL import Image

from headclip_med import load_model
from headclip_med.datasets import Dataset, Sample
from headclip_med.errors import UnusableGeometry
from headclip_med.evaluation.models import evaluate_models
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.evaluation.results import own_rows
from headclip_med.models.registry import METHODS
from headclip_med.pipelines.screen import screen
from headclip_med.settings import ScoreSettings, ScreenSettings
from headclip_med.volume import Volume
from headclip_med.write.result import build_result
from tests import tiny
from tests.bright import BrightModel
from tests.transforms.heads import LESION_MM, head_picture, head_volume

OFF = ScreenSettings(window="50,100", crop="none", symmetry="off")
AUTO = replace(OFF, symmetry="auto")
DIM = BrightModel(image_size=80, scores=ScoreSettings(joint_weight=0.0, sigma_px=0.0))


class Blind(BrightModel):
    """Finds nothing, so that what is found is symmetry's."""

    def predict(self, images):  # type: ignore[no-untyped-def]
        found = super().predict(images)
        return replace(found, map=found.map * 0, global_score=found.global_score * 0)


BLIND = Blind(image_size=80)


def test_a_head_says_itself_that_its_sides_are_compared() -> None:
    volume = head_volume(6, 0, 4, lesion=0.5)
    alone, found = screen(volume, DIM, settings=OFF), screen(volume, DIM, settings=AUTO)
    used = found.symmetry
    assert (used.is_used, used.basis, used.kind, used.unit) == (True, "subject", "plane", "mm")
    assert used.yaw_deg == pytest.approx(6, abs=1)
    assert used.roll_deg == pytest.approx(0, abs=1)
    assert used.offset == pytest.approx(4, abs=1.5)
    assert used.own_score == pytest.approx(alone.score)
    assert used.share is not None
    assert found.score == pytest.approx(alone.score / (2 - 2 * used.share), abs=0.05)
    assert not used.has_features
    assert (found.heatmap.values >= alone.heatmap.values).all()
    assert "symmetry" in found.timings_s
    result = build_result(found, files={}, skipped=(), written=(), notes=())
    assert result["symmetry"]["is_used"] is True  # type: ignore[index]
    assert any("two sides" in note for note in result["notes"])  # type: ignore[union-attr]


@pytest.mark.parametrize(("part", "basis"), [("CHEST", "other-subject"), (None, "unknown-subject")])
def test_anything_else_is_screened_as_ever(part: str | None, basis: str) -> None:
    volume = head_volume(lesion=0.5, part=part)
    alone, found = screen(volume, DIM, settings=OFF), screen(volume, DIM, settings=AUTO)
    assert (found.symmetry.is_used, found.symmetry.basis) == (False, basis)
    np.testing.assert_array_equal(found.heatmap.values, alone.heatmap.values)
    np.testing.assert_array_equal(found.slice_scores, alone.slice_scores)
    assert found.score == alone.score
    assert found.notes == alone.notes


def test_equal_sides_add_next_to_nothing() -> None:
    found = screen(head_volume(-7, 0, 5), BLIND, settings=AUTO)
    assert found.symmetry.slices == 34
    assert found.score < 0.05
    assert np.quantile(found.heatmap.values, 0.999) < 0.2


def test_a_lesion_is_found_on_its_side_whichever_that_is() -> None:
    volume = head_volume(lesion=0.5)
    found = screen(volume, BLIND, settings=AUTO)
    highest = np.unravel_index(found.heatmap.values.argmax(), found.heatmap.values.shape)
    place = volume.grid.to_lps_mm(np.array([highest], dtype=float))[0]
    assert np.linalg.norm(place - LESION_MM) < 12
    flipped = replace(volume, voxels=np.ascontiguousarray(volume.voxels[:, :, ::-1]))
    other = screen(flipped, BLIND, settings=AUTO)
    np.testing.assert_allclose(other.heatmap.values, found.heatmap.values[:, :, ::-1], atol=0.05)
    assert other.score == pytest.approx(found.score, abs=0.01)


def test_slices_seen_from_the_side_are_left_alone() -> None:
    volume = head_volume(lesion=0.5, plane="sagittal")
    settings = AUTO.changed(planes="sagittal")
    found = screen(volume, DIM, settings=settings)
    assert (found.symmetry.is_used, found.symmetry.basis) == (False, "not-symmetric")
    alone = screen(volume, DIM, settings=settings.changed(symmetry="off"))
    np.testing.assert_array_equal(found.heatmap.values, alone.heatmap.values)
    with pytest.raises(UnusableGeometry, match="no slice shows two sides"):
        screen(volume, DIM, settings=settings.changed(symmetry="on"))


def test_a_single_slice_has_a_line_of_its_own() -> None:
    volume = head_volume(8, 0, 5, lesion=0.5)
    origins = volume.grid.origins_lps_mm[17:18]
    one: Volume = replace(
        volume, voxels=volume.voxels[17:18], sources=volume.sources[:1],
        grid=replace(volume.grid, origins_lps_mm=origins),
    )  # fmt: skip
    used = screen(one, BLIND, settings=AUTO).symmetry
    assert (used.kind, used.unit, used.slices) == ("lines", "px", 1)
    # Turned to the back on the left, that is clockwise as an axial slice is looked at.
    assert used.yaw_deg == pytest.approx(8, abs=1.5)
    assert used.offset == pytest.approx(5 / 2.5, abs=1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_local_features(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = open_clip.get_model_config
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda n: tiny.CONFIG if n == "tiny" else look_up(n)
    )
    model = load_model("tiny", method=method, weights="random", device="cpu")
    volume = head_volume(lesion=0.5)
    few = volume.grid.origins_lps_mm[16:18]
    small = replace(
        volume, voxels=volume.voxels[16:18], sources=volume.sources[:2],
        grid=replace(volume.grid, origins_lps_mm=few),
    )  # fmt: skip
    alone, found = screen(small, model, settings=OFF), screen(small, model, settings=AUTO)
    assert found.symmetry.has_features
    assert found.score != alone.score
    again = screen(small, model, settings=AUTO.changed(tiling="windows"))
    assert again.symmetry.has_features


def pictures(folder: Path) -> Dataset:
    """Four heads without lesion and four with one, upright and turned."""
    samples = []
    for number in range(8):
        is_hurt = number % 2 == 1
        grey = head_picture(3 * number - 9, number - 4, lesion=0.4 if is_hurt else 0.0, side_px=96)
        path = folder / f"{number}.png"
        Image.fromarray((255 * grey).astype(np.uint8)).save(path)
        samples.append(Sample(path, None, int(is_hurt), "brain"))
    return Dataset("BrainMRI", tuple(samples), "image")


def test_rows_with_symmetry_stand_beside_the_models_own(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    alone, found, more = (
        evaluate_models(
            dataset, [DIM], EvaluationSettings(symmetry=asked, intervals=False, store=store)
        )[0]
        for asked, store in (("off", None), ("auto", None), ("on", tmp_path / "kept"))
    )
    assert repr(own_rows(found)) == repr(own_rows(alone))  # by their text: a NaN equals nothing
    joined = [row for row in found.rows if row.addition == "+ symmetry"]
    assert {row.judge for row in joined} == {"model + symmetry"}
    assert joined[-1].metrics["AUROC"].value == 1
    assert not [row for row in alone.rows if row.addition == "+ symmetry"]
    assert repr([row for row in found.rows if row.addition != "+ symmetry"]) == repr([*alone.rows])
    assert repr(more.rows) == repr(found.rows)
    assert "8 of 8 images were compared" in found.notes[-1]


def test_a_set_of_another_subject_has_no_such_rows(tmp_path: Path) -> None:
    dataset = replace(pictures(tmp_path), name="mine")
    (found,) = evaluate_models(dataset, [DIM], EvaluationSettings(intervals=False))
    assert not [row for row in found.rows if row.addition == "+ symmetry"]
    judges = {row.judge for row in found.rows if row.is_baseline}
    assert judges == {
        "model x centre", "distance to the median", "centre prior", "mean grey", "grey deviation",
        "left-right difference",
    }  # fmt: skip
