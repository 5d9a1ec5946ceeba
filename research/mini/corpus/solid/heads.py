"""CT-like heads as solids, cut from base to vertex: what every slice of a healthy study shows.

``heads.py`` draws single slices in the image plane. Here one head gives all slices of a batch, in
the square that holds it, so small caps near the vertex, obliquely cut bone and the crowded base
are as frequent as in a study, most of them healthy, beside slices through the same head's lesion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from research.mini.corpus.solid.shapes import (
    PARTS,
    Field,
    Number,
    Region,
    Solid,
    Triple,
    draw_solid,
)

TIGHT = 0.75
"""Share of heads that fill the picture, as they do where a study is cropped to the body."""

FOCUSED = 0.5
"""Share of a head's slices around the level where a lesion may be."""


@dataclass(frozen=True)
class SolidHead:
    """A healthy head.

    Attributes:
        solid: Its space.
        voxels_hu: Hounsfield units of every plane.
        brain: Where a lesion may lie.
        depth_mm: Below the inner face of the skull.
        ventricles: Where they are.
        focus_mm: Height that many slices lie around, and every lesion.
    """

    solid: Solid
    voxels_hu: Field
    brain: Region
    depth_mm: Field
    ventricles: Region
    focus_mm: float


def draw_solid_head(draw: np.random.Generator, slices: int, size_px: int) -> SolidHead:
    """Draw a healthy head; in three of four, the square that holds it fills the picture.

    Args:
        draw: Where all chance comes from.
        slices: ``FOCUSED`` of them lie around one level, the others evenly from base to vertex.
        size_px: Rows and columns.
    """
    radii = (draw.uniform(62, 80), draw.uniform(78, 100), draw.uniform(66, 88))
    scalp_mm = draw.uniform(2, 9)
    field = 2 * (radii[1] + scalp_mm) * (1 + 2 * draw.uniform(0.02, 0.09))
    if draw.random() > TIGHT:
        field = max(field, draw.uniform(210, 270))
    low, high = -draw.uniform(0.5, 0.95) * radii[2], draw.uniform(0.8, 1.06) * radii[2]
    focus = draw.uniform(-0.4, 0.75) * radii[2]
    count = round(FOCUSED * slices)
    near = focus + draw.uniform(-22, 22, count)
    levels = np.sort(np.concatenate([np.linspace(low, high, slices - count), near]))
    return _paint(draw_solid(draw, levels, size_px, field), radii, scalp_mm, focus)


def thick_slices(planes: Field) -> Float[np.ndarray, "slices rows columns"]:
    """Average the planes within each slice."""
    return np.asarray(planes.reshape(-1, PARTS, *planes.shape[1:]).mean(axis=1))


def _paint(solid: Solid, radii: Triple, scalp_mm: Number, focus_mm: Number) -> SolidHead:
    hu = np.full_like(solid.x, -1000)
    out_mm, thickness = _shell(solid, radii)
    _paint_skull(solid, hu, out_mm, thickness, scalp_mm)
    depth = -out_mm - thickness
    brain = depth > 0
    _paint_matter(solid, hu, brain, depth)
    ventricles = _paint_ventricles(solid, hu, brain)
    _paint_cisterns(solid, hu, brain, depth)
    _paint_membranes(solid, hu, brain, depth)
    _paint_calcium(solid, hu, brain)
    _paint_base(solid, hu, out_mm, radii)
    return SolidHead(solid, hu, brain & (hu > -20) & (hu < 60), depth, ventricles, focus_mm)


def _shell(solid: Solid, radii: Triple) -> tuple[Field, Field]:
    """Distance outside the skull's outer face, in millimetres, and the skull's thickness."""
    narrowing = 1 + solid.uniform(-0.1, 0.1) * solid.y / np.float32(radii[1])
    squared = [np.square(axis / np.float32(r)) for axis, r in
               zip((solid.x * narrowing, solid.y, solid.z + 4), radii, strict=True)]  # fmt: skip
    relative = np.sqrt(squared[0] + squared[1] + squared[2]) + 0.008 * solid.noise(40)
    mean = float(np.mean(radii))
    thick = solid.uniform(3.5, 9) * (1 + 0.25 * solid.noise(45)).clip(0.5)
    front = 1 + solid.uniform(0, 0.6) * (-solid.y / np.float32(radii[1])).clip(0, 1)
    return (relative - 1) * np.float32(mean), thick * front


