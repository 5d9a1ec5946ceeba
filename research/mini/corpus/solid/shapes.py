"""A head's space in millimetres, cut into planes thick enough to blur what they cut obliquely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Field = Float[np.ndarray, "planes rows columns"]
Region = Bool[np.ndarray, "planes rows columns"]
Number = float | int
Triple = tuple[Number, Number, Number]

PARTS = 2
"""Planes within a slice's thickness; their mean is what a scanner measures."""

_WAVES = 7
"""Plane waves in smooth noise."""


@dataclass(frozen=True)
class Solid:
    """Places in millimetres from the middle of the head: x right, y to the back, z up."""

    x: Field
    y: Field
    z: Field
    draw: np.random.Generator

    def uniform(self, low: Number, high: Number) -> float:
        """One number."""
        return float(self.draw.uniform(low, high))

    def happens(self, probability: Number) -> bool:
        """Whether a part is there."""
        return bool(self.draw.random() < probability)

    def oval(self, centre: Triple, radii: Triple) -> Field:
        """Relative distance: below 1 inside an ellipsoid."""
        total = np.zeros_like(self.x)
        for axis, at, radius in zip((self.x, self.y, self.z), centre, radii, strict=True):
            total += np.square((axis - np.float32(at)) * np.float32(1 / radius))
        return np.asarray(np.sqrt(total))

    def noise(self, size_mm: Number) -> Field:
        """Smooth noise with unit standard deviation; it varies over about ``size_mm``."""
        total = np.zeros_like(self.x)
        for _ in range(_WAVES):
            towards = self.draw.standard_normal(3)
            wave = towards / np.linalg.norm(towards) * self.draw.uniform(0.6, 1.6) / size_mm
            a, b, c = (np.float32(one * 2 * np.pi / 2) for one in wave)
            total += np.cos(a * self.x + b * self.y + c * self.z + self.uniform(0, 2 * np.pi))
        return np.asarray(total / np.sqrt(np.float32(_WAVES / 2)))


def draw_solid(
    draw: np.random.Generator,
    levels_mm: Float[np.ndarray, "slices"],
    size_px: int,
    field_mm: Number,
) -> Solid:
    """Lay slices through a head, a little turned, nodded and leaned.

    Args:
        draw: Where all chance comes from.
        levels_mm: Height of each slice; each is ``PARTS`` planes.
        size_px: Rows and columns.
        field_mm: Width of the field of view.
    """
    in_plane = (np.arange(size_px) - (size_px - 1) / 2) * field_mm / size_px
    parts = (np.arange(PARTS) + 0.5) / PARTS - 0.5
    axial = (levels_mm[:, None] + parts * draw.uniform(2, 10)).ravel()
    z, y, x = np.meshgrid(axial, in_plane, in_plane, indexing="ij")
    off = 0.02 * field_mm
    x, y = x - draw.uniform(-off, off), y - draw.uniform(-off, off)
    turn, nod, lean = draw.normal(0, 0.08), draw.normal(0, 0.1), draw.normal(0, 0.04)
    x, y = _turned(x, y, turn)
    y, z = _turned(y, z, nod)
    x, z = _turned(x, z, lean)
    return Solid(x.astype(np.float32), y.astype(np.float32), z.astype(np.float32), draw)


def _turned(a: np.ndarray, b: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(angle) * a + np.sin(angle) * b, np.cos(angle) * b - np.sin(angle) * a
