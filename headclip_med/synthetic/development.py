"""Development phantoms: head volumes drawn apart from the corpus, for learning curves only.

They share no code with the training corpus. They are solids in millimetres, cut into slices, with
Hounsfield units and lesions of their own. Their two sides are nearly alike, as those of real heads
are, and their lesions lie on one of them. Choices during training may look at them; no claim rests
on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

SLICES = 16
"""Slices per volume."""

ROWS = 112
"""Rows and columns per slice."""

_FIELD_MM = 230.0
_THICKNESS_MM = 9.0

SPACING_MM = (_THICKNESS_MM, _FIELD_MM / ROWS, _FIELD_MM / ROWS)
"""Between slices, rows and columns."""

_LEAST_VOXELS = 30
"""A lesion with fewer is drawn again."""

_UNLIKE = 0.06
"""Share of the variance of every unevenness that is not the same on both sides."""


@dataclass(frozen=True)
class DevelopmentVolume:
    """A head with at most one kind of lesion."""

    voxels_hu: Float[np.ndarray, "slices rows columns"]
    lesion: Bool[np.ndarray, "slices rows columns"]
    brain: Bool[np.ndarray, "slices rows columns"]
    kind: str
    """Of lesion, or ``healthy``."""
    coronal: bool = False
    """Slices stand one behind the other, from the front, rows from the vertex down; else they lie
    one above the other, from the base, rows from the front. Columns run to the patient's left."""


_Triple = tuple[float | int, float | int, float | int]


@dataclass(frozen=True)
class _Solid:
    """Millimetres from the middle of the head: x to the left, y to the back, z up."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    draw: np.random.Generator
    in_plane: np.ndarray
    """Slice, row and column of the upright head that each voxel shows."""

    def ball(self, centre: _Triple, radii: _Triple) -> np.ndarray:
        """Relative distance: below 1 inside an ellipsoid."""
        parts = zip((self.x, self.y, self.z), centre, radii, strict=True)
        return np.sqrt(sum(((axis - at) / radius) ** 2 for axis, at, radius in parts))

    def wobble(self, size_mm: float | int) -> np.ndarray:
        """Smooth noise with unit standard deviation, nearly alike on both sides."""
        own, shared = (self._noise(size_mm) for _ in range(2))
        shared = shared + shared[:, :, ::-1]
        upright = _UNLIKE**0.5 * own / own.std() + (1 - _UNLIKE) ** 0.5 * shared / shared.std()
        return np.asarray(ndimage.map_coordinates(upright, self.in_plane, order=1, mode="reflect"))

    def _noise(self, size_mm: float | int) -> np.ndarray:
        """Smooth noise that varies over ``size_mm``."""
        pixels = size_mm / (_FIELD_MM / ROWS)
        white = self.draw.standard_normal(self.x.shape)
        return np.asarray(ndimage.gaussian_filter(white, (size_mm / _THICKNESS_MM, pixels, pixels)))


def _solid(draw: np.random.Generator, *, coronal: bool) -> _Solid:
    pixel_mm = _FIELD_MM / ROWS
    in_plane = (np.arange(ROWS) - (ROWS - 1) / 2) * pixel_mm
    along = (np.arange(SLICES) - (SLICES - 1) / 2) * _THICKNESS_MM
    across, down, left = np.meshgrid(along, in_plane, in_plane, indexing="ij")
    tilt = draw.normal(0, 0.06)
    left, down = left - draw.uniform(-8, 8), down - draw.uniform(-8, 8)
    left, down = (
        np.cos(tilt) * left + np.sin(tilt) * down,
        np.cos(tilt) * down - np.sin(tilt) * left,
    )
    number = np.broadcast_to(np.arange(SLICES)[:, None, None], left.shape)
    middle = (ROWS - 1) / 2
    places = np.stack([number, down / pixel_mm + middle, left / pixel_mm + middle])
    lean = draw.normal(0, 0.03)
    if coronal:
        return _Solid(left, across, -down + lean * left, draw, places)
    return _Solid(left, down, across + lean * left, draw, places)


def _healthy(solid: _Solid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head without lesion: its Hounsfield units, the brain, and the depth below the skull."""
    draw = solid.draw
    radii = (draw.uniform(66, 78), draw.uniform(80, 96), draw.uniform(74, 84))
    shell = solid.ball((0, 0, -6), radii) + 0.008 * solid.wobble(30)
    thickness = draw.uniform(0.08, 0.13)
    voxels = np.full(solid.x.shape, -1000.0)
    voxels[shell < 1 + draw.uniform(0.04, 0.1)] = draw.uniform(-40, 50)
    voxels[shell < 1] = draw.uniform(600, 1300)
    brain = shell < 1 - thickness
    voxels[brain] = draw.uniform(26, 32)
    depth = (1 - thickness - shell) / thickness
    voxels[brain & (depth < draw.uniform(0.4, 1.2) + 0.5 * solid.wobble(7))] = draw.uniform(34, 40)
    voxels[brain & (depth < draw.uniform(-0.1, 0.35))] = draw.uniform(4, 14)
    size = draw.uniform(0.3, 1.2)
    back = draw.uniform(-8, 2)
    for side in (-1, 1):
        own = size * (draw.uniform(0.95, 1.05) if draw.random() < 0.85 else draw.uniform(0.7, 1.3))
        horn = solid.ball((side * (9 + 5 * size), back, 10), (6 * own, 30 * own, 14))
        voxels[brain & (horn < 1)] = draw.uniform(4, 12)
    if draw.random() < 0.8:
        falx = (np.abs(solid.x) < draw.uniform(0.8, 2)) & (solid.z > 0) & (np.abs(solid.y) > 25)
        voxels[brain & falx] = draw.uniform(40, 65)
    if draw.random() < 0.5:
        voxels[brain & (solid.ball((0, draw.uniform(5, 15), 2), (3, 3, 6)) < 1)] = 150.0
    if draw.random() < 0.3:
        for side in (-1, 1):
            plexus = solid.ball((side * draw.uniform(17, 21), 26, 8), (3, 4, 5))
            voxels[brain & (plexus < 1)] = draw.uniform(80, 220)
    wide, bone = draw.uniform(3, 8), draw.uniform(300, 900)
    for side in (-1, 1):
        ridge = np.abs(solid.y - 12 - 0.5 * side * solid.x) < wide
        voxels[brain & ridge & (side * solid.x > 18) & (solid.z < -45)] = bone
        eye = solid.ball((side * 32, -62, -52), (17, 17, 14))
        voxels[eye < 1] = -80.0
        voxels[eye < 0.7] = 20.0
    return voxels, brain & (voxels < 200), depth