def _paint_skull(solid: Solid, hu: Field, out_mm: Field, thick: Field, scalp_mm: Number) -> None:
    hu[out_mm < scalp_mm * (1 + 0.25 * solid.noise(30))] = solid.uniform(-30, 60)
    if solid.happens(0.4):
        hu[(out_mm > 0) & (out_mm < 0.5 * scalp_mm)] = solid.uniform(-100, -40)
    hu[out_mm < 0] = solid.uniform(650, 1500)
    if solid.happens(0.6):
        middle = np.abs(out_mm + thick / 2) < thick * solid.uniform(0.05, 0.3)
        hu[middle & (out_mm < 0)] = solid.uniform(250, 700)
    if solid.happens(0.4):
        seam = np.abs(solid.y - solid.uniform(-30, 30) + 4 * solid.noise(9)) < 1
        seam |= np.abs(solid.x + 3 * solid.noise(9)) < 1
        hu[seam & (solid.z > 15) & (out_mm < 0)] = solid.uniform(60, 300)


def _paint_matter(solid: Solid, hu: Field, brain: Region, depth: Field) -> None:
    """White and grey matter, folds with fluid in them, deep nuclei."""
    white, grey = solid.uniform(22, 31), solid.uniform(32, 41)
    fluid = solid.uniform(2, 14)
    hu[brain] = white
    folds = solid.noise(7)
    hu[brain & (depth < solid.uniform(2, 6) + 2.5 * folds)] = grey
    shrunk = solid.uniform(0, 1)
    hu[brain & (depth < 1 + 14 * shrunk) & (folds > 1.5 - 1.5 * shrunk)] = fluid
    hu[brain & (depth < 3.5 * shrunk * (1 + 0.5 * solid.noise(25)))] = fluid
    if solid.happens(0.8):
        for side in (-1, 1):
            nucleus = solid.oval((side * 20, solid.uniform(-12, 2), 6), (8, 18, 12))
            thalamus = solid.oval((side * 10, 12, 6), (8, 12, 10))
            near = np.minimum(nucleus, thalamus) + 0.1 * folds
            hu[brain & (near < 1)] = white + solid.uniform(0.4, 1) * (grey - white)
    hu[brain & (solid.z < -38) & (solid.y > 10)] = white + solid.uniform(0.2, 1) * (grey - white)


def _paint_ventricles(solid: Solid, hu: Field, brain: Region) -> Region:
    """Lateral ventricles with their horns, third and fourth, never quite alike on the sides."""
    size, fluid = solid.uniform(0.25, 1.3), solid.uniform(1, 13)
    found = np.zeros_like(brain)
    bend = 0.12 * solid.noise(14)
    for side in (-1, 1):
        own = size * solid.uniform(0.75, 1.3)
        middle = side * (5 + 7 * own)
        horns: list[tuple[Triple, Triple]] = [
            ((middle, -4, 17), (3 + 5 * own, 24 + 9 * own, 5 + 8 * own)),
            ((middle * 0.9, -24, 8), (2 + 5 * own, 9 + 4 * own, 5 + 6 * own)),
            ((side * (17 + 5 * own), 26, 6), (3 + 6 * own, 10 + 6 * own, 6 + 6 * own)),
        ]
        if solid.happens(0.5):
            horns.append(((side * (18 + 4 * own), 45, 4), (2 + 3 * own, 12, 3 + 3 * own)))
        if solid.happens(0.5):
            horns.append(((side * 30, 2, -22), (1 + 2.5 * own, 11, 2 + 2.5 * own)))
        for centre, radii in horns:
            found |= solid.oval(centre, radii) + bend < 1
    found |= solid.oval((0, 4, 0), (0.8 + 4 * size, 12, 9)) < 1
    found |= solid.oval((0, 36, -42), (2 + 5 * size, 3 + 3 * size, 9)) < 1
    hu[brain & found] = fluid
    return np.asarray(brain & found)


def _paint_cisterns(solid: Solid, hu: Field, brain: Region, depth: Field) -> None:
    fluid = solid.uniform(1, 13)
    wide = solid.uniform(0.2, 1.2)
    around = 0.2 * solid.noise(10)
    shapes: list[tuple[Triple, Triple]] = [
        ((0, -12, -30), (14 * wide, 10 * wide, 7)),
        ((0, 26, -14), (11 * wide, 4 * wide, 8)),
        ((0, 48, -60), (12 * wide, 9 * wide, 10)),
    ]
    for side in (-1, 1):
        shapes.append(((side * 52, -6, -4), (10, 1 + 4 * wide, 20 * solid.uniform(0.4, 1.2))))
        shapes.append(((side * 30, -12, -14), (18, 1 + 2.5 * wide, 4)))
    for centre, radii in shapes:
        if solid.happens(0.75):
            hu[brain & (solid.oval(centre, radii) + around < 1)] = fluid
    between = np.abs(solid.x + 0.8 * solid.noise(22)) < solid.uniform(0, 2.2)
    hu[brain & between & (np.abs(solid.y) > solid.uniform(25, 45)) & (depth < 45)] = fluid


