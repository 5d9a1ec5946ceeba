"""Judges that have learnt nothing, which stand beside a model.

What they reach is what a set gives away for free, by brightness, by how it was framed, or because a
healthy head looks alike on both sides: a model that does not clear them has shown nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from headclip_med.metrics.scores import Maps, Masks, Scores

CENTRE_SIGMA = 0.25
"""Width of the centre prior, as a fraction of the image's side."""

SIDES_PX = 224
"""Rows and columns of the images that left and right are compared in."""

_BODY_GREY, _BLUR_PX = 0.1, 2.0


def median_maps(images: Maps, *, inside: Masks | None = None) -> Maps:
    """Map each grey image to |I - median of I|.

    Args:
        images: Grey levels in [0, 1].
        inside: The median is taken here, and the map is 0 elsewhere; the whole image by default.
            Knowing the body is more than a model is told, which only helps the baseline.
    """
    if inside is None:
        return np.asarray(np.abs(images - np.median(images, axis=(1, 2), keepdims=True)))
    maps = np.zeros_like(images)
    for image, body, one in zip(images, inside, maps, strict=True):
        if body.any():
            one[body] = np.abs(image[body] - np.median(image[body]))
    return maps


def centre_maps(count: int, rows: int, columns: int) -> Maps:
    """Give every image the same bell around its centre, highest there."""
    y, x = ((np.arange(side) - (side - 1) / 2) / (CENTRE_SIGMA * side) for side in (rows, columns))
    bell = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 2).astype(np.float32)
    return np.broadcast_to(bell, (count, rows, columns))


def baseline_maps(images: Maps, *, inside: Masks | None = None) -> Iterator[tuple[str, Maps]]:
    """Give the maps of both baselines that have one, each with its name for a table."""
    median, centre = BASELINES
    yield median, median_maps(images, inside=inside)
    yield centre, centre_maps(*images.shape)


def mean_grey(images: Maps) -> Scores:
    """Score an image by its mean grey level."""
    return np.asarray(images.mean(axis=(1, 2), dtype=np.float64))


def grey_deviation(images: Maps) -> Scores:
    """Score an image by the standard deviation of its grey levels."""
    return np.asarray(images.std(axis=(1, 2), dtype=np.float64))


def left_right_difference(images: Float[np.ndarray, "images 224 224"]) -> Scores:
    """Score an image by mean |I - flip(I)|, once its body stands in the middle.

    The body is what is brighter than 0.1; its centroid is moved to the middle column, and the image
    is blurred with a Gaussian of 2 px.

    Args:
        images: Grey levels in [0, 1].
    """
    return np.array([_left_right(image) for image in images])


def _left_right(image: Float[np.ndarray, "224 224"]) -> float:
    body, middle = image > _BODY_GREY, (image.shape[1] - 1) / 2
    column = ndimage.center_of_mass(body)[1] if body.any() else middle
    moved = ndimage.shift(image, (0, middle - column), order=1)
    soft = ndimage.gaussian_filter(moved, _BLUR_PX)
    return float(np.abs(soft - soft[:, ::-1]).mean(dtype=np.float64))


MapsOf = Callable[[Maps], Maps]
"""Turns grey images into maps."""

ScoresOf = Callable[[Maps], Scores]
"""Turns grey images into a score each."""

BASELINES: Mapping[str, MapsOf] = {
    "distance to the median": median_maps,
    "centre prior": lambda images: centre_maps(*images.shape),
}
"""Baselines that have a map, by their names in tables; each image's map is its own."""

IMAGE_BASELINES: Mapping[str, ScoresOf] = {
    "mean grey": mean_grey,
    "grey deviation": grey_deviation,
    "left-right difference": left_right_difference,
}
"""Baselines that judge images of ``SIDES_PX`` as a whole, by their names in tables."""
