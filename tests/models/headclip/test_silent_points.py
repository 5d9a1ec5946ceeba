"""What the paper does not say and an option decides: sources, scales and sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from headclip_med.datasets import Dataset, Sample, read_mask
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.measure import ModelMaps, measure
from headclip_med.evaluation.predictions import predict_dataset
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.maps import patches_of, upsample
from headclip_med.pipelines.bundle.network import predict
from headclip_med.pipelines.screen import screen
from headclip_med.settings import ScoreSettings, ScreenSettings, top_count
from headclip_med.transforms import resize_maps
from headclip_med.volume import SliceSource, Volume
from tests import tiny
from tests.bright import BrightModel
from tests.evaluating import evaluate_dataset
from tests.phantoms import make_grid

BRIEFLY = EvaluationSettings(intervals=False)
PATCHES = ScoreSettings(joint_weight=0.0, top_percent=20.0, local_map="patches")


def patch_probabilities(images: torch.Tensor) -> torch.Tensor:
    """P(abnormal) of each patch, from the trainable form, whose logits are the grid's own."""
    model = tiny.model()
    return model(model.freeze_features(images)).patches[0].detach().softmax(dim=1)[:, 1]


def by_hand(grid: torch.Tensor, counted: int) -> np.ndarray:
    return np.asarray(np.sort(grid.flatten(1).numpy(), axis=1)[:, -counted:].mean(axis=1))


@tries(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4, 5, 8, 14, 16, 32]))
def test_the_grid_of_patches_is_read_back_from_the_stretched_map(
    rows: int, columns: int, patch_px: int
) -> None:
    random = np.random.default_rng(rows * 100 + columns)
    grid = torch.from_numpy(random.random((2, rows, columns)))
    pixels = upsample(grid[:, None], rows * patch_px, columns * patch_px)[:, 0]
    torch.testing.assert_close(patches_of(pixels, patch_px), grid, rtol=0, atol=1e-12)


def test_the_count_of_places_is_one_rule() -> None:
    assert [top_count(16, k) for k in (0.01, 6.25, 20.0, 100.0)] == [1, 1, 3, 16]
    assert top_count(1000, 0.3) == 3


def test_the_local_score_of_patches_averages_the_grid_s_highest() -> None:
    images = tiny.images(3)
    found = tiny.model().fold(scores=PATCHES).predict(images)
    assert found.local_score is not None
    expected = by_hand(patch_probabilities(images), 3)  # 20 % of 4 x 4
    np.testing.assert_allclose(found.local_score.numpy(), expected, atol=1e-5)
    assert tiny.model().fold().predict(images).local_score is None


def test_mirrored_models_average_their_patches_too() -> None:
    images = tiny.images(2)
    settings = HeadClipSettings(local_layers=(2, 3), mirrored=True)
    found = tiny.model(settings).fold(scores=PATCHES).predict(images)
    assert found.local_score is not None
    both = patch_probabilities(images) + patch_probabilities(images.flip(-1)).flip(-1)
    np.testing.assert_allclose(found.local_score.numpy(), by_hand(both / 2, 3), atol=1e-5)


def picture_volume(count: int = 3) -> tuple[Volume, torch.Tensor]:
    """Grey slices of the tiny model's own size, and the images that it is shown of them."""
    grid = make_grid(shape=(count, 16, 16))
    grey = np.random.default_rng(2).random((count, 16, 16), dtype=np.float32)
    volume = Volume(
        voxels=grey,
        grid=grid,
        sources=(SliceSource(Path("made-up")),) * count,
        origin="dicom",
        modality="MR",
    )
    return volume, torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1)


def test_screening_scores_slices_by_patches_where_asked() -> None:
    volume, images = picture_volume()
    settings = ScreenSettings(window="0.5,1", crop="none", batch_size=2)
    found = screen(volume, tiny.model().fold(scores=PATCHES), settings=settings)
    expected = by_hand(patch_probabilities(images), 3)
    np.testing.assert_allclose(found.slice_scores, expected, atol=1e-5)
    pixels = tiny.model().fold(scores=ScoreSettings(joint_weight=0.0, top_percent=20.0))
    assert np.abs(screen(volume, pixels, settings=settings).slice_scores - expected).max() > 1e-3


def test_a_bundle_s_network_carries_the_score_in_a_third_plane() -> None:
    _, images = picture_volume()
    found = predict(tiny.model().fold(scores=PATCHES), images)
    assert found.shape == (3, 3, 16, 16)
    expected = by_hand(patch_probabilities(images), 3)
    np.testing.assert_allclose(found[:, 2, 5, 7].numpy(), expected, atol=1e-5)


def test_screening_refuses_patches_of_a_model_that_has_none() -> None:
    volume, _ = picture_volume()
    with pytest.raises(InvalidSettings, match="Leave local_map at pixels"):
        screen(volume, BrightModel(image_size=16, scores=PATCHES), settings=ScreenSettings())


