"""Single images of a set compared with their mirror images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.datasets import Sample, read_image
from headclip_med.models.model import AnomalyModel
from headclip_med.prediction import PatchGrid
from headclip_med.transforms import resize_images, resize_maps
from headclip_med.transforms.symmetry import Sides, compare_sides, fit_line
from headclip_med.transforms.symmetry.differences import SIDE_PX


@dataclass(frozen=True, eq=False)
class MirroredImage:
    """An image and its mirror image in its line of symmetry.

    Attributes:
        pair: Both, at the size that grey levels are compared at.
        for_model: The mirror image, at the model's size.
        is_symmetric: Whether it shows two sides.
    """

    pair: Float[Tensor, "2 3 side side"]
    for_model: Float[Tensor, "3 size size"]
    is_symmetric: bool


def mirror_image(sample: Sample, size_px: int) -> MirroredImage:
    """Read an image, and mirror it at its own size, where lengths along both axes are alike.

    Args:
        sample: The image.
        size_px: Rows and columns of what a model sees.
    """
    picture = np.moveaxis(read_image(sample).astype(np.float32) / 255, -1, 0)
    fit = fit_line(picture.mean(axis=0))
    is_symmetric = fit is not None and fit.is_symmetric
    mirrored = picture
    if fit is not None and is_symmetric:
        mirrored = np.stack([fit.line.mirrored(channel) for channel in picture])
    both = torch.from_numpy(np.stack([picture, mirrored]))
    return MirroredImage(
        resize_images(both, SIDE_PX), resize_images(both[1:], size_px)[0], is_symmetric
    )


def compare_images(
    images: Sequence[MirroredImage], model: AnomalyModel, patches: PatchGrid | None
) -> tuple[Float[np.ndarray, "images size size"], Float[np.ndarray, "images"]]:
    """Say how images differ from their mirror images.

    Args:
        images: With their mirror images.
        model: Is shown the mirror images where it gives local features.
        patches: Its local features of the images themselves; None where it has none.

    Returns:
        Maps in [0, 1] of the model's size, and a score of each image; 0 and NaN without two
        sides.
    """
    size = images[0].for_model.shape[-1]
    maps = np.zeros((len(images), size, size), dtype=np.float32)
    scores = np.full(len(images), np.nan)
    rows = np.array([one.is_symmetric for one in images])
    if not rows.any():
        return maps, scores
    features = None
    if patches is not None:
        other = model.predict(torch.stack([one.for_model for one in images])).patches
        if other is not None:
            chosen = torch.from_numpy(np.flatnonzero(rows))
            features = patches.cpu()[chosen], other.cpu()[chosen]
    pairs = torch.stack([one.pair for one in images if one.is_symmetric])
    found = compare_sides(Sides(pairs[:, 0], pairs[:, 1], features))
    maps[rows] = resize_maps(torch.from_numpy(found.maps), size, size).clamp(0, 1).numpy()
    scores[rows] = found.scores
    return maps, scores
