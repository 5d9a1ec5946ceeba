"""What can be wrong with a picture: eighteen kinds of defect.

A kind takes a drawing and returns the altered image and a soft mask of what it altered. Size,
contrast, border and place are drawn per image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from research.mini.corpus.canvas import Canvas, inside, paint
from research.mini.corpus.places import Place, blob, curve, rim, scatter, softly, wedge
from research.mini.corpus.textures import draw_texture

Plane = Float[Tensor, "batch 1 height width"]
Picture = Float[Tensor, "batch 3 height width"]


@dataclass(frozen=True)
class Defect:
    """An altered image, how strongly each pixel was meant to change, and where its centre is."""

    image: Picture
    mask: Plane
    x: Float[Tensor, "batch 1 1 1"]
    y: Float[Tensor, "batch 1 1 1"]


def _sized(canvas: Canvas, foreground: Plane) -> Place:
    """Most spots are small or middling; one batch in three has bold ones."""
    radii = canvas.pick(((0.06, 0.3), (0.06, 0.3), (0.25, 0.6)))
    return blob(canvas, foreground, radii)


def _tint(canvas: Canvas, image: Picture) -> Float[Tensor, "batch 3 1 1"]:
    """A weight per channel: one for grey pictures, unequal for colour."""
    grey = ((image[:, :1] - image[:, 1:2]).abs().amax((1, 2, 3), keepdim=True) < 1e-3).float()
    return grey + (1 - grey) * canvas.uniform(0.5, 1.3, channels=3)


def _shift(canvas: Canvas, image: Picture, place: Place, towards: Tensor) -> Defect:
    """Lighter or darker by a step, keeping or flattening what lies beneath."""
    mask = softly(place, canvas.log_uniform(3, 25))
    mean = (image * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
    flat = canvas.chance(0.5) * canvas.uniform(0.4, 1)
    step = towards * canvas.uniform(0.1, 0.5) * _tint(canvas, image)
    mottle = canvas.uniform(0, 0.05) * canvas.fractal(8, 2)
    return Defect(
        paint(image, mask, paint(image, flat, mean) + step + mottle), mask, place.x, place.y
    )


def _bright(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    return _shift(canvas, image, _sized(canvas, foreground), torch.tensor(1.0))


def _dark(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    return _shift(canvas, image, _sized(canvas, foreground), torch.tensor(-1.0))


def _wedge(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    return _shift(canvas, image, wedge(canvas, foreground), canvas.sign())


def _rim(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    return _shift(canvas, image, rim(canvas, foreground), canvas.sign())


def _scatter(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = scatter(canvas, foreground)
    mask = softly(place, 8.0)
    step = canvas.sign() * canvas.uniform(0.2, 0.55) * _tint(canvas, image)
    return Defect(image + mask * step, mask, place.x, place.y)


def _diffuse(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = blob(canvas, foreground, (0.12, 0.6))
    mask = softly(place, canvas.uniform(2.5, 6))
    step = canvas.sign() * canvas.uniform(0.1, 0.32) * _tint(canvas, image)
    return Defect(image + mask * step, mask, place.x, place.y)


def _haloed(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    """A core inside a halo that is lighter where the core is darker, or the other way."""
    place = _sized(canvas, foreground)
    core = softly(place, canvas.uniform(5, 20))
    wide = Place(place.distance - canvas.uniform(0.3, 1.0), place.x, place.y, place.radius)
    halo = softly(wide, canvas.uniform(4, 12))
    towards = canvas.sign()
    altered = image - towards * canvas.uniform(0.06, 0.3) * halo
    altered = altered + towards * canvas.uniform(0.25, 0.6) * core
    return Defect(altered, halo, place.x, place.y)


def _ring(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = _sized(canvas, foreground)
    sharp = canvas.uniform(6, 25)
    band = Place(place.distance.abs() - canvas.uniform(0.12, 0.3), place.x, place.y, place.radius)
    centre = softly(place, sharp) * canvas.uniform(-0.4, 0.5)
    strength = canvas.sign() * canvas.uniform(0.15, 0.5)
    mask = torch.maximum(softly(band, sharp), softly(place, sharp))
    return Defect(image + strength * (softly(band, sharp) + centre), mask, place.x, place.y)


def _stain(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = _sized(canvas, foreground)
    mask = softly(place, canvas.log_uniform(4, 25))
    colour = canvas.colour(0.3)
    opacity = canvas.uniform(0.35, 0.85)
    return Defect(paint(image, mask * opacity, colour), mask, place.x, place.y)


def _scratch(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = curve(canvas, foreground)
    mask = softly(place, 3.0)
    return Defect(image + canvas.sign() * canvas.uniform(0.2, 0.55) * mask, mask, place.x, place.y)


def _crack(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    first, second = curve(canvas, foreground), curve(canvas, foreground)
    near = inside((canvas.x - first.x) ** 2 + (canvas.y - first.y) ** 2 - 0.2, 30)
    mask = torch.maximum(softly(first, 3.0), softly(second, 3.0) * near * canvas.chance(0.5))
    return Defect(image - canvas.uniform(0.2, 0.55) * mask, mask, first.x, first.y)


def _hole(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = _sized(canvas, foreground)
    mask = softly(place, canvas.uniform(10, 25))
    depth = canvas.uniform(0, 0.2) + canvas.chance(0.3) * 0.8
    return Defect(paint(image, mask, depth), mask, place.x, place.y)


def _foreign(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = _sized(canvas, foreground)
    mask = softly(place, canvas.uniform(6, 25))
    matter = draw_texture(canvas).image
    shade = image.mean((2, 3), keepdim=True) - matter.mean((2, 3), keepdim=True)
    return Defect(paint(image, mask, matter + shade * canvas.chance(0.5)), mask, place.x, place.y)


def _misplaced(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = _sized(canvas, foreground)
    mask = softly(place, canvas.uniform(8, 25))
    fifth = canvas.size_px // 5
    shifts = (fifth * canvas.pick((1, 2, 3, 4)), fifth * canvas.pick((1, 2, 3, 4)))
    other = torch.roll(image.flip(canvas.pick((2, 3))), shifts, (2, 3))
    return Defect(paint(image, mask, other + canvas.uniform(-0.08, 0.08)), mask, place.x, place.y)


def _warped(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = blob(canvas, foreground, (0.12, 0.4))
    mask = softly(place, 6.0)
    swirl = canvas.uniform(0.4, 1.1) * canvas.sign()
    ripple = 0.6 * place.radius
    u = canvas.x + mask * (ripple * canvas.noise(6) - swirl * (canvas.y - place.y))
    v = canvas.y + mask * (ripple * canvas.noise(6) + swirl * (canvas.x - place.x))
    field = torch.cat([u, v], 1).permute(0, 2, 3, 1)
    bent = functional.grid_sample(image, field, align_corners=True, padding_mode="reflection")
    return Defect(bent, mask, place.x, place.y)


def _blurred(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = blob(canvas, foreground, (0.15, 0.4))
    mask = softly(place, canvas.uniform(6, 20))
    margin = canvas.size_px // 18
    padded = functional.pad(image, (margin,) * 4, mode="reflect")
    smooth = functional.avg_pool2d(padded, 2 * margin + 1, 1)
    return Defect(paint(image, mask, smooth), mask, place.x, place.y)


def _roughened(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = _sized(canvas, foreground)
    mask = softly(place, canvas.uniform(6, 20))
    cells = canvas.size_px // canvas.pick((2, 4, 6))
    return Defect(
        image + mask * canvas.uniform(0.15, 0.35) * canvas.noise(cells), mask, place.x, place.y
    )


def _missing(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    place = _sized(canvas, foreground)
    mask = softly(place, canvas.uniform(10, 25))
    ground = image[:, :, :6].mean((2, 3), keepdim=True)
    return Defect(paint(image, mask, ground), mask, place.x, place.y)


Kind = Callable[[Canvas, Picture, Plane], Defect]

DEFECTS: dict[str, tuple[Kind, int, int]] = {
    "bright": (_bright, 2, 4),
    "dark": (_dark, 2, 4),
    "haloed": (_haloed, 1, 3),
    "diffuse": (_diffuse, 1, 3),
    "ring": (_ring, 1, 2),
    "rim": (_rim, 1, 2),
    "wedge": (_wedge, 1, 2),
    "scatter": (_scatter, 1, 2),
    "stain": (_stain, 2, 2),
    "foreign": (_foreign, 2, 1),
    "roughened": (_roughened, 1, 1),
    "scratch": (_scratch, 2, 1),
    "crack": (_crack, 2, 1),
    "misplaced": (_misplaced, 2, 1),
    "warped": (_warped, 2, 1),
    "blurred": (_blurred, 1, 0),
    "hole": (_hole, 2, 0),
    "missing": (_missing, 2, 0),
}
"""Each kind, and how often surfaces and objects have it, and organs."""


def draw_defect(
    canvas: Canvas, image: Picture, foreground: Plane, *, organ: bool
) -> tuple[str, Defect]:
    """One kind of defect for the whole batch.

    Returns:
        The kind's name, and the defect; whether it can be seen is for the caller to check.
    """
    tickets = tuple(
        name
        for name, (_, industrial, organic) in DEFECTS.items()
        for _ in range(organic if organ else industrial)
    )
    name = canvas.pick(tickets)
    defect = DEFECTS[name][0](canvas, image, foreground)
    if organ:  # a grey scan has no coloured lesion
        grey = (image - image.mean(1, keepdim=True)).abs().amax((1, 2, 3), keepdim=True) < 1e-3
        plain = defect.image.mean(1, keepdim=True).expand_as(image)
        altered = torch.where(grey, plain, defect.image)
        defect = Defect(altered, defect.mask, defect.x, defect.y)
    if name in ("missing", "hole", "crack", "scratch", "warped"):
        return name, defect
    # The rest stays on the organ or object: a lesion does not paint the air beside it.
    kept = defect.mask * functional.avg_pool2d(foreground, 3, 1, 1)
    ratio = functional.avg_pool2d(foreground, 3, 1, 1)
    return name, Defect(paint(image, ratio, defect.image).clamp(0, 1), kept, defect.x, defect.y)
