"""Heads as CT and MR draw them: one anatomy, painted with the values of either.

Healthy means: a hard or a dark skull rim, ventricles of any size or none and never quite alike on
the two sides, a falx that shows in part, dots of calcium where healthy people have them, and end
slices (a small cap near the vertex; ridges, air cells and orbits at the base).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from research.mini.corpus.canvas import Canvas, FamilyDrawing, ellipse, inside, paint
from research.mini.corpus.captions import NOUNS

Plane = Float[Tensor, "batch 1 height width"]


@dataclass(frozen=True)
class _Palette:
    """What each tissue measures, one value per image: HU for CT, a fraction of white for MR."""

    air: Tensor
    scalp: Tensor
    bone: Tensor
    marrow: Tensor
    white: Tensor
    grey: Tensor
    fluid: Tensor
    fat: Tensor
    vein: Tensor
    calcium: Tensor


def _computed_palette(canvas: Canvas) -> _Palette:
    """Hounsfield units of a healthy head, with the spread that is found in textbooks."""
    draw = canvas.uniform
    return _Palette(
        air=draw(-1000, -990),
        scalp=draw(-60, 60),
        bone=draw(700, 1500),
        marrow=draw(250, 700),
        white=draw(22, 32),
        grey=draw(33, 42),
        fluid=draw(0, 15),
        fat=draw(-110, -70),
        vein=draw(42, 62),
        calcium=draw(80, 300),
    )


_MAGNETIC = {
    # scalp, bone, marrow, white, grey, fluid, fat, vein, calcium
    "T1": (0.85, 0.06, 0.5, 0.68, 0.5, 0.14, 0.95, 0.3, 0.3),
    "T1 with contrast": (0.85, 0.06, 0.5, 0.62, 0.5, 0.14, 0.95, 0.9, 0.6),
    "T2": (0.55, 0.05, 0.35, 0.36, 0.52, 0.92, 0.7, 0.15, 0.2),
    "FLAIR": (0.45, 0.05, 0.3, 0.44, 0.56, 0.1, 0.6, 0.2, 0.2),
    "PD": (0.6, 0.08, 0.4, 0.5, 0.65, 0.6, 0.7, 0.3, 0.3),
}
"""Typical signal of each tissue as a fraction of white, by weighting."""


def _magnetic_palette(canvas: Canvas) -> _Palette:
    typical = _MAGNETIC[canvas.pick(tuple(_MAGNETIC))]
    values = [value + canvas.uniform(-0.07, 0.07) for value in typical]
    return _Palette(canvas.uniform(0, 0.03), *values)


@dataclass(frozen=True)
class _HeadPose:
    """A head's own coordinates and proportions; level runs from -1 (base) to +1 (vertex)."""

    x: Plane
    y: Plane
    level: Tensor
    half_width: Tensor
    half_height: Tensor
    outline: Plane
    skull_from: Tensor
    skull_to: Tensor

    def at(self, u: float | Tensor, v: float | Tensor) -> tuple[Tensor, Tensor]:
        """The place at a fraction of the half width and half height."""
        return self.half_width * u, self.half_height * v

    def oval(
        self,
        place: tuple[float | Tensor, float | Tensor],
        axes: tuple[float | Tensor, float | Tensor],
    ) -> Plane:
        """Relative distance to an oval, all in fractions of the head."""
        return ellipse(self.x, self.y, self.at(*place), self.at(*axes))

    @property
    def brain(self) -> Plane:
        return inside(self.outline + self.skull_to, 45)


