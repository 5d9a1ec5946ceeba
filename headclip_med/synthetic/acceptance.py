"""The acceptance phantoms: 48 head-CT volumes in Hounsfield units, half of them healthy.

They exist to accept or refuse a trained headclip-mini, and for nothing else: never for training,
never for choosing a setting. Generator, lesion kinds and seeds are fixed before a model is measured
on them; nothing here is shared with the training corpus. Anatomy is drawn in three dimensions and
cut into slices, so structures open and close along the stack as in a patient. The two sides of a
healthy head are nearly alike, ventricles may be wide, and lesions lie on one side: what compares
the sides without having learnt anything does well here, as it does on real heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter, map_coordinates

ACCEPTANCE_COUNT = 48
FIRST_SEED = 910_000
SHAPE = (20, 128, 128)
SPACING_MM = (6.5, 1.75, 1.75)
AIR_HU = -1000.0

CORONAL_EVERY = 4
"""Of so many pairs of a healthy volume and one with a lesion, one is cut upright."""

UNLIKE = 0.03
"""Share of the variance of anatomy's unevenness that is not the same on both sides."""

Field = Float[np.ndarray, "slices rows columns"]
Number = float | int


@dataclass(frozen=True, eq=False)
class Phantom:
    """One volume with its truth.

    Attributes:
        voxels_hu: Slices from the skull base up.
        lesion: The lesion's voxels; empty in healthy volumes.
        body: Everything inside the scalp.
        kind: ``healthy`` or the kind of lesion.
        spacing_mm: Between slices, rows and columns.
        seed: What it was drawn from.
        coronal: Slices stand one behind the other, from the front, rows from the vertex down; else
            they lie one above the other, rows from the front. Columns run to the patient's left.
    """

    voxels_hu: Field
    lesion: Bool[np.ndarray, "slices rows columns"]
    body: Bool[np.ndarray, "slices rows columns"]
    kind: str
    spacing_mm: tuple[float, float, float]
    seed: int
    coronal: bool = False


