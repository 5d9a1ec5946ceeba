"""The line of symmetry of one picture, by the smallest difference to its mirror image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage, optimize

from headclip_med.transforms.symmetry.heads import find_head, overlap
from headclip_med.transforms.symmetry.mirrors import MirrorLine, Picture

FIT_PX = 80
"""Longer side of the picture that a line is fitted in; places are found to a fifth of a pixel."""

WIDEST_DEG = 40.0
"""A head that is turned further than this from upright is not looked for."""

ALIKE = 0.85
"""Dice of the head's outline and its mirror image; below it the head is seen from the side, or is
no head. Of drawn heads and of volumes' slices that show both sides 0.90 and more."""

_ANGLES_DEG = np.arange(-WIDEST_DEG, WIDEST_DEG + 1, 5.0)
_STEPS_PX = (-6.0, -3.0, 0.0, 3.0, 6.0)
_PX_PER_DEG = 0.35
"""So that a step of the search means as much for the offset as for the angle."""


@dataclass(frozen=True)
class LineFit:
    """A picture's line of symmetry.

    Attributes:
        line: In pixels of the picture.
        alike: Dice of the head's outline and its mirror image.
    """

    line: MirrorLine
    alike: float

    @property
    def is_symmetric(self) -> bool:
        """Whether what is seen has two sides."""
        return self.alike >= ALIKE


def fit_line(grey: Picture, row_height: float = 1.0) -> LineFit | None:
    """Find the line in which a picture differs least from its mirror image.

    What is minimised is sum |I - mirror(I)| / sum (I + mirror(I)) of the head alone, over angle and
    offset: coarsely on a grid around its centroid, then by Nelder and Mead. A lesion on one side
    moves it little, since absolute differences do not follow what is far off.

    Args:
        grey: Values in [0, 1].
        row_height: Of a pixel, where its width is 1.

    Returns:
        None where there is nothing bright.
    """
    factor = FIT_PX / max(grey.shape[0] * row_height, grey.shape[1])
    small = np.asarray(_shrunk(grey, factor, row_height))
    head = find_head(small)
    if not head.any():
        return None
    seen = ndimage.gaussian_filter(np.where(head, small, 0), 1.0).astype(np.float32)
    middle = np.array(ndimage.center_of_mass(head)) - (np.array(head.shape) - 1) / 2

    def unlike(angle_deg: float, offset_px: float) -> float:
        other = MirrorLine(angle_deg, offset_px).mirrored(seen)
        return float(np.abs(seen - other).sum() / (seen + other).sum())

    starts = [
        (angle, float(middle @ MirrorLine(angle, 0.0).normal) + step)
        for angle in _ANGLES_DEG.tolist()
        for step in _STEPS_PX
    ]
    angle, offset = min(starts, key=lambda start: unlike(*start))
    at = np.array([angle * _PX_PER_DEG, offset])
    simplex = at + np.array([[0.0, 0.0], [1.2, 0.0], [0.0, 1.2]])
    found = optimize.minimize(
        lambda place: unlike(place[0] / _PX_PER_DEG, place[1]), at, method="Nelder-Mead",
        options={"xatol": 0.01, "fatol": 1e-6, "initial_simplex": simplex},
    ).x  # fmt: skip
    line = MirrorLine(float(found[0]) / _PX_PER_DEG, float(found[1]))
    alike = overlap(head, line.mirrored(head.astype(np.float32)) > 0.5)
    own = line.scaled(1 / factor)
    return LineFit(MirrorLine(own.angle_deg, own.offset_px, row_height), alike)


def _shrunk(
    grey: Picture, factor: float, row_height: float
) -> Float[np.ndarray, "small_rows small_columns"]:
    """Resize to square pixels, averaged where there are fewer of them."""
    import torch

    from headclip_med.transforms.slices import resize_maps

    rows, columns = (
        max(1, round(side * factor * height))
        for side, height in zip(grey.shape, (row_height, 1.0), strict=True)
    )
    picture = torch.from_numpy(np.ascontiguousarray(grey, dtype=np.float32))
    return np.asarray(resize_maps(picture[None], rows, columns)[0].numpy())