def _pose(canvas: Canvas, scalp_limit: float) -> _HeadPose:
    x, y = canvas.frame(turn=0.3, shift=0.1, warp=0.03)
    level = canvas.uniform(-1, 1.1)
    # Above 0.55 the cut meets the dome: smaller, and thicker bone because it is cut obliquely.
    cap = ((level - 0.55) / 0.45).clamp(0, 1.08)
    half_width = canvas.uniform(0.5, 0.86) * (1 - 0.85 * cap**2).sqrt()
    half_height = (half_width * canvas.uniform(1.05, 1.38)).clamp(max=0.97)
    # A little squarer or more pointed at the front than an ellipse, as heads are.
    narrowing = 1 + canvas.uniform(-0.12, 0.12) * (y / half_height)
    outline = ellipse(x * narrowing, y, (0.0, 0.0), (half_width, half_height))
    scalp = canvas.uniform(0.0, scalp_limit) * (1 + cap)
    bone = canvas.uniform(0.05, 0.13) * (1 + 2.0 * cap)
    return _HeadPose(x, y, level, half_width, half_height, outline, scalp, scalp + bone)


def _paint_shell(canvas: Canvas, head: _HeadPose, palette: _Palette) -> Plane:
    """Air, scalp and skull with its marrow."""
    image = palette.air.expand_as(head.x)
    image = paint(image, inside(head.outline, 60), palette.scalp)
    image = paint(image, inside(head.outline + 0.6 * head.skull_from, 60), palette.fat)
    image = paint(image, inside(head.outline + head.skull_from, 60), palette.bone)
    middle = (head.skull_from + head.skull_to) / 2
    thickness = head.skull_to - head.skull_from
    marrow = inside((head.outline + middle).abs() - thickness * canvas.uniform(0, 0.3), 80)
    return paint(image, marrow * canvas.chance(0.6), palette.marrow)


def _paint_brain(canvas: Canvas, head: _HeadPose, palette: _Palette) -> Plane:
    """White and grey matter, folds, fluid between them and the skull, deep nuclei."""
    depth = -(head.outline + head.skull_to)
    ribbon = canvas.uniform(0.04, 0.14) * (1 + 0.6 * canvas.noise(14))
    matter = inside(depth - ribbon, 30) * canvas.uniform(0.2, 1)
    image = paint(palette.white.expand_as(head.x), matter, palette.grey)
    nuclei = torch.minimum(
        head.oval((0.3, 0.0), (0.14, 0.18)), head.oval((-0.3, 0.0), (0.14, 0.18))
    )
    seen = (head.level.abs() < 0.35).float() * canvas.uniform(0, 1)
    image = paint(image, inside(nuclei, 8) * seen, palette.grey)
    around = torch.atan2(head.y, head.x)
    folds = torch.sin(canvas.whole(12, 36) * around + 2.5 * canvas.noise(6))
    sulci = inside(0.75 - folds, 8) * inside(depth - canvas.uniform(0.0, 0.2), 30)
    image = paint(image, sulci * canvas.uniform(0, 0.9), palette.fluid)
    rim = inside(depth - canvas.uniform(-0.02, 0.05), 50)
    return paint(image, rim * canvas.uniform(0, 1), palette.fluid)


def _paint_ventricles(canvas: Canvas, head: _HeadPose, palette: _Palette, image: Plane) -> Plane:
    """Lateral ventricles from slits to wide, unlike on the two sides; third; plexus; pineal."""
    shown = canvas.chance(0.85) * ((head.level > -0.45) & (head.level < 0.65)).float()
    size, centre_y = canvas.uniform(0.15, 1.15), canvas.uniform(-0.12, 0.12)
    flare = canvas.uniform(0, 0.35) * (head.y / head.half_height - centre_y).abs()
    for side in (-1.0, 1.0):
        own = size * canvas.uniform(0.7, 1.3)
        place = (side * (canvas.uniform(0.08, 0.14) + 0.1 * size + flare), centre_y)
        horn = head.oval(place, (0.03 + 0.1 * own, 0.15 + 0.35 * own))
        image = paint(image, inside(horn, canvas.uniform(8, 20)) * shown, palette.fluid)
        plexus = head.oval((side * (0.2 + 0.12 * size), 0.3), (0.035, 0.05))
        image = paint(image, inside(plexus, 6) * canvas.chance(0.25) * shown, palette.calcium)
    third = head.oval((0.0, canvas.uniform(0, 0.15)), (0.012 + 0.03 * size, 0.16))
    low = shown * (head.level < 0.15).float() * canvas.uniform(0, 1)
    image = paint(image, inside(third, 8) * low, palette.fluid)
    pineal = head.oval((canvas.uniform(-0.02, 0.02), canvas.uniform(0.15, 0.3)), (0.035, 0.035))
    return paint(image, inside(pineal, 6) * low * canvas.chance(0.5), palette.calcium)


