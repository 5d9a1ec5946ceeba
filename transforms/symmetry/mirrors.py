"""Where a head is mirrored: a line in a picture, a plane in a patient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

Picture = Float[np.ndarray, "rows columns"]

FLAT_DEG = 30.0
"""Slices are mirrored in themselves where the plane of symmetry stands on them; up to so far from
upright on them its mirror images are still slices of the same kind."""


@dataclass(frozen=True)
class MirrorLine:
    """The line in which a picture is its own mirror image: n . (p - c) = offset, n = (sin, cos).

    Attributes:
        angle_deg: How far the line is turned from a column, its upper end to the right.
        offset_px: From the picture's middle c to the line, along its normal n, to the right.
        row_height: Of a pixel, where its width is 1.
    """

    angle_deg: float
    offset_px: float
    row_height: float = 1.0

    @property
    def normal(self) -> Float[np.ndarray, "2"]:
        """Unit normal (row, column), in widths of a pixel."""
        angle = math.radians(self.angle_deg)
        return np.array([math.sin(angle), math.cos(angle)])

    def scaled(self, factor: float) -> MirrorLine:
        """Give the same line in the same picture of so many times as many pixels."""
        return MirrorLine(self.angle_deg, self.offset_px * factor, self.row_height)

    def mirrored(self, picture: Picture) -> Picture:
        """Mirror a picture: interpolated linearly, 0 where the mirror image leaves the frame."""
        normal, size = self.normal, np.diag([self.row_height, 1.0])
        turn = np.linalg.inv(size) @ (np.eye(2) - 2 * np.outer(normal, normal)) @ size
        middle = (np.array(picture.shape) - 1) / 2
        shift = np.linalg.inv(size) @ (2 * self.offset_px * normal)
        start, edge = middle - turn @ middle + shift, "grid-constant"
        return np.asarray(
            ndimage.affine_transform(picture, turn, start, order=1, output=np.float32, mode=edge)
        )


@dataclass(frozen=True)
class MirrorPlane:
    """The plane in which a head is its own mirror image: n . p = offset, p in LPS millimetres.

    Attributes:
        yaw_deg: How far its normal n is turned from the patient's left to the back.
        roll_deg: How far n is tilted from the patient's left to the head.
        offset_mm: Of the plane from the origin, along n.
    """

    yaw_deg: float
    roll_deg: float
    offset_mm: float

    @property
    def normal_lps(self) -> Float[np.ndarray, "3"]:
        """Unit normal, towards the patient's left."""
        yaw, roll = math.radians(self.yaw_deg), math.radians(self.roll_deg)
        flat = math.cos(roll)
        return np.array([flat * math.cos(yaw), flat * math.sin(yaw), math.sin(roll)])

    def mirrored(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Mirror places: p - 2 (n . p - offset) n, in millimetres."""
        normal = self.normal_lps
        return np.asarray(points - 2 * np.outer(points @ normal - self.offset_mm, normal))

    def distance_mm(self, point: Float[np.ndarray, "3"]) -> float:
        """Give how far the plane lies to the patient's left of a place."""
        return float(self.offset_mm - point @ self.normal_lps)

    def stands_on(self, normal_lps: Float[np.ndarray, "3"]) -> bool:
        """Tell whether slices with this normal show both sides: none that are seen from the side.

        A slice's mirror image lies in the same slice where the plane is upright on it.
        """
        lean = abs(float(self.normal_lps @ normal_lps))
        return lean <= math.sin(math.radians(FLAT_DEG))
