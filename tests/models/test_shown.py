"""What is no batch of images in [0, 1] is refused in a sentence, by every method alike."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from headclip_med.errors import InvalidSettings
from headclip_med.models.inference import InferenceModel
from headclip_med.models.registry import METHODS
from headclip_med.models.shown import require_images

IMAGES = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ((IMAGES * 255).byte(), r"type uint8, not of float32\. Give images\.float\(\) / 255"),
        ((IMAGES * 255).long(), "type int64"),
        (IMAGES > 0.5, "type bool"),
        (IMAGES * 255, r"values from .* to 255, outside \[0, 1\]"),
        (IMAGES - 0.5, r"values from -0\.5"),
        (IMAGES * 1.01, "outside"),
        (torch.full_like(IMAGES, torch.nan), "no numbers"),
        (IMAGES.index_fill(3, torch.tensor([4]), torch.nan), "no numbers"),
        (IMAGES * torch.inf, "no numbers"),
        (IMAGES.numpy(), "no tensor"),
        (IMAGES[0], r"shape \(3, 28, 28\)"),
        (IMAGES[:, :1], r"shape \(2, 1, 28, 28\).*expand"),
        (IMAGES.permute(0, 2, 3, 1), r"shape \(2, 28, 28, 3\).*permute"),
        (IMAGES[:0], "no image"),
    ],
)
def test_it_is_said_what_is_wrong_and_what_to_do(
    images: torch.Tensor | np.ndarray, said: str
) -> None:
    with pytest.raises(InvalidSettings, match=f"given to predict .*{said}"):
        require_images(images)


@pytest.mark.parametrize(
    "images", [IMAGES, IMAGES.half(), IMAGES.double(), IMAGES * 0, IMAGES * 0 + 1, IMAGES + 5e-4]
)
def test_images_pass(images: torch.Tensor) -> None:
    require_images(images.clamp(-1e-3, 1 + 1e-3))


def test_every_method_prepares_images_by_the_one_function_that_checks_them() -> None:
    models = [
        one for one in InferenceModel.__subclasses__() if one.__module__.startswith("headclip")
    ]
    assert len(METHODS) > 1
    for one in models:
        own = inspect.getsource(one.prepare)
        assert one.prepare is InferenceModel.prepare or "super().prepare(images)" in own
    assert "require_images(images)" in inspect.getsource(InferenceModel.prepare)