def _paint_midline(canvas: Canvas, head: _HeadPose, palette: _Palette, image: Plane) -> Plane:
    """Falx and fissure, each only in part, and the sinus where the falx meets the skull."""
    upper = (head.level > -0.2).float()
    sway = canvas.uniform(0, 0.03) * canvas.noise(3)
    off = (head.x / head.half_width + sway).abs()
    along = head.y / head.half_height
    reach = torch.minimum(along - canvas.uniform(-1, 0.2), canvas.uniform(-0.2, 1) - along)
    partly = (1 - inside(reach, 20)) * upper
    fissure = inside(off - canvas.uniform(0.0, 0.04), 60) * canvas.chance(0.6)
    image = paint(image, fissure * partly * canvas.uniform(0, 0.8), palette.fluid)
    falx = inside(off - canvas.uniform(0.004, 0.02), 120) * canvas.chance(0.7)
    image = paint(image, falx * partly * canvas.uniform(0.3, 1), palette.vein)
    flake = inside(along - canvas.uniform(-0.7, 0.6), 40) * (1 - inside(along + 0.75, 40))
    image = paint(image, falx * partly * flake * canvas.chance(0.1), palette.calcium)
    back = 1 - head.skull_to - canvas.uniform(0.0, 0.05)
    sinus = head.oval((0.0, back), (canvas.uniform(0.03, 0.09), canvas.uniform(0.03, 0.1)))
    return paint(image, inside(sinus, 8) * upper * canvas.chance(0.6), palette.vein)


def _paint_base(canvas: Canvas, head: _HeadPose, palette: _Palette, image: Plane) -> Plane:
    """Bone ridges, cisterns, air cells, sinuses and orbits; only low slices have them."""
    low = ((-head.level - 0.4) / 0.2).clamp(0, 1)
    x, y = (head.x / head.half_width).abs(), head.y / head.half_height
    within = inside(head.outline + head.skull_from, 60)
    for height, slope, reach in ((0.15, 0.45, 0.16), (-0.35, -0.3, 0.1)):
        bar = y - canvas.uniform(height - 0.1, height + 0.1) - slope * (x - 0.3)
        bar = bar.abs() - canvas.uniform(0.02, 0.08) * (0.5 + x)
        bar = torch.maximum(bar, canvas.uniform(reach, reach + 0.2) - x)
        bone = inside(bar, 40) * within * canvas.chance(0.75) * low
        image = paint(image, bone * canvas.uniform(0.4, 1), palette.bone)
    cistern = head.oval((0.0, canvas.uniform(-0.2, 0.0)), (canvas.uniform(0.08, 0.2), 0.1))
    image = paint(image, inside(cistern, 8) * low * canvas.chance(0.6), palette.fluid)
    cells = inside(1.1 - canvas.noise(28), 8) * inside((y - 0.25).abs() - 0.15) * inside(0.55 - x)
    image = paint(image, cells * within * low * canvas.chance(0.6), palette.air)
    front = low * canvas.chance(0.7)
    place = (canvas.uniform(0.32, 0.42), canvas.uniform(-0.75, -0.6))
    for side in (-1.0, 1.0):
        orbit = head.oval((side * place[0], place[1]), (0.26, 0.2))
        image = paint(image, inside(orbit, 12) * front, palette.fat)
        globe = head.oval((side * place[0], place[1] - 0.05), (0.17, 0.14))
        image = paint(image, inside(globe, 14) * front, palette.fluid * 0.7 + palette.grey * 0.3)
    sinus = head.oval((0.0, canvas.uniform(-0.8, -0.6)), (canvas.uniform(0.06, 0.14), 0.14))
    return paint(image, inside(sinus, 14) * front * canvas.chance(0.7), palette.air)


