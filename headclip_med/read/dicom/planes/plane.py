"""One plane in the patient: position, orientation and spacing, mended where that is safe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

UNIT_TOLERANCE = 2e-3
"""Direction cosines written with three decimals still count as unit vectors."""

ROUNDED_TOLERANCE = 0.05
"""Cosines written with one or two decimals are off by this much, and are normalised."""

SHORTEST = 1e-3
"""Of the vectors along a row and a column: shorter ones are no direction."""

FARTHEST_MM = 1e6
"""A position a kilometre away is damage, and its arithmetic could overflow."""


@dataclass(frozen=True)
class Plane:
    """Where one frame lies: the elements of the Image Plane Module (PS3.3 C.7.6.2).

    Attributes:
        position_lps_mm: Centre of the first pixel.
        orientation: Direction cosines along a row, then down a column; unit and at right angles.
        spacing_mm: Between rows, between columns.
        step_mm: To the next slice, else its thickness, as the header says; None where it does not.
        is_mended: Cosines were too coarse for unit vectors and were normalised.
        has_commas: Numbers were written with decimal commas.
        in_patient: False in the frame of an ultrasound volume, whose place in the patient is not
            known.
    """

    position_lps_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]
    step_mm: float | None = None
    is_mended: bool = False
    has_commas: bool = False
    in_patient: bool = True

    @property
    def axes(self) -> Float[np.ndarray, "2 3"]:
        """Unit vectors along a row and down a column."""
        return np.array(self.orientation).reshape(2, 3)


def make_plane(
    origin: tuple[float, ...],
    cosines: tuple[float, ...],
    spacing: tuple[float, ...],
    step_mm: float | None,
) -> Plane | None:
    """Check the numbers of a plane, and make its cosines unit vectors at right angles."""
    if len(origin) != 3 or len(cosines) != 6 or len(spacing) != 2:
        return None
    if max(map(abs, (*origin, *spacing))) > FARTHEST_MM or min(spacing) < 1 / FARTHEST_MM:
        return None
    orientation, is_mended = _orientation(cosines)
    if orientation is None:
        return None
    return Plane(
        (origin[0], origin[1], origin[2]), orientation, (spacing[0], spacing[1]), step_mm, is_mended
    )


@lru_cache(maxsize=1 << 10)
def _orientation(cosines: tuple[float, ...]) -> tuple[tuple[float, ...] | None, bool]:
    """Mend cosines, and tell whether they were too coarse; frames of one object share them."""
    axes = np.array(cosines).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    is_scaled = bool(abs(lengths.mean() - 1) > 2 * ROUNDED_TOLERANCE)
    if is_scaled and lengths.min() > SHORTEST:  # both alike: a factor, which no direction needs
        axes = axes / lengths.mean()
    off = np.abs(axes @ axes.T - np.eye(2)).max()
    if not off <= 2 * ROUNDED_TOLERANCE:
        return None, False
    return _at_right_angles(axes), bool(off > 2 * UNIT_TOLERANCE) or is_scaled


def _at_right_angles(axes: Float[np.ndarray, "2 3"]) -> tuple[float, ...]:
    """Share the error of the angle between both axes, and make them unit vectors."""
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if np.abs(lengths - 1).max() < 1e-12 and abs(axes[0] @ axes[1]) < 1e-12:
        return tuple(axes.ravel().tolist())
    unit = axes / lengths
    total, difference = unit[0] + unit[1], unit[0] - unit[1]
    total /= np.linalg.norm(total)
    difference /= np.linalg.norm(difference)
    mended = np.stack([total + difference, total - difference]) / math.sqrt(2)
    return tuple(mended.ravel().tolist())