def _paint_membranes(solid: Solid, hu: Field, brain: Region, depth: Field) -> None:
    """Falx, tentorium and the sinuses along them."""
    vein = solid.uniform(38, 66)
    if solid.happens(0.85):
        falx = np.abs(solid.x + 0.5 * solid.noise(40)) < solid.uniform(0.5, 1.6)
        far = (solid.z > solid.uniform(10, 35)) | (np.abs(solid.y + 5) > solid.uniform(28, 50))
        hu[brain & falx & far & (solid.z > -25)] = vein
    if solid.happens(0.6):
        roof = solid.z + 18 + 0.45 * np.abs(solid.x) + 0.25 * (solid.y - 40)
        hu[brain & (np.abs(roof) < solid.uniform(0.8, 2)) & (solid.y > 14)] = vein
    sinus = solid.uniform(1.5, 6)
    along = brain & (np.abs(solid.x) + 0.8 * depth < sinus)
    hu[along & ((solid.y > 20) | (solid.z > 35)) & (solid.z > -30)] = vein
    if solid.happens(0.7):
        low = brain & (np.abs(solid.z + 28 + 0.1 * np.abs(solid.x)) < sinus) & (depth < sinus)
        hu[low & (solid.y > 25)] = vein
    if solid.happens(0.4):
        for side in (-1, 1):
            vessel = solid.oval((side * solid.uniform(8, 30), -14, -24), (9, 1.6, 1.8))
            hu[brain & (vessel < 1)] = solid.uniform(40, 60)


def _paint_calcium(solid: Solid, hu: Field, brain: Region) -> None:
    """Calcium where healthy people have it."""
    for side in (-1, 1):
        if solid.happens(0.45):
            plexus = solid.oval((side * solid.uniform(16, 24), 27, 6), (3, 4, 4))
            hu[brain & (plexus + 0.3 * solid.noise(4) < 1)] = solid.uniform(60, 300)
        if solid.happens(0.08):
            hu[brain & (solid.oval((side * 17, -4, 2), (3, 6, 4)) < 1)] = solid.uniform(50, 110)
    if solid.happens(0.55):
        size = solid.uniform(1.5, 4)
        hu[brain & (solid.oval((0, 18, 1), (size, size, size)) < 1)] = solid.uniform(60, 250)
    if solid.happens(0.15):
        flake = (np.abs(solid.x) < 2) & (np.abs(solid.y - solid.uniform(-60, 40)) < 6)
        hu[brain & flake & (solid.z > 20)] = solid.uniform(80, 300)


def _paint_base(solid: Solid, hu: Field, out_mm: Field, radii: Triple) -> None:
    """Floor, ridges, air cells, sinuses and orbits."""
    inside = out_mm < 0
    floor = -solid.uniform(0.45, 0.7) * radii[2]
    bone, ragged = solid.uniform(500, 1300), 2.5 * solid.noise(9)
    wide = np.abs(solid.x)
    front = solid.z - (floor + 14 - 0.1 * solid.y) + ragged < 0
    hu[inside & front & (solid.y < -22)] = bone
    ridge = np.abs(solid.y - solid.uniform(2, 12) + 0.35 * (wide - 20)) < solid.uniform(4, 10)
    hu[inside & ridge & (wide > 8) & (solid.z + ragged < floor + 12)] = bone
    wing = np.abs(solid.y + 30 - 0.25 * wide) < solid.uniform(2, 5)
    hu[inside & wing & (wide > 14) & (solid.z + ragged < floor + 22)] = bone
    sella = solid.oval((0, -12, floor - 4), (12, 16, 14))
    hu[inside & (sella < 1)] = bone
    if solid.happens(0.7):
        hu[inside & (sella < 0.65)] = -900
    cells = (solid.noise(4) > -0.2) & (solid.z < floor + 8) & (solid.y > 5) & (solid.y < 32)
    if solid.happens(0.8):
        hu[inside & cells & (wide > 34)] = -800
    if solid.happens(0.7):
        place = (solid.uniform(-6, 6), -0.93 * radii[1], floor + solid.uniform(10, 26))
        hu[inside & (solid.oval(place, (18, 6, 12)) + 0.2 * ragged < 1)] = -950
    for side in (-1, 1):
        place = (side * 32, -0.74 * radii[1], floor - 4)
        orbit = solid.oval(place, (18, 24, 17))
        hu[(orbit < 1.12) & (out_mm < 6)] = bone
        hu[(orbit < 1) & (out_mm < 10)] = solid.uniform(-100, -60)
        globe = solid.oval((place[0], place[1] - 10, place[2]), (12, 12, 12))
        hu[globe < 1] = solid.uniform(5, 25)
    if solid.happens(0.5):
        hu[inside & (solid.oval((0, -0.72 * radii[1], floor - 6), (13, 24, 15)) < 1)] = -850