class _Head:
    """Coordinates in millimetres (z up, y back, x left) and the anatomy of one subject."""

    def __init__(self, random: np.random.Generator, *, coronal: bool = False) -> None:
        self.random = random
        slices, rows, columns = SHAPE
        across, down, left = np.meshgrid(
            (np.arange(slices) - slices / 2 + 0.5) * SPACING_MM[0],
            (np.arange(rows) - rows / 2 + 0.5) * SPACING_MM[1],
            (np.arange(columns) - columns / 2 + 0.5) * SPACING_MM[2],
            indexing="ij",
        )
        turn, lean = random.normal(0, 0.015), random.normal(0, 0.01)
        left, down = left - random.uniform(-8, 8), down - random.uniform(-8, 8)
        left, down = (
            np.cos(turn) * left - np.sin(turn) * down,
            np.sin(turn) * left + np.cos(turn) * down,
        )
        self.upright = np.stack([
            np.broadcast_to(np.arange(slices)[:, None, None], SHAPE),
            down / SPACING_MM[1] + rows / 2 - 0.5,
            left / SPACING_MM[2] + columns / 2 - 0.5,
        ])  # fmt: skip
        across = across - random.uniform(-6, 6)
        self.x, self.y, self.z = (
            (left, across, -down + lean * left) if coronal else (left, down, across + lean * left)
        )
        self.half_mm = random.uniform(66, 76), random.uniform(82, 95), random.uniform(70, 80)
        bumps = 1 + 0.02 * self.noise(18)
        self.radius = bumps * np.sqrt(
            (self.x / self.half_mm[0]) ** 2
            + (self.y / self.half_mm[1]) ** 2
            + (np.where(self.z > 0, self.z / self.half_mm[2], self.z / 110)) ** 2
        )
        self.depth_mm = (1 - self.radius) * np.mean(self.half_mm[:2])
        self.skull_mm = random.uniform(5.5, 9.0) * (1 + 0.2 * self.noise(14))
        self.scalp_mm = random.uniform(3.0, 6.0)
        self.brain = self.depth_mm - self.scalp_mm - self.skull_mm

    def noise(self, sigma_voxels: Number) -> Field:
        """Smooth unit noise, nearly alike on both sides, flatter between slices: they are thick."""
        sigma = (max(0.4, sigma_voxels / 4), sigma_voxels, sigma_voxels)
        own, shared = (gaussian_filter(self.random.standard_normal(SHAPE), sigma) for _ in range(2))
        shared = shared + shared[:, :, ::-1]
        field = UNLIKE**0.5 * own / own.std() + (1 - UNLIKE) ** 0.5 * shared / shared.std()
        return np.asarray(map_coordinates(field, self.upright, order=1, mode="reflect"))

    def ball(self, centre_mm: tuple[Number, ...], radii_mm: tuple[Number, ...]) -> Field:
        """Signed distance in millimetres (approximately) to an ellipsoid; centre as z, y, x."""
        axes = zip((self.z, self.y, self.x), centre_mm, radii_mm, strict=True)
        length = np.sqrt(sum(((axis - c) / r) ** 2 for axis, c, r in axes))
        return np.asarray((length - 1) * float(np.mean(radii_mm[1:])))

    def anatomy(self) -> Field:
        """Draw the healthy head."""
        random = self.random
        hu = np.full(SHAPE, AIR_HU)
        hu = _paint(hu, random.uniform(25, 60), self.depth_mm, 1.0)
        hu = _paint(hu, 900 + 250 * self.noise(3), self.depth_mm - self.scalp_mm, 1.0)
        white = _edge(self.brain - random.uniform(5, 10) - 2 * self.noise(3), 2.5)
        matter = random.uniform(33, 39) - random.uniform(4, 9) * white + 0.8 * self.noise(2)
        fluid = random.uniform(2, 9)
        furrow = (0.5 - np.abs(self.noise(2.2))).clip(0) / 0.5
        rim = np.exp(-((self.brain / random.uniform(4, 9)) ** 2))
        matter += (fluid - matter) * (random.uniform(0.15, 0.8) * furrow * rim).clip(0, 1)
        matter = _paint(matter, fluid, -self.ventricles(), 1.2)
        falx = np.abs(self.x + random.uniform(-1, 1)) - random.uniform(0.6, 1.3)
        reach = (np.abs(self.y) > random.uniform(25, 45)) & (self.z > -25)
        matter = np.where(reach, _paint(matter, random.uniform(44, 62), -falx, 0.8), matter)
        hu = _paint(hu, matter, self.brain, 1.0)
        return self.calcifications(self.skull_base(hu))

    def ventricles(self) -> Field:
        """Two lateral horns, unequal by a little, and the third ventricle."""
        random = self.random
        size = random.uniform(0.5, 2.1)
        unlike = 0.04 if random.random() < 0.85 else 0.2
        parts = []
        for side in (-1, 1):
            own = size * random.uniform(1 - unlike, 1 + unlike)
            bow = side * (7 + 0.012 * (self.y + 5) ** 2)
            length = np.sqrt(
                ((self.x - bow) / (4.0 * own)) ** 2
                + ((self.y + 2) / (27 * own**0.5)) ** 2
                + ((self.z - 12) / (13 * own**0.5)) ** 2
            )
            parts.append((length - 1) * 4 * own)
        parts.append(self.ball((-2, 2, 0), (9, 12, 1.8 * size)))
        return np.asarray(np.minimum.reduce(parts))

    def skull_base(self, hu: Field) -> Field:
        """Petrous ridges, clivus and air cells in the lowest slices."""
        random = self.random
        back, low = random.uniform(8, 20), random.uniform(-55, -48)
        for side in (-1, 1):
            along = self.y - back - 0.6 * (np.abs(self.x) - 35)
            ridge = np.sqrt(((self.x - side * 38) / 26) ** 2 + (along / 8) ** 2
                            + ((self.z - low) / 10) ** 2)  # fmt: skip
            hu = _paint(hu, 700 + 200 * self.noise(2), (1 - ridge) * 8 + 1.5 * self.noise(3), 1.2)
        hu = _paint(hu, 500.0, -self.ball((low - 4, -8, 0), (10, 14, 12)), 1.5)
        cells = self.ball((low - 2, -self.half_mm[1] * 0.72, 0), (9, 10, 13))
        return _paint(hu, AIR_HU, -cells, 1.0)

    def calcifications(self, hu: Field) -> Field:
        """The pineal gland and the choroid plexus, in some subjects."""
        random = self.random
        if random.random() < 0.5:
            hu = _paint(hu, random.uniform(90, 220), -self.ball((2, 14, 0), (4, 2.5, 2.5)), 1.0)
        if random.random() < 0.35:
            for side in (-1, 1):
                spot = self.ball((8, 24, side * 17), (5, 3, 2.2))
                hu = _paint(hu, random.uniform(90, 220), -spot, 1.0)
        return hu


