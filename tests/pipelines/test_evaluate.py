"""Evaluation: a model whose answers are known gets the values that follow from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from headclip_med.datasets import Dataset, Sample, open_dataset
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation import results
from headclip_med.evaluation.baselines import centre_maps, median_maps
from headclip_med.evaluation.results import Estimate, Evaluation, ResultRow, average
from headclip_med.geometry import Grid
from headclip_med.metrics import Sampled, image_metrics, ranking
from headclip_med.models.maps import log_odds
from headclip_med.pipelines.acceptance import LEAST_LESION_PX, evaluate_acceptance, to_volume
from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings, ScreenSettings
from headclip_med.synthetic.acceptance import Phantom
from tests.evaluating import evaluate_dataset

SIDE = 16


class Bright:
    """Calls bright what is abnormal; the global score is its mean, or inverted on purpose."""

    image_size = SIDE
    threshold = 0.5

    def __init__(self, *, joint_weight: float = 0.5, inverted: bool = False) -> None:
        self.scores = ScoreSettings(joint_weight=joint_weight)
        self.inverted = inverted
        self.batches: list[int] = []

    def describe(self) -> Mapping[str, object]:
        return {"name": "bright"}

    def with_scores(self, scores: ScoreSettings) -> Bright:
        other = Bright(joint_weight=scores.joint_weight, inverted=self.inverted)
        other.image_size = self.image_size
        return other

    def predict(self, images: Tensor) -> Prediction:
        self.batches.append(len(images))
        maps = images.mean(dim=1)
        mean = maps.mean(dim=(1, 2))
        exact = maps.double()
        score = 1 - mean if self.inverted else mean
        return Prediction(maps, score, log_odds(exact, 1 - exact))


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "IMAGE_REPEATS", 40)
    monkeypatch.setattr(ranking, "PIXEL_REPEATS", 10)


def picture(path: Path, spot: int | None = None, *, side: int = SIDE) -> Path:
    """A dark square with a bright one of half its side at ``spot`` per cent of brightness."""
    pixels = np.full((side, side), 30, dtype=np.uint8)
    if spot is not None:
        pixels[: side // 2, : side // 2] = spot
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def category(root: Path, *, side: int = SIDE) -> Path:
    """Three good images and three with a bright defect, in the layout of MVTec AD."""
    for number in range(3):
        picture(root / f"test/good/{number}.png", side=side)
        picture(root / f"test/spot/{number}.png", 200 + number, side=side)
        truth = np.zeros((side, side), dtype=np.uint8)
        truth[: side // 2, : side // 2] = 255
        (root / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth).save(root / f"ground_truth/spot/{number}_mask.png")
    return root


def row(found: Evaluation, level: str, judge: str, score: str) -> ResultRow:
    return next(r for r in found.rows if (r.level, r.method, r.score) == (level, judge, score))


def value(found: Evaluation, level: str, judge: str, score: str, metric: str = "AUROC") -> float:
    return row(found, level, judge, score).metrics[metric].value


@pytest.mark.parametrize("side", [SIDE, 3 * SIDE])
def test_a_perfect_model_gets_one_everywhere(tmp_path: Path, side: int) -> None:
    found = evaluate_dataset(open_dataset(f"mvtec:{category(tmp_path, side=side)}"), Bright())
    assert found.counts == {"normal": 3, "abnormal": 3}
    for place in (
        ("pixels", "map"),
        ("images", "global"),
        ("images", "local"),
        ("images", "joint"),
    ):
        metrics = row(found, place[0], "model", place[1]).metrics
        assert {name: m.value for name, m in metrics.items()} == pytest.approx(
            dict.fromkeys(metrics, 1.0)
        )
        assert metrics["AUROC"].low <= metrics["AUROC"].value <= metrics["AUROC"].high


def test_the_joint_score_blends_the_two(tmp_path: Path) -> None:
    dataset = open_dataset(f"mvtec:{category(tmp_path)}")
    found = evaluate_dataset(dataset, Bright(inverted=True))
    assert value(found, "images", "model", "global") == 0
    assert value(found, "images", "model", "local") == 1
    only_global = evaluate_dataset(dataset, Bright(inverted=True, joint_weight=1.0))
    assert value(only_global, "images", "model", "joint") == 0


def test_the_trivial_baselines_stand_beside_the_model(tmp_path: Path) -> None:
    found = evaluate_dataset(open_dataset(f"mvtec:{category(tmp_path)}"), Bright())
    assert [(r.level, r.judge, r.score) for r in found.rows] == [
        ("pixels", "model", "map"),
        ("pixels", "model x centre", "map"),
        ("pixels", "distance to the median", "map"),
        ("pixels", "centre prior", "map"),
        ("images", "model", "global"),
        ("images", "model", "local"),
        ("images", "model", "joint"),
        ("images", "model x centre", "local"),
        ("images", "distance to the median", "local"),
        ("images", "centre prior", "local"),
        ("images", "mean grey", "global"),
        ("images", "grey deviation", "global"),
        ("images", "left-right difference", "global"),
    ]
    assert value(found, "images", "distance to the median", "local") == 1
    assert value(found, "images", "centre prior", "local") == 0.5


def test_batches_and_sizes_follow_the_settings(tmp_path: Path) -> None:
    model = Bright()
    found = evaluate_dataset(
        open_dataset(f"mvtec:{category(tmp_path)}"), model, batch_size=4, image_size=8
    )
    assert model.batches == [4, 2]
    assert found.image_size == 8


def test_a_set_without_masks_has_image_metrics_only(tmp_path: Path) -> None:
    picture(tmp_path / "no/1.png")
    picture(tmp_path / "yes/1.png", 200)
    found = evaluate_dataset(open_dataset(f"BrainMRI:{tmp_path}"), Bright())
    assert {r.level for r in found.rows} == {"images"}


def test_a_set_of_lesions_only_has_pixel_metrics_only(tmp_path: Path) -> None:
    picture(tmp_path / "images/1.png", 200)
    Image.fromarray(np.eye(SIDE, dtype=np.uint8) * 255).save(picture(tmp_path / "masks/1.png"))
    found = evaluate_dataset(open_dataset(f"KvasirSEG:{tmp_path}"), Bright())
    assert {r.level for r in found.rows} == {"pixels"}


def test_where_no_label_is_given_the_mask_tells(tmp_path: Path) -> None:
    for number, marked in enumerate((0, 255)):
        picture(tmp_path / f"images/{number}.png", 200 if marked else None)
        picture(tmp_path / f"masks/{number}.png")
        truth = np.zeros((SIDE, SIDE), dtype=np.uint8)
        truth[:8, :8] = marked
        Image.fromarray(truth).save(tmp_path / f"masks/{number}.png")
    found = evaluate_dataset(open_dataset(f"folder:{tmp_path}"), Bright())
    assert found.counts == {"normal": 1, "abnormal": 1}
    assert value(found, "images", "model", "local") == 1


def test_metrics_are_averaged_over_categories_not_pooled(tmp_path: Path) -> None:
    # Pooled, the bright background of the second category would outrank the first one's defects.
    category(tmp_path / "a")
    for path in category(tmp_path / "b").glob("test/*/*.png"):
        Image.fromarray(np.asarray(Image.open(path)) // 2 + 128).save(path)
    found = evaluate_dataset(open_dataset(f"mvtec:{tmp_path}"), Bright())
    assert value(found, "pixels", "model", "map") == 1
    assert found.counts == {"normal": 6, "abnormal": 6}


def test_a_store_changes_nothing_and_is_asked_instead_of_the_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        category(tmp_path / "set" / name)
    dataset, store = open_dataset(f"mvtec:{tmp_path / 'set'}"), tmp_path / "store"
    without = evaluate_dataset(dataset, Bright(), metrics="both")
    for expected in ([4, 2, 4, 2], []):
        model = Bright()
        found = evaluate_dataset(dataset, model, metrics="both", store=store, batch_size=4)
        assert found.to_json() == without.to_json()
        assert model.batches == expected


def test_each_category_s_rows_are_kept_and_averaged(tmp_path: Path) -> None:
    category(tmp_path / "a")
    for path in category(tmp_path / "b").glob("test/*/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    found = evaluate_dataset(open_dataset(f"mvtec:{tmp_path}"), Bright(), intervals=False)
    assert list(found.categories) == ["a", "b"]
    aurocs = [
        next(r for r in rows if r.level == "pixels").metrics["AUROC"].value
        for rows in found.categories.values()
    ]
    assert aurocs == [1, 0]
    assert value(found, "pixels", "model", "map") == 0.5
    assert not row(found, "pixels", "model", "map").metrics["AUROC"].has_interval
    assert found.settings["intervals"] is False
    single = evaluate_dataset(open_dataset(f"mvtec:{tmp_path / 'a'}"), Bright(), intervals=False)
    assert single.categories == {}


def test_training_images_are_left_out(tmp_path: Path) -> None:
    picture(category(tmp_path) / "train/good/9.png")
    found = evaluate_dataset(open_dataset(f"mvtec:{tmp_path}"), Bright())
    assert found.counts == {"normal": 3, "abnormal": 3}


def test_a_limit_thins_each_category_evenly_and_says_so(tmp_path: Path) -> None:
    found = evaluate_dataset(open_dataset(f"mvtec:{category(tmp_path)}"), Bright(), limit=4)
    assert found.counts == {"normal": 2, "abnormal": 2}
    assert any("At most 4 images" in note for note in found.notes)
    with pytest.raises(InvalidSettings, match="limit must be a whole number from 1"):
        evaluate_dataset(open_dataset(f"mvtec:{tmp_path}"), Bright(), limit=0)


def test_a_defect_too_small_for_the_model_is_said(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", side=64)
    dot = np.zeros((64, 64), dtype=np.uint8)
    dot[5, 5] = 255
    Image.fromarray(dot).save(tmp_path / "m.png")
    samples = (Sample(image, tmp_path / "m.png", 1, "any"), Sample(image, None, 0, "any"))
    found = evaluate_dataset(Dataset("tiny", samples, "pixel"), Bright())
    assert found.vanished == 1
    assert "In 1 images" in found.notes[0]
    assert math.isnan(value(found, "pixels", "model", "map"))


def test_an_undefined_category_is_left_out_of_the_mean() -> None:
    none, half = (Sampled({"AP": v}, {"AP": np.full(3, v)}) for v in (math.nan, 0.5))
    assert average([none, half]) == {"AP": Estimate(0.5, 0.5, 0.5)}
    assert math.isnan(average([none])["AP"].value)


def test_the_median_s_distance_by_hand() -> None:
    image = np.array([[[0.1, 0.2, 0.9]]], dtype=np.float32)
    np.testing.assert_allclose(median_maps(image), [[[0.1, 0.0, 0.7]]], atol=1e-6)
    inside = np.array([[[False, True, True]]])
    np.testing.assert_allclose(median_maps(image, inside=inside), [[[0, 0.35, 0.35]]], atol=1e-6)
    assert (median_maps(image, inside=~inside & inside) == 0).all()


def test_the_centre_prior_is_highest_in_the_middle_and_scaled_to_the_sides() -> None:
    maps = centre_maps(2, 5, 9)
    assert maps.shape == (2, 5, 9)
    assert maps[0].argmax() == 2 * 9 + 4
    assert maps[1, 2, 4] == 1
    np.testing.assert_allclose(centre_maps(1, 4, 8), centre_maps(1, 4, 8)[:, ::-1, ::-1])


def test_the_table_shows_percent_and_the_json_full_precision() -> None:
    metrics = {"AUROC": Estimate(0.91234, 0.8, 0.95), "AP": Estimate(math.nan, math.nan, math.nan)}
    rows = (ResultRow("pixels", "model", "map", metrics),)
    found = Evaluation("set", {"normal": 1}, 112, None, {}, {}, rows, ("A note.",))
    text = results.to_markdown([found])
    assert "| pixels | model | map | exact | 91.2 [80.0, 95.0] | undefined |" in text
    assert "A note." in text
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert back["rows"][0]["metrics"]["AUROC"]["value"] == 0.91234
    assert back["rows"][0]["metrics"]["AP"]["low"] is None
    assert back["rows"][0]["protocol"] == "exact"


def phantom(number: int, *, lesion_px: tuple[int, ...] = ()) -> Phantom:
    """A plain head of four slices; the first slices have a bright lesion of so many pixels."""
    voxels = np.full((4, 32, 32), -1000.0, dtype=np.float32)
    body = np.zeros(voxels.shape, dtype=bool)
    body[:, 4:28, 4:28] = True
    voxels[body] = 30
    lesion = np.zeros(voxels.shape, dtype=bool)
    for index, count in enumerate(lesion_px):
        block = np.zeros(64, dtype=bool)
        block[:count] = True
        lesion[index, 8:16, 8:16] = block.reshape(8, 8)
    voxels[lesion] = 75
    kind = "mass" if lesion_px else "healthy"
    return Phantom(voxels + number * 0.01, lesion, body, kind, (6.5, 1.75, 1.75), number)


def test_a_phantom_is_shown_as_a_head_ct_on_its_own_grid() -> None:
    volume = to_volume(phantom(0))
    assert (volume.modality, volume.body_part, volume.origin) == ("CT", "HEAD", "dicom")
    corner = np.array([[3.0, 2.0, 1.0]])
    np.testing.assert_allclose(volume.grid.to_lps_mm(corner), [[1.75, 3.5, 19.5]])
    assert isinstance(volume.grid, Grid)


def test_acceptance_of_a_model_that_sees_the_lesion() -> None:
    phantoms = [phantom(0), phantom(1, lesion_px=(64, 64, 64)), phantom(2), phantom(3)]
    found = evaluate_acceptance(
        Bright(joint_weight=0.25), settings=ScreenSettings(batch_size=3), phantoms=phantoms
    )
    assert found.counts == {"healthy volumes": 3, "volumes with a lesion": 1}
    for level in ("slices", "volumes, top-slices", "volumes, max"):
        assert value(found, level, "model", "joint") == 1
        assert value(found, level, "distance to the median", "local") == 1
    assert value(found, "pixels, inside the body", "model", "map") > 0.99


def test_air_helps_on_whole_slices_and_not_inside_the_body() -> None:
    # A dark lesion of 64 px beats the air around the head, and loses to all of the brain.
    lesioned = phantom(1, lesion_px=(64,))
    lesioned.voxels_hu[lesioned.lesion] = 10
    model = Bright()
    model.image_size = 32
    found = evaluate_acceptance(model, phantoms=[phantom(0), lesioned])
    air, brain = 8 * (32 * 32 - 24 * 24), 8 * 24 * 24 - 64
    whole = value(found, "pixels, whole slice", "model", "map")
    assert whole == pytest.approx(air / (air + brain))
    assert value(found, "pixels, inside the body", "model", "map") == 0


@pytest.mark.parametrize(("pixels", "expected"), [(LEAST_LESION_PX, 0.5), (1, 1.0)])
def test_a_slice_with_a_sliver_of_lesion_counts_neither_way(pixels: int, expected: float) -> None:
    # The second slice's lesion is dark, so it ranks last: as a positive it halves the AUROC.
    lesioned = phantom(1, lesion_px=(64, pixels, 0, 0))
    lesioned.voxels_hu[1][lesioned.lesion[1]] = -20
    found = evaluate_acceptance(Bright(), phantoms=[phantom(0), lesioned])
    assert value(found, "slices", "model", "global") == expected


def test_each_kind_of_score_comes_from_the_pipeline_itself() -> None:
    phantoms = [phantom(0), phantom(1, lesion_px=(64, 64)), phantom(2)]
    upright = evaluate_acceptance(Bright(), phantoms=phantoms)
    inverted = evaluate_acceptance(Bright(inverted=True), phantoms=phantoms)
    assert value(upright, "slices", "model", "global") == 1
    assert value(inverted, "slices", "model", "global") == 0
    assert value(inverted, "slices", "model", "local") == 1


def test_slices_of_a_volume_are_resampled_together() -> None:
    # One volume is ranked right and one wrong: drawing volumes gives 0, a half or 1, drawing single
    # slices would nearly always give a mixture.
    right, wrong = phantom(1, lesion_px=(64,) * 4), phantom(3, lesion_px=(64,) * 4)
    wrong.voxels_hu[wrong.lesion] = -20
    found = evaluate_acceptance(Bright(), phantoms=[phantom(0), right, wrong])
    auroc = row(found, "slices", "model", "global").metrics["AUROC"]
    assert (auroc.low, auroc.value, auroc.high) == (0, 0.5, 1)


def test_the_same_evaluation_twice_is_the_same(tmp_path: Path) -> None:
    dataset = open_dataset(f"mvtec:{category(tmp_path)}")
    first, second = (evaluate_dataset(dataset, Bright()).to_json() for _ in range(2))
    assert first == second


def test_image_scores_are_the_library_s(tmp_path: Path) -> None:
    dataset = open_dataset(f"mvtec:{category(tmp_path)}")
    worse = replace(dataset, samples=dataset.samples[:4])
    found = evaluate_dataset(worse, Bright())
    expected = image_metrics(np.array([0.1, 0.1, 0.1, 0.9]), np.array([0, 0, 0, 1]))
    got = {k: v.value for k, v in row(found, "images", "model", "local").metrics.items()}
    assert got == pytest.approx(expected)
