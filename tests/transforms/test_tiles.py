"""Running a model over slices: whole or through windows, in batches, and out of memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from torch import Tensor

from headclip_med.errors import OutOfMemory
from headclip_med.prediction import Prediction
from headclip_med.settings import ScreenSettings
from headclip_med.transforms import SliceModel, cut_slices, predict_batch


class Echo:
    """Returns the image as the map and its mean as the score; remembers what it was shown."""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, images: Tensor) -> Prediction:
        self.shapes.append(tuple(images.shape))
        with torch.inference_mode():
            first = images[:, 0].clone()
            return Prediction(first, images.mean(dim=(1, 2, 3)), first.logit(1e-6))


class Broken(Echo):
    def __init__(self, error: Exception) -> None:
        super().__init__(8)
        self.error = error

    def predict(self, images: Tensor) -> Prediction:
        raise self.error


def predict_slices(
    model: SliceModel, images: Tensor, settings: ScreenSettings, size_px: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Run a model over slices, batch after batch, as a screening does."""
    found = [
        predict_batch(model, batch, settings=settings, size_px=size_px)
        for batch in images.split(settings.batch_size)
    ]
    maps, scores, local = zip(*found, strict=True)
    return (
        torch.cat(maps).numpy(),
        torch.cat(scores).numpy(),
        None if local[0] is None else torch.cat(local).numpy(),
    )


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@tries(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(4, 16),
    st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    st.integers(1, 5),
)
def test_windows_of_an_echo_reproduce_slices_of_any_size(
    slices: int, rows: int, columns: int, side: int, overlap: float, batch_size: int
) -> None:
    voxels = noise(slices, rows, columns)
    settings = ScreenSettings(tiling="windows", overlap=overlap, batch_size=batch_size)
    maps, scores, _ = predict_slices(Echo(side), cut_slices(voxels), settings=settings)
    assert scores.shape == (slices,)
    if max(rows, columns) > side or rows == columns == side:
        np.testing.assert_allclose(maps, voxels, atol=1e-5)
    assert maps.shape == voxels.shape


class Patches(Echo):
    """Its own local score is half its image's mean."""

    def predict(self, images: Tensor) -> Prediction:
        return replace(super().predict(images), local_score=images.mean(dim=(1, 2, 3)) / 2)


@pytest.mark.parametrize("tiling", ["whole", "windows"])
def test_a_local_score_that_the_model_gives_is_carried_along(
    tiling: Literal["whole", "windows"],
) -> None:
    voxels = noise(5, 20, 12)
    settings = ScreenSettings(tiling=tiling, batch_size=2)
    maps, scores, local = predict_slices(Patches(8), cut_slices(voxels), settings=settings)
    assert maps.shape == voxels.shape
    assert local is not None
    np.testing.assert_allclose(local, scores / 2, rtol=1e-5)
    assert predict_slices(Echo(8), cut_slices(voxels), settings=settings)[2] is None


def test_whole_slices_are_resized_to_the_model_and_back() -> None:
    model = Echo(8)
    rows, columns = np.mgrid[0:16, 0:24].astype(np.float32)
    voxels = np.stack([rows / 16, columns / 24])
    maps, scores, _ = predict_slices(
        model, cut_slices(voxels), settings=ScreenSettings(batch_size=2)
    )
    assert model.shapes == [(2, 3, 8, 8)]
    np.testing.assert_allclose(maps[:, 4:-4, 4:-4], voxels[:, 4:-4, 4:-4], atol=0.02)
    np.testing.assert_allclose(scores, voxels.mean(axis=(1, 2)), atol=0.01)


def test_whole_slices_of_the_model_s_size_come_back_unchanged_in_order() -> None:
    model = Echo(8)
    voxels = noise(5, 8, 8)
    maps, scores, _ = predict_slices(
        model, cut_slices(voxels), settings=ScreenSettings(batch_size=2)
    )
    np.testing.assert_array_equal(maps, voxels)
    np.testing.assert_allclose(scores, voxels.mean(axis=(1, 2)), rtol=1e-5)
    assert [shape[0] for shape in model.shapes] == [2, 2, 1]


def test_another_size_than_the_model_s_own_can_be_asked_for() -> None:
    model = Echo(8)
    predict_slices(model, cut_slices(noise(1, 8, 8)), settings=ScreenSettings(), size_px=12)
    assert model.shapes == [(1, 3, 12, 12)]


@pytest.mark.parametrize("tiling", ["whole", "windows"])
def test_no_forward_pass_exceeds_the_batch_size(tiling: str) -> None:
    model = Echo(8)
    settings = ScreenSettings(tiling=tiling, batch_size=3)  # type: ignore[arg-type]
    predict_slices(model, cut_slices(noise(4, 20, 12)), settings=settings)
    assert max(shape[0] for shape in model.shapes) == 3
    assert {shape[1:] for shape in model.shapes} == {(3, 8, 8)}


def test_a_slice_that_fits_needs_no_windows() -> None:
    model = Echo(16)
    settings = ScreenSettings(tiling="windows")
    predict_slices(model, cut_slices(noise(1, 12, 16)), settings=settings)
    assert model.shapes == [(1, 3, 16, 16)]


def test_the_score_of_a_slice_is_its_worst_window_s() -> None:
    # Windows side by side, no overlap: means 0, 0.5, 0 and 0.25; and a healthy slice beside it.
    voxels = np.zeros((2, 8, 32), dtype=np.float32)
    voxels[0, :, 8:16], voxels[0, :, 24:] = 0.5, 0.25
    settings = ScreenSettings(tiling="windows", overlap=0.0)
    _, scores, _ = predict_slices(Echo(8), cut_slices(voxels), settings=settings)
    np.testing.assert_allclose(scores, [0.5, 0], atol=1e-6)


def test_one_window_alone_cannot_push_the_score_above_its_own() -> None:
    settings = ScreenSettings(tiling="windows", overlap=0.5)
    voxels = np.zeros((1, 8, 24), dtype=np.float32)
    voxels[0, :, 8:16] = 1  # window scores 0, 0.5, 1, 0.5, 0
    _, scores, _ = predict_slices(Echo(8), cut_slices(voxels), settings=settings)
    assert 0.75 < scores[0] <= 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("tiling", ["whole", "windows"])
def test_running_out_of_memory_says_what_to_do(error: Exception, tiling: str) -> None:
    settings = ScreenSettings(tiling=tiling, batch_size=4)  # type: ignore[arg-type]
    with pytest.raises(OutOfMemory, match="smaller batch_size") as caught:
        predict_slices(Broken(error), cut_slices(noise(1, 20, 20)), settings=settings)
    assert caught.value.__cause__ is error


def test_another_failure_of_the_model_passes_through() -> None:
    model = Broken(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        predict_slices(model, cut_slices(noise(1, 8, 8)), settings=ScreenSettings())
