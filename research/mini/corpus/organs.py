"""Healthy pictures other than heads: chest, abdomen, ultrasound, skin, mucosa, retina."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from research.mini.corpus.canvas import Canvas, FamilyDrawing, ellipse, inside, paint
from research.mini.corpus.captions import NOUNS
from research.mini.corpus.heads import draw_computed_head, draw_magnetic_head


def _nouns(canvas: Canvas, kind: str) -> tuple[str, ...]:
    return tuple(canvas.pick(NOUNS[kind]) for _ in range(canvas.count))


def _grey(canvas: Canvas, image: Tensor, foreground: Tensor, kind: str) -> FamilyDrawing:
    nouns = _nouns(canvas, kind)
    return FamilyDrawing(image.clamp(0, 1).expand(-1, 3, -1, -1), foreground, nouns)


def _lungs(canvas: Canvas, x: Tensor, y: Tensor) -> Tensor:
    place, width, height = (
        canvas.uniform(0.34, 0.46),
        canvas.uniform(0.22, 0.33),
        canvas.uniform(0.5, 0.75),
    )
    right = ellipse(x, y, (-place, canvas.uniform(-0.1, 0.05)), (width, height))
    left = ellipse(
        x, y, (place, canvas.uniform(-0.1, 0.05)), (width * canvas.uniform(0.8, 1.05), height)
    )
    return torch.minimum(right, left)


def draw_radiograph(canvas: Canvas) -> FamilyDrawing:
    """A chest radiograph: dark lungs, ribs, heart to the right of the picture, clavicles, domes."""
    x, y = canvas.frame(turn=0.1, shift=0.08, warp=0.04)
    body = inside(
        ellipse(x, y, (0.0, 0.1), (canvas.uniform(0.85, 1.2), canvas.uniform(0.95, 1.3))), 15
    )
    image = body * canvas.uniform(0.5, 0.8)
    lungs = inside(_lungs(canvas, x, y), canvas.uniform(8, 16))
    image = paint(image, lungs, canvas.uniform(0.1, 0.35))
    ribs = torch.sin(canvas.uniform(14, 24) * (y + canvas.uniform(0.3, 0.8) * (x.abs() - 0.4) ** 2))
    image = image + canvas.uniform(0.02, 0.12) * torch.tanh(2 * ribs) * body
    vessels = canvas.fractal(8, 3).clamp(min=0) * inside(x.abs() - 0.45, 6)
    image = image + canvas.uniform(0, 0.08) * vessels * lungs
    place = (canvas.uniform(0.05, 0.15), canvas.uniform(0.2, 0.35))
    heart = ellipse(x, y, place, (canvas.uniform(0.2, 0.32), canvas.uniform(0.22, 0.34)))
    image = paint(image, inside(heart, 12) * 0.9, canvas.uniform(0.6, 0.85))
    dome = canvas.uniform(0.5, 0.75) + 0.25 * (x.abs() - 0.4) ** 2 - y
    image = paint(image, inside(dome, 14) * body, canvas.uniform(0.6, 0.9))
    image = image + inside(x.abs() - 0.08, 30) * canvas.uniform(0.05, 0.2) * body
    collar = (y + canvas.uniform(0.6, 0.75) - 0.25 * x.abs()).abs() - 0.03
    image = image + inside(collar, 40) * canvas.uniform(0, 0.15) * inside(0.1 - x.abs())
    return _grey(canvas, image, lungs, "radiograph")


def draw_chest_slice(canvas: Canvas) -> FamilyDrawing:
    """A CT-like slice of the chest in a lung or a soft-tissue window."""
    x, y = canvas.frame(turn=0.15, shift=0.08, warp=0.04)
    body = ellipse(x, y, (0.0, 0.0), (canvas.uniform(0.75, 0.97), canvas.uniform(0.55, 0.8)))
    image = inside(body, 40) * canvas.uniform(0.45, 0.75)
    image = paint(image, inside(body.add(0.06).abs() - 0.05, 30), canvas.uniform(0.2, 0.6))
    lungs = inside(_lungs(canvas, x, y / 0.85).maximum(body + 0.16), 30)
    image = paint(image, lungs, canvas.uniform(0.02, 0.2))
    # Vessels: many small bright dots, none of them a lesion.
    dots = inside(1.6 - canvas.noise(24), 6) * canvas.uniform(0, 0.6)
    image = paint(image, dots * lungs, canvas.uniform(0.4, 0.8))
    heart = ellipse(x, y, (canvas.uniform(0.02, 0.15), -0.1), (canvas.uniform(0.2, 0.3), 0.27))
    image = paint(image, inside(heart, 25), canvas.uniform(0.5, 0.8))
    for place in ((0.0, 0.45), (canvas.uniform(0.1, 0.16), 0.3)):
        round_thing = ellipse(x, y, place, (canvas.uniform(0.06, 0.12), canvas.uniform(0.06, 0.12)))
        image = paint(image, inside(round_thing, 15), canvas.uniform(0.6, 1.0))
    ribs = inside(body.add(0.1).abs() - 0.03, 40) * inside(
        torch.sin(canvas.whole(8, 14) * torch.atan2(y, x) + canvas.uniform(0, 6)), 6
    )
    image = paint(image, ribs, canvas.uniform(0.8, 1.0))
    return _grey(canvas, image, lungs, "chest slice")


def draw_abdomen(canvas: Canvas) -> FamilyDrawing:
    """A CT-like slice of the abdomen: liver, spleen, kidneys, spine, aorta, bowel with gas."""
    x, y = canvas.frame(turn=0.15, shift=0.08, warp=0.05)
    body = ellipse(x, y, (0.0, 0.0), (canvas.uniform(0.75, 0.97), canvas.uniform(0.5, 0.8)))
    fat, soft = canvas.uniform(0.05, 0.3), canvas.uniform(0.4, 0.6)
    inner = inside(body + canvas.uniform(0.06, 0.25), 30)
    image = paint(inside(body, 40) * fat, inside(body.add(0.2).abs() - 0.05, 30), soft)
    image = paint(image, inner, fat + canvas.uniform(0, 0.2))
    organs = (
        ((-0.4, -0.1), (0.36, 0.38)),  # liver
        ((0.5, 0.05), (0.16, 0.24)),  # spleen
        ((-0.28, 0.28), (0.12, 0.14)),  # kidneys
        ((0.28, 0.28), (0.12, 0.14)),
        ((0.1, -0.2), (0.22, 0.1)),  # stomach and pancreas
        ((0.15, 0.0), (0.12, 0.1)),  # bowel
    )
    for (u, v), (a, b) in organs:
        place = (u + canvas.uniform(-0.08, 0.08), v + canvas.uniform(-0.08, 0.08))
        size = (a * canvas.uniform(0.7, 1.2), b * canvas.uniform(0.7, 1.2))
        organ = inside(ellipse(x, y, place, size) + 0.12 * canvas.noise(5), 14)
        image = paint(image, organ * inner * canvas.chance(0.8), soft + canvas.uniform(-0.08, 0.3))
    gas = inside(1.9 - canvas.noise(7), 6) * inside(y + 0.05) * canvas.chance(0.4)
    image = paint(image, gas * inner, canvas.uniform(0, 0.05))
    spine = ellipse(x, y, (0.0, canvas.uniform(0.35, 0.45)), (0.12, 0.1))
    image = paint(image, inside(spine, 20) * inside(body), canvas.uniform(0.75, 1.0))
    aorta = ellipse(x, y, (canvas.uniform(-0.05, 0.08), 0.22), (0.05, 0.05))
    image = paint(image, inside(aorta, 8), canvas.uniform(0.5, 0.95))
    return _grey(canvas, image, inner, "abdomen")


def draw_ultrasound(canvas: Canvas) -> FamilyDrawing:
    """Layers with speckle, shadows and soft dark lobules; sometimes a fan on black."""
    size = (canvas.size_px, canvas.size_px)
    depth = canvas.y + canvas.uniform(0, 0.2) * canvas.noise(3)
    layers = canvas.uniform(0.04, 0.16) * torch.sin(canvas.uniform(4, 14) * depth)
    image = layers + canvas.uniform(0.22, 0.5) - canvas.uniform(-0.1, 0.25) * canvas.y
    image = image + canvas.uniform(0, 0.08) * canvas.fractal(5, 2)
    # Healthy fat lobules and shadows: dark, but shallow and without a border.
    image = image - canvas.uniform(0, 0.08) * inside(0.8 - canvas.noise(4), 3)
    shadow = functional.interpolate(canvas.noise(6)[:, :, :1], size, mode="bilinear")
    image = image * (1 - canvas.uniform(0, 0.35) * (shadow - 0.7).clamp(0, 1) * (canvas.y + 1) / 2)
    lines = torch.exp(-(((depth - canvas.uniform(-0.7, 0.2)) / 0.03) ** 2))
    image = image + canvas.uniform(0, 0.35) * lines * (0.5 + 0.5 * canvas.noise(4).tanh())
    grain = torch.randn(canvas.count, 1, size[0] // 2, size[1] // 3, generator=canvas.generator)
    speckle = functional.interpolate(grain, size, mode="bilinear", align_corners=False)
    image = image.clamp(min=0.01) * (1 + canvas.uniform(0.15, 0.5) * speckle)
    apex = canvas.uniform(-2.2, -1.3)
    span = (canvas.x.abs() - (canvas.y - apex) * canvas.uniform(0.45, 0.7)).maximum(
        ((canvas.x**2 + (canvas.y - apex) ** 2).sqrt() - (0.95 - apex)).maximum(-0.95 - canvas.y)
    )
    fan = 1 - canvas.chance(0.4) * (1 - inside(span, 60))
    return _grey(canvas, image * fan, fan, "ultrasound")


def draw_skin(canvas: Canvas) -> FamilyDrawing:
    """Skin with its lines, freckles, hairs and the vignette of a dermatoscope."""
    red = canvas.uniform(0.45, 0.97)
    green = red * canvas.uniform(0.6, 0.92)
    tone = torch.cat([red, green, green * canvas.uniform(0.7, 1.05)], 1)
    image = tone + canvas.uniform(0.01, 0.06) * canvas.fractal(canvas.pick((4, 8, 14)), 2)
    image = image + 0.06 * canvas.noise(2) * canvas.uniform(0.6, 1.2, channels=3)
    freckles = inside(2.3 - canvas.noise(20), 4) * canvas.chance(0.3)
    image = image - freckles * canvas.uniform(0.02, 0.1)
    if canvas.happens(0.5):
        for _ in range(canvas.pick((2, 4, 7))):
            _, v = canvas.frame(warp=0.3)
            hair = inside((v - canvas.uniform(-0.9, 0.9)).abs() - canvas.uniform(0.002, 0.01), 120)
            image = image - canvas.uniform(0.1, 0.45) * hair
    range_ = (canvas.x**2 + canvas.y**2).sqrt()
    vignette = canvas.uniform(0.85, 1.3)
    image = image * (1 - canvas.uniform(0, 0.6) * ((range_ - 0.7).clamp(0, 1)) * canvas.chance(0.6))
    image = image * (1 - inside(vignette - range_, 25) * canvas.chance(0.3))
    shine = inside(2.4 - canvas.noise(10), 6) * canvas.chance(0.2)
    image = paint(image, shine * 0.6, 0.95)
    whole = inside(range_ - vignette)
    return FamilyDrawing(image.clamp(0, 1), whole, _nouns(canvas, "skin"))


def draw_mucosa(canvas: Canvas) -> FamilyDrawing:
    """The wall of the gut: folds around a dark lumen, vessels, specular spots, black corners."""
    tone = torch.cat(
        [canvas.uniform(0.5, 0.95), canvas.uniform(0.2, 0.55), canvas.uniform(0.12, 0.42)], 1
    )
    x, y = canvas.x - canvas.uniform(-0.6, 0.6), canvas.y - canvas.uniform(-0.6, 0.6)
    range_ = (x**2 + y**2).sqrt()
    folds = torch.sin(canvas.uniform(4, 13) * range_ + 2 * canvas.noise(3))
    image = tone * (1 - 0.4 * range_ * canvas.uniform(0, 1) + canvas.uniform(0.02, 0.15) * folds)
    image = image + 0.04 * canvas.fractal(6, 3)
    vessel = inside(canvas.noise(6).abs() - 0.05, 20) * canvas.uniform(0, 0.15)
    image = image - vessel * torch.tensor([0.2, 1.0, 1.0]).view(1, 3, 1, 1)
    lumen = inside(range_ - canvas.uniform(0.05, 0.3), 8) * canvas.chance(0.5)
    image = image * (1 - 0.85 * lumen)
    spots = inside(2.2 - canvas.noise(22), 6) * canvas.chance(0.7)
    image = paint(image, spots * canvas.uniform(0.4, 1), 0.97)
    corner = (canvas.x.abs() + canvas.y.abs() - canvas.uniform(1.5, 1.9)).maximum(
        canvas.x.abs() - canvas.uniform(0.85, 1.1)
    )
    border = inside(-corner, 60) * canvas.chance(0.6)
    nouns = _nouns(canvas, "mucosa")
    return FamilyDrawing(paint(image, border, 0.02).clamp(0, 1), 1 - border, nouns)


def draw_retina(canvas: Canvas) -> FamilyDrawing:
    """A fundus: orange disc on black, bright optic disc, vessels that leave it, dark macula."""
    range_ = (canvas.x**2 + canvas.y**2).sqrt() - canvas.uniform(0.85, 1.1)
    tone = torch.cat(
        [canvas.uniform(0.5, 0.9), canvas.uniform(0.2, 0.45), canvas.uniform(0.05, 0.25)], 1
    )
    image = tone + 0.08 * canvas.noise(2) + 0.02 * canvas.fractal(10, 2)
    side = canvas.sign()
    u, v = (canvas.x - side * canvas.uniform(0.3, 0.5)), canvas.y - canvas.uniform(-0.1, 0.1)
    for curve in (-0.9, -0.5, 0.5, 0.9):
        track = (
            v - curve * canvas.uniform(0.7, 1.2) * (u.abs() + 1e-3).sqrt() + 0.05 * canvas.noise(5)
        )
        image = image - inside(track.abs() - canvas.uniform(0.008, 0.025), 80) * canvas.uniform(
            0.1, 0.3
        )
    macula = ellipse(u, v, (-side * 0.55, 0.05), (0.18, 0.18))
    image = image - inside(macula, 4) * canvas.uniform(0.02, 0.15)
    disc = ellipse(u, v, (0.0, 0.0), (canvas.uniform(0.1, 0.16), canvas.uniform(0.11, 0.17)))
    image = paint(image, inside(disc, 8) * canvas.uniform(0.6, 1), canvas.uniform(0.75, 1.0))
    seen = inside(range_, 60)
    return FamilyDrawing((image * seen).clamp(0, 1), seen, _nouns(canvas, "retina"))


ORGANS: dict[str, tuple[Callable[[Canvas], FamilyDrawing], int]] = {
    "computed head": (draw_computed_head, 7),
    "magnetic head": (draw_magnetic_head, 4),
    "radiograph": (draw_radiograph, 2),
    "chest slice": (draw_chest_slice, 1),
    "abdomen": (draw_abdomen, 2),
    "ultrasound": (draw_ultrasound, 2),
    "skin": (draw_skin, 2),
    "mucosa": (draw_mucosa, 2),
    "retina": (draw_retina, 1),
}
"""Each organ's drawer and how often it is drawn, relative to the others."""


def draw_organ(canvas: Canvas) -> FamilyDrawing:
    """One organ per batch, as often as its weight in ``ORGANS`` says."""
    tickets = tuple(draw for draw, weight in ORGANS.values() for _ in range(weight))
    return canvas.pick(tickets)(canvas)