def test_an_evaluation_scores_images_by_patches_where_asked(tmp_path: Path) -> None:
    random, samples = np.random.default_rng(0), []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(path)
        samples.append(Sample(path, None, number % 2, "one"))
    model = tiny.model().fold(scores=PATCHES)
    (answers,) = predict_dataset(Dataset("noise", tuple(samples), "image"), [model])
    images = torch.stack(
        [
            torch.from_numpy(np.asarray(Image.open(one.image_path)).copy()).permute(2, 0, 1) / 255
            for one in samples
        ]
    )
    expected = by_hand(patch_probabilities(images), 3)
    np.testing.assert_allclose(ModelMaps(answers, PATCHES).local_scores(), expected, atol=1e-5)
    assert measure(answers, PATCHES, BRIEFLY).metrics("images", "local")
    assert (
        np.abs(ModelMaps(answers, ScoreSettings(top_percent=20.0)).local_scores() - expected).max()
        > 1e-3
    )


def test_a_model_without_patches_cannot_be_scored_by_them(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.new("RGB", (8, 8)).save(path)
    dataset = Dataset("one", (Sample(path, None, 1, "one"),), "image")
    (answers,) = predict_dataset(dataset, [BrightModel(image_size=8)])
    with pytest.raises(InvalidSettings, match="Leave local_map at pixels"):
        ModelMaps(answers, PATCHES).local_scores()


@pytest.mark.parametrize(("scale_sigma", "sigma"), [(True, 259 * 16 / 518), (False, 2.0)])
def test_sigma_counts_pixels_of_518_or_of_any_input(scale_sigma: bool, sigma: float) -> None:
    given_px = 259.0 if scale_sigma else 2.0
    scores = ScoreSettings(sigma_px=given_px, scale_sigma=scale_sigma)
    images = tiny.images()
    found = tiny.model().fold(scores=scores).predict(images)
    for map_, logits in zip(found.map, found.logits, strict=True):
        expected = gaussian_filter(logits.double().sigmoid().numpy(), sigma, mode="reflect")
        np.testing.assert_allclose(map_.numpy(), expected, atol=1e-6)


def pictures_of_any_size(folder: Path) -> Dataset:
    """Pictures with masks, of two sizes, every other abnormal."""
    random, samples = np.random.default_rng(1), []
    for number, (rows, columns) in enumerate([(20, 30), (9, 12), (9, 12), (40, 16)]):
        image, mask = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(random.integers(0, 255, (rows, columns, 3)).astype(np.uint8)).save(image)
        marked = np.zeros((rows, columns), dtype=np.uint8)
        marked[2:5, 3 : columns // 2] = 255 * (number % 2)
        Image.fromarray(marked).save(mask)
        is_abnormal = number % 2
        samples.append(Sample(image, mask if is_abnormal else None, is_abnormal, "one"))
    return Dataset("noise", tuple(samples), "pixel")


def test_pixels_can_be_compared_at_each_image_s_own_size(tmp_path: Path) -> None:
    dataset, scores = pictures_of_any_size(tmp_path), ScoreSettings(sigma_px=0.0)
    (answers,) = predict_dataset(dataset, [tiny.model().fold(scores=scores)])
    maps, marked = [], []
    for sample, logits in zip(dataset.samples, answers.logits, strict=True):
        mask = read_mask(sample)
        whole = torch.from_numpy(np.array(logits)).double().sigmoid()[None]
        maps.append(resize_maps(whole, *mask.shape).numpy().ravel())
        marked.append(mask.ravel())
    expected = roc_auc_score(np.concatenate(marked), np.concatenate(maps))
    for metrics in ("exact", "both"):
        native = EvaluationSettings(metrics=metrics, eval_size="native")  # type: ignore[arg-type]
        found = measure(answers, scores, native).estimates("pixels", "map")["AUROC"]
        assert found.value == pytest.approx(expected, abs=1e-6)
        assert found.low <= found.value <= found.high
    at_input = measure(answers, scores, BRIEFLY).metrics("pixels", "map")["AUROC"]
    assert abs(at_input - expected) > 1e-3


def test_an_evaluation_says_where_pixels_were_compared(tmp_path: Path) -> None:
    dataset, model = pictures_of_any_size(tmp_path), tiny.model().fold()
    native, published = (
        evaluate_dataset(dataset, model, eval_size=size, intervals=False)
        for size in ("native", "input")
    )
    assert native.settings["eval_size"] == "native"
    assert "Pixels were compared at each image's own size." in native.notes
    assert published.settings["eval_size"] == "input"
    of_median = [
        next(
            row
            for row in one.rows
            if (row.level, row.method) == ("pixels", "distance to the median")
        )
        for one in (native, published)
    ]
    assert of_median[0].metrics["AUROC"].value != of_median[1].metrics["AUROC"].value