def _paint_neck(canvas: Canvas, head: _HeadPose, palette: _Palette, image: Plane) -> Plane:
    """Soft tissue below and in front of the head, for pictures that are not axial."""
    width = canvas.uniform(0.25, 0.5)
    column = torch.maximum((head.x - canvas.uniform(-0.2, 0.2)).abs() - width, -head.y)
    lumps = palette.grey + (palette.fat - palette.grey) * inside(canvas.fractal(6, 2) - 0.3, 3)
    outside = 1 - inside(head.outline, 60)
    image = paint(image, inside(column, 40) * outside, lumps)
    spine = inside((head.x - canvas.uniform(-0.1, 0.1)).abs() - 0.06) * inside(0.3 - head.y)
    return paint(image, spine * outside * inside(column), palette.white)


def _anatomy(canvas: Canvas, palette: _Palette, scalp_limit: float) -> tuple[Plane, Plane]:
    head = _pose(canvas, scalp_limit)
    brain = _paint_brain(canvas, head, palette)
    brain = _paint_ventricles(canvas, head, palette, brain)
    brain = _paint_midline(canvas, head, palette, brain)
    image = paint(_paint_shell(canvas, head, palette), head.brain, brain)
    image = _paint_base(canvas, head, palette, image)
    if canvas.happens(0.15):
        image = _paint_neck(canvas, head, palette, image)
    return image, head.brain


_WINDOWS = ((40, 80), (35, 70), (45, 110), (75, 215), (40, 150), (50, 250), (32, 50), (300, 1500))
"""Centre and width in HU that people read heads with: brain, stroke, subdural, wide, bone."""


def draw_computed_head(canvas: Canvas) -> FamilyDrawing:
    """A CT-like head in a grey window; the last window shows bone only and is rare."""
    image, brain = _anatomy(canvas, _computed_palette(canvas), 0.12)
    stated = canvas.pick(_WINDOWS[:3] if canvas.happens(0.6) else _WINDOWS[:7])
    centre = stated[0] + canvas.uniform(-8, 8)
    width = stated[1] * canvas.uniform(0.8, 1.3)
    streaks = torch.sin(canvas.uniform(6, 16) * (canvas.y + 0.3 * canvas.noise(3)))
    image = image + streaks * brain * canvas.uniform(0, 4) * canvas.chance(0.3)
    grey = ((image - centre) / width + 0.5).clamp(0, 1)
    # Table or head-holder: a thin curve behind the head.
    rest = (canvas.y - canvas.uniform(0.85, 1.1) + 0.3 * canvas.x**2).abs() - 0.01
    grey = paint(
        grey, inside(rest, 80) * (grey < 0.02) * canvas.chance(0.25), canvas.uniform(0.2, 1)
    )
    nouns = tuple(canvas.pick(NOUNS["computed head"]) for _ in range(canvas.count))
    return FamilyDrawing(grey.expand(-1, 3, -1, -1), brain, nouns)


def draw_magnetic_head(canvas: Canvas) -> FamilyDrawing:
    """An MR-like head: dark skull, T1, T2, FLAIR or PD contrast, uneven coil sensitivity."""
    image, brain = _anatomy(canvas, _magnetic_palette(canvas), 0.2)
    image = image * (1 + canvas.uniform(0, 0.15) * canvas.noise(2))
    image = image + 0.02 * canvas.uniform(0, 1.5) * canvas.fractal(10, 2) * brain
    if canvas.happens(0.2):
        image = image * inside(-(brain - 0.5), 20)  # skull-stripped
    nouns = tuple(canvas.pick(NOUNS["magnetic head"]) for _ in range(canvas.count))
    return FamilyDrawing(image.clamp(0, 1).expand(-1, 3, -1, -1), brain, nouns)
