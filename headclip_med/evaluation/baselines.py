"""Two baselines that have learnt nothing: how far a pixel is from the median, and from the centre.

What they reach is what a set gives away for free, by brightness or by how it was framed. A model
that does not clear them has shown nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Float

CENTRE_SIGMA = 0.25
"""Width of the centre prior, as a fraction of the image's side."""


def median_maps(
    images: Float[np.ndarray, "images rows columns"],
    *,
    inside: Bool[np.ndarray, "images rows columns"] | None = None,
) -> Float[np.ndarray, "images rows columns"]:
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


def centre_maps(count: int, rows: int, columns: int) -> Float[np.ndarray, "images rows columns"]:
    """Give every image the same bell around its centre, highest there."""
    y, x = ((np.arange(side) - (side - 1) / 2) / (CENTRE_SIGMA * side) for side in (rows, columns))
    bell = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 2).astype(np.float32)
    return np.broadcast_to(bell, (count, rows, columns))


def baseline_maps(
    images: Float[np.ndarray, "images rows columns"],
    *,
    inside: Bool[np.ndarray, "images rows columns"] | None = None,
) -> Iterator[tuple[str, Float[np.ndarray, "images rows columns"]]]:
    """Give the maps of both baselines, each with its name for a table."""
    median, centre = BASELINES
    yield median, median_maps(images, inside=inside)
    yield centre, centre_maps(*images.shape)


MapsOf = Callable[
    [Float[np.ndarray, "images rows columns"]], Float[np.ndarray, "images rows columns"]
]
"""Turns grey images into maps."""

BASELINES: Mapping[str, MapsOf] = {
    "distance to the median": median_maps,
    "centre prior": lambda images: centre_maps(*images.shape),
}
"""Both baselines over whole images, by their names in tables; each image's map is its own."""
