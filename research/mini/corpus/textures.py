"""Surfaces: noise, stripes, grids, cloth, dots, wood, cells, brushed metal, plain."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from research.mini.corpus.canvas import Canvas, FamilyDrawing
from research.mini.corpus.captions import NOUNS

Field = Float[Tensor, "batch 1 height width"]


def _rough(canvas: Canvas) -> Field:
    cells, octaves = canvas.pick((2, 4, 8, 16, 28)), canvas.pick((1, 2, 3))
    return 0.55 * canvas.fractal(cells, octaves, canvas.pick((0.4, 0.6, 0.9)))


def _striped(canvas: Canvas) -> Field:
    u, _ = canvas.frame()
    wave = torch.sin(canvas.uniform(6, 30) * u + canvas.uniform(0, 6))
    return torch.tanh(wave * canvas.pick((0.7, 2.0, 5.0))) * 1.3


def _grid(canvas: Canvas) -> Field:
    u, v = canvas.frame()
    pitch = canvas.uniform(6, 30)
    return torch.maximum(torch.sin(pitch * u), torch.sin(pitch * v)) * 1.2


def _woven(canvas: Canvas) -> Field:
    u, v = canvas.frame()
    pitch = canvas.uniform(6, 30)
    return torch.sin(pitch * u) * torch.sign(torch.sin(pitch * v / 2)) + 0.4 * torch.sin(pitch * v)


def _dotted(canvas: Canvas) -> Field:
    u, v = canvas.frame()
    pitch = canvas.uniform(6, 30)
    dots = torch.sin(pitch * u) * torch.sin(pitch * v)
    return torch.tanh(3 * (dots - canvas.uniform(0, 0.5)))


def _wood(canvas: Canvas) -> Field:
    u, _ = canvas.frame()
    rings = torch.sin(canvas.uniform(8, 30) * (u + canvas.noise(3) / 4) + 1.5 * canvas.noise(4))
    return rings + 0.3 * canvas.fractal(8, 3)


def _cellular(canvas: Canvas) -> Field:
    coarse = canvas.size_px // 2
    axis = torch.linspace(-1, 1, coarse)
    seeds = torch.rand(canvas.count, 30, 2, 1, 1, generator=canvas.generator) * 2.2 - 1.1
    squares = (axis.view(1, -1) - seeds[:, :, 0]) ** 2 + (axis.view(-1, 1) - seeds[:, :, 1]) ** 2
    nearest = squares.topk(2, 1, largest=False)[0].sqrt()
    walls = ((nearest[:, 1:] - nearest[:, :1]) * 10 - 1).clamp(-1.5, 1.5)
    size = (canvas.size_px, canvas.size_px)
    return functional.interpolate(walls, size, mode="bilinear", align_corners=False)


def _brushed(canvas: Canvas) -> Field:
    size = canvas.size_px
    columns = canvas.pick((1, 2, 4))
    lines = torch.randn(canvas.count, 1, size, columns, generator=canvas.generator)
    return functional.interpolate(lines, (size, size), mode="bilinear", align_corners=False)


def _plain(canvas: Canvas) -> Field:
    return 0.3 * canvas.fractal(2, 2)


_FIELDS: dict[str, Callable[[Canvas], Field]] = {
    "rough": _rough,
    "striped": _striped,
    "grid": _grid,
    "woven": _woven,
    "dotted": _dotted,
    "wood": _wood,
    "cellular": _cellular,
    "brushed": _brushed,
    "plain": _plain,
}

TEXTURES = tuple(_FIELDS)
"""The kinds of surface."""


def draw_texture(canvas: Canvas, kinds: tuple[str, ...] = TEXTURES) -> FamilyDrawing:
    """Surfaces that fill the image, all of one kind taken from ``kinds``."""
    kind = canvas.pick(kinds)
    relief = _FIELDS[kind](canvas) * (1 + 0.3 * canvas.uniform(-0.5, 0.5, channels=3))
    image = canvas.colour() * 0.7 + 0.15 + canvas.uniform(0.04, 0.28) * relief
    image = image + canvas.uniform(0, 0.15) * canvas.noise(2)
    whole = torch.ones(canvas.count, 1, canvas.size_px, canvas.size_px)
    nouns = tuple(canvas.pick(NOUNS[kind]) for _ in range(canvas.count))
    return FamilyDrawing(image.clamp(0, 1), whole, nouns)