def _edge(depth_mm: Field, softness_mm: Number) -> Field:
    return 1 / (1 + np.exp(-np.clip(depth_mm / softness_mm * 2, -30, 30)))


def _paint(hu: Field, value: Field | Number, depth_mm: Field, softness_mm: Number) -> Field:
    weight = _edge(depth_mm, softness_mm)
    return np.asarray(hu * (1 - weight) + value * weight)


Lesion = tuple[Field, Field, float]
"""Depth of the lesion in mm, its change in HU, and the softness of its edge in mm."""


def _site(head: _Head, inset_mm: Number) -> tuple[float, float, float]:
    """A place well inside one hemisphere."""
    random = head.random
    side = random.choice([-1.0, 1.0])
    scale = 1 - inset_mm / 70
    z = random.uniform(-22, 32)
    shrink = np.sqrt(max(0.2, 1 - (z / head.half_mm[2]) ** 2))
    angle = random.uniform(0.15, 0.85) * np.pi
    y = -np.cos(angle) * head.half_mm[1] * 0.72 * scale * shrink
    x = side * np.sin(angle) * head.half_mm[0] * 0.68 * scale * shrink
    return z, float(y), float(x)


def _crescent(head: _Head) -> Lesion:
    """Blood or old fluid along the inside of the skull, thin and long."""
    random = head.random
    side, thick = random.choice([-1.0, 1.0]), random.uniform(8, 16)
    centre = random.uniform(-0.6, 0.6)
    angle = np.arctan2(head.y, side * head.x) - centre
    height = (head.z - random.uniform(-5, 25)) / random.uniform(25, 40)
    taper = (1 - (angle / random.uniform(0.8, 1.2)) ** 2 - height**2).clip(-1, 1)
    change = random.uniform(18, 36) if random.random() < 0.7 else -random.uniform(14, 20)
    return np.minimum(head.brain, thick * taper - head.brain), np.full(SHAPE, change), 1.2


def _lens(head: _Head) -> Lesion:
    """A biconvex bright collection against the skull."""
    random = head.random
    side, angle = random.choice([-1.0, 1.0]), random.uniform(-0.9, 0.9)
    reach = 0.8
    centre = (
        random.uniform(-10, 28),
        float(np.sin(angle)) * head.half_mm[1] * reach,
        side * float(np.cos(angle)) * head.half_mm[0] * reach,
    )
    size = random.uniform(16, 25)
    ball = head.ball(centre, (size * 1.2, size, size))
    return np.minimum(head.brain, -ball), np.full(SHAPE, random.uniform(20, 38)), 1.2


def _haemorrhage(head: _Head) -> Lesion:
    """Bright blood in the brain with a thin dark rim."""
    random = head.random
    size = random.uniform(10, 22)
    radii = tuple(size * random.uniform(0.8, 1.25) for _ in range(3))
    ball = head.ball(_site(head, size), radii) + 1.5 * head.noise(4)
    change = np.where(ball < 0, random.uniform(18, 36), -random.uniform(6, 11))
    return np.minimum(head.brain, -ball + random.uniform(2, 4)), change, 1.2


def _wedge(head: _Head) -> Lesion:
    """A dark territory that widens towards the cortex."""
    random = head.random
    side, centre = random.choice([-1.0, 1.0]), random.uniform(-0.8, 0.8)
    angle = np.abs(np.arctan2(head.y, side * head.x) - centre)
    distance = np.hypot(head.y, head.x)
    width = (random.uniform(0.3, 0.55) - angle) * distance
    slab = random.uniform(14, 26) - np.abs(head.z - random.uniform(-8, 26))
    depth = np.minimum.reduce([width, slab, distance - 24, head.brain])
    return depth + 1.2 * head.noise(4), np.full(SHAPE, -random.uniform(10, 18)), 2.5


def _mass(head: _Head) -> Lesion:
    """A bright nodule in a wide dark halo."""
    random = head.random
    size = random.uniform(9, 17)
    ball = head.ball(_site(head, size + 8), (size * 1.1, size, size)) + 1.0 * head.noise(4)
    change = np.where(ball < 0, random.uniform(12, 24), -random.uniform(9, 15))
    return np.minimum(head.brain, random.uniform(7, 12) - ball), change, 2.0


