"""The 22 views of an image that AnoVL averages its image score over."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from headclip_med.prediction import Images

_TURNS = tuple(sign * step * math.pi / 16 for sign, step in (
    (-1, 4), (-1, 3), (-1, 2), (-1, 1), (1, 1), (1, 2), (1, 3), (1, 4)
))  # fmt: skip
_SHIFTS = tuple(
    (size * across, size * down)
    for size in (0.2, 0.1)
    for across, down in ((1, 1), (-1, 1), (-1, -1), (1, -1))
)
"""Across and down, as fractions of half the image."""
_QUARTERS = ((0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
"""Cosine and sine of one, two and three quarter turns."""
_LUMA = (0.299, 0.587, 0.114)


def other_views(images: Images) -> Iterator[Images]:
    """Give the views but the image itself: turned, shifted, mirrored, grey, quarter turns.

    Borders are reflected, pixels interpolated bilinearly. As in the published code they are made of
    the normalised image, so that its grey is not quite that of the picture.
    """
    height, width = images.shape[-2:]
    for angle in _TURNS:
        # As published the turn is one of the square that spans -1 to 1 along both sides.
        turned = torch.tensor(angle)  # its sine in single precision as well
        yield _sampled(images, _turn(float(turned.cos()), float(turned.sin())))
    for across, down in _SHIFTS:
        yield _sampled(images, [[1.0, 0.0, across], [0.0, 1.0, down]])
    yield images.flip(-1)
    luma = torch.tensor(_LUMA).to(images).view(1, 3, 1, 1)
    yield (images * luma).sum(dim=1, keepdim=True).expand_as(images)
    stretch = (height - 1) / (width - 1)
    for cosine, sine in _QUARTERS:
        yield _sampled(images, _turn(cosine, sine, stretch))


def _turn(cosine: float, sine: float, stretch: float = 1.0) -> list[list[float]]:
    return [[cosine, -sine * stretch, 0.0], [sine / stretch, cosine, 0.0]]


def _sampled(images: Tensor, matrix: list[list[float]]) -> Tensor:
    one = torch.tensor(matrix, dtype=torch.float32, device=images.device)
    places = functional.affine_grid(
        one.expand(len(images), -1, -1), list(images.shape), align_corners=True
    )
    return functional.grid_sample(
        images, places.to(images), padding_mode="reflection", align_corners=True
    )
