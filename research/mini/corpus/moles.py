"""Pigmented lesions of skin as a dermatoscope shows them: large, uneven in outline and in tone."""

from __future__ import annotations

import torch

from research.mini.corpus.canvas import Canvas, inside, paint
from research.mini.corpus.defects import Defect, Picture, Plane
from research.mini.corpus.places import Place, blob, softly


def draw_mole(canvas: Canvas, image: Picture, foreground: Plane) -> Defect:
    """A mole or melanoma: up to most of the field of view, with an outline that runs and breaks.

    Brown to black, pink in one picture of six; darker and lighter parts, a net of pigment, and
    sometimes a veil of blue-grey. A mark on the skin's own colour, so that its lines shine through.

    Returns:
        The altered picture, and where the lesion lies.
    """
    # A dermatoscope is put on what it is to show.
    middle = inside((canvas.x**2 + canvas.y**2).sqrt() - canvas.uniform(0.2, 0.6))
    outline = blob(canvas, foreground * middle, (0.25, 0.9))
    bend = canvas.uniform(0, 0.25) * canvas.noise(3) + canvas.uniform(0, 0.12) * canvas.noise(14)
    place = Place(outline.distance + bend, outline.x, outline.y, outline.radius)
    mask = softly(place, canvas.log_uniform(4, 25))
    pink = canvas.chance(0.17)
    red = canvas.uniform(0.3, 0.85) * (1 - pink) + canvas.uniform(0.85, 1.05) * pink
    green = red * (canvas.uniform(0.65, 0.95) * (1 - pink) + canvas.uniform(0.6, 0.8) * pink)
    tone = torch.cat([red, green, green * canvas.uniform(0.75, 1.1)], 1)
    lesion = image * tone
    for _ in range(2):
        part = place.distance + canvas.uniform(0.1, 0.8) + 0.4 * canvas.noise(5)
        lesion = lesion * (1 - inside(part, canvas.uniform(3, 12)) * canvas.uniform(-0.25, 0.6))
    net = inside(canvas.noise(26).abs() - 0.25, 8) * canvas.chance(0.5)
    lesion = lesion * (1 - net * canvas.uniform(0, 0.25))
    veil = inside(0.4 - canvas.noise(3), 5) * canvas.chance(0.25) * canvas.uniform(0.3, 0.8)
    lesion = paint(lesion, veil, torch.tensor([0.42, 0.45, 0.55]).view(1, 3, 1, 1))
    return Defect(paint(image, mask, lesion.clamp(0, 1)), mask, outline.x, outline.y)