def _contusions(head: _Head) -> Lesion:
    """A cluster of three to six small bright spots, each with a faint dark surround."""
    random = head.random
    z, y, x = _site(head, 12)
    spots = []
    for _ in range(random.integers(3, 7)):
        shift = random.normal(0, 9, 3)
        size = random.uniform(3.5, 7)
        spots.append(
            head.ball((z + shift[0], y + shift[1], x + shift[2]), (size * 1.3, size, size))
        )
    ball = np.minimum.reduce(spots)
    change = np.where(ball < 0, random.uniform(20, 38), -8.0)
    return np.minimum(head.brain, 1.5 - ball), change, 1.0


def _large_haemorrhage(head: _Head) -> Lesion:
    """Bright blood that fills much of one hemisphere."""
    random = head.random
    size = random.uniform(20, 30)
    radii = tuple(size * random.uniform(0.8, 1.25) for _ in range(3))
    ball = head.ball(_site(head, 20), radii) + 2.5 * head.noise(5)
    change = np.where(ball < 0, random.uniform(20, 38), -random.uniform(6, 11))
    return np.minimum(head.brain, -ball + random.uniform(2, 4)), change, 1.2


def _ring(head: _Head) -> Lesion:
    """A bright rim around a dark core, in a dark halo."""
    random = head.random
    size, rim = random.uniform(12, 20), random.uniform(2.5, 5)
    ball = head.ball(_site(head, size + 6), (size, size, size)) + 1.5 * head.noise(4)
    change = np.where(ball < 0, random.uniform(14, 30), -random.uniform(6, 13))
    change = np.where(ball < -rim, -random.uniform(4, 18), change)
    return np.minimum(head.brain, random.uniform(5, 12) - ball), change, 1.2


def _calcified(head: _Head) -> Lesion:
    """A mass with flakes of calcium."""
    random = head.random
    size = random.uniform(10, 18)
    ball = head.ball(_site(head, size + 4), (size, size, size)) + 1.0 * head.noise(4)
    flakes = (ball < 0) & (head.noise(2) > random.uniform(-0.8, 0.5))
    change = np.where(flakes, random.uniform(45, 160), random.uniform(-6, 10))
    return np.minimum(head.brain, 2 - ball), change, 1.0


_LESIONS: dict[str, Callable[[_Head], Lesion]] = {
    "crescent": _crescent, "lens": _lens, "haemorrhage": _haemorrhage,
    "wedge": _wedge, "mass": _mass, "contusions": _contusions,
    "large haemorrhage": _large_haemorrhage, "ring": _ring, "calcified": _calcified,
}  # fmt: skip
LESION_KINDS = tuple(_LESIONS)


def acceptance_phantom(number: int) -> Phantom:
    """Draw one volume; odd numbers have a lesion, even ones are healthy.

    Args:
        number: From 0 to ``ACCEPTANCE_COUNT`` - 1.

    Raises:
        ValueError: There is no such number.
    """
    if not 0 <= number < ACCEPTANCE_COUNT:
        raise ValueError(f"number must be below {ACCEPTANCE_COUNT}, got {number}")
    seed = FIRST_SEED + number
    random = np.random.default_rng(seed)
    coronal = number // 2 % CORONAL_EVERY == CORONAL_EVERY - 1
    head = _Head(random, coronal=coronal)
    hu = head.anatomy()
    lesion = np.zeros(SHAPE, bool)
    kind = "healthy"
    if number % 2:
        kind = LESION_KINDS[number // 2 % len(LESION_KINDS)]
        depth, change, softness = _LESIONS[kind](head)
        # Blood and oedema replace brain; bone, dura and calcifications keep their density.
        soft = hu < 80
        hu = np.where(soft, hu + change * _edge(depth, softness), hu)
        lesion = (depth > 0) & soft
    cupping = 3 * random.uniform(0, 1) * np.exp(-((head.brain / 8) ** 2)) * (head.brain > 0)
    grain = gaussian_filter(random.standard_normal(SHAPE), (0, 0.6, 0.6))
    hu = hu + cupping + random.uniform(2, 4) * grain / grain.std()
    body = head.depth_mm > 0
    return Phantom(hu.astype(np.float32), lesion & body, body, kind, SPACING_MM, seed, coronal)


def acceptance_phantoms() -> Iterator[Phantom]:
    """Draw all of them, in a fixed order."""
    for number in range(ACCEPTANCE_COUNT):
        yield acceptance_phantom(number)