def _lesion(
    solid: _Solid, brain: np.ndarray, depth: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """How much each voxel changes in HU, and where that is a lesion."""
    draw = solid.draw
    shown = (np.abs(solid.z) < 45) & (np.abs(solid.y) < 65)
    inner = brain & shown & (depth > (0.0 if kind == "collection" else 1.5))
    at = np.argwhere(inner)[draw.integers(inner.sum())]
    centre = (solid.x[tuple(at)], solid.y[tuple(at)], solid.z[tuple(at)])
    size = draw.uniform(18, 34) if kind == "large" else draw.uniform(9, 26)
    stretched = (
        size * draw.uniform(0.7, 1.4),
        size * draw.uniform(0.7, 1.4),
        size * draw.uniform(0.8, 1.4),
    )
    ball = solid.ball(centre, stretched) + 0.15 * solid.wobble(8)
    change = np.zeros_like(ball)
    if kind in ("bleeding", "large"):
        change[ball < 1] = draw.uniform(22, 40)
    elif kind == "infarct":
        change = -draw.uniform(10, 18) / (1 + np.exp(8 * (ball - 1)))
    elif kind == "collection":
        near = solid.ball(centre, (2.5 * size, 2.5 * size, 2 * size))
        reach = draw.uniform(0.8, 1.8) * np.sqrt((1 - near**2).clip(0))
        change[(depth > 0) & (depth < reach)] = draw.choice([-20.0, 30.0, 35.0])
    elif kind == "mass":
        change[ball < 1.7] = -draw.uniform(8, 14)
        change[ball < 1] = draw.uniform(8, 25)
    elif kind == "ring":
        change[ball < draw.uniform(1.3, 2)] = -draw.uniform(6, 13)
        change[ball < 1] = draw.uniform(15, 35)
        change[ball < draw.uniform(0.6, 0.8)] = -draw.uniform(4, 16)
    elif kind == "calcified":
        change[ball < 1.3] = draw.uniform(-8, 12)
        change[(ball < 1) & (solid.wobble(6) > draw.uniform(-1, 0.5))] = draw.uniform(45, 200)
    else:
        spots = (solid.wobble(4) > draw.uniform(1.9, 2.3)) & (solid.ball(centre, (40, 40, 30)) < 1)
        change[spots] = draw.uniform(25, 40)
    change = np.where(brain, change, 0)
    return change, np.abs(change) > 4


def development_volume(seed: int, kind: str, *, coronal: bool = False) -> DevelopmentVolume:
    """Draw one head.

    Args:
        seed: Fixes everything about it.
        kind: ``bleeding``, ``large`` (the same, filling much of a side), ``infarct``,
            ``collection``, ``mass``, ``ring``, ``calcified``, ``many`` or ``healthy``.
        coronal: Cut it upright.
    """
    draw = np.random.default_rng((seed, 20_432))
    solid = _solid(draw, coronal=coronal)
    voxels, brain, depth = _healthy(solid)
    lesion = np.zeros(brain.shape, bool)
    while kind != "healthy" and lesion.sum() < _LEAST_VOXELS:
        change, lesion = _lesion(solid, brain, depth, kind)
    if kind != "healthy":
        voxels = voxels + change
    blurred = ndimage.gaussian_filter(voxels, (0, 0.6, 0.6))
    grain = ndimage.gaussian_filter(draw.standard_normal(voxels.shape), (0, 0.5, 0.5))
    noisy = blurred + draw.uniform(2, 7) * grain / grain.std()
    return DevelopmentVolume(noisy, lesion, brain, kind, coronal)
