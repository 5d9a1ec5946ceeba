"""Where a defect lies and what outline it has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from research.mini.corpus.canvas import Canvas, inside

Plane = Float[Tensor, "batch 1 height width"]


@dataclass(frozen=True)
class Place:
    """An outline: a signed distance in units of its radius, with its centre."""

    distance: Plane
    x: Float[Tensor, "batch 1 1 1"]
    y: Float[Tensor, "batch 1 1 1"]
    radius: Float[Tensor, "batch 1 1 1"]


def _spot(canvas: Canvas, wanted: Plane) -> tuple[Tensor, Tensor]:
    """A random pixel of where ``wanted`` is high, as coordinates."""
    density = (wanted[:, 0].flatten(1) > 0.5).float() + 1e-4
    index = torch.multinomial(density, 1, generator=canvas.generator)[:, 0]
    size = canvas.size_px
    x = (index % size) / (size - 1) * 2 - 1
    y = torch.div(index, size, rounding_mode="floor") / (size - 1) * 2 - 1
    return x.view(-1, 1, 1, 1), y.view(-1, 1, 1, 1)


def blob(canvas: Canvas, foreground: Plane, radii: tuple[float, float]) -> Place:
    """A stretched disc with a bent outline, centred on the foreground.

    Args:
        canvas: The batch and its random stream.
        foreground: Where the centre may lie.
        radii: Smallest and largest radius, where the image spans [-1, 1]; log-uniform.
    """
    x, y = _spot(canvas, foreground)
    radius = canvas.log_uniform(*radii)
    angle = canvas.uniform(0, 6.28)
    u = angle.cos() * (canvas.x - x) + angle.sin() * (canvas.y - y)
    v = angle.cos() * (canvas.y - y) - angle.sin() * (canvas.x - x)
    stretch = canvas.uniform(-0.5, 0.5).exp()
    round_ = ((u / stretch) ** 2 + (v * stretch) ** 2).sqrt() / radius - 1
    bend = canvas.uniform(0, 0.3) * canvas.noise(8) + canvas.uniform(0, 0.3) * canvas.noise(4)
    return Place(round_ + bend, x, y, radius)


def curve(canvas: Canvas, foreground: Plane) -> Place:
    """A thin bent line, with distance in units of its half width."""
    x, y = _spot(canvas, foreground)
    angle, length = canvas.uniform(0, 6.28), canvas.log_uniform(0.15, 0.7)
    u = angle.cos() * (canvas.x - x) + angle.sin() * (canvas.y - y)
    v = angle.cos() * (canvas.y - y) - angle.sin() * (canvas.x - x)
    v = v - canvas.uniform(-1.5, 1.5) * u * u - 0.06 * canvas.noise(9) * canvas.chance(0.5)
    width = canvas.log_uniform(0.014, 0.05)
    return Place(torch.maximum(v.abs() - width, u.abs() - length) / width, x, y, length)


def wedge(canvas: Canvas, foreground: Plane) -> Place:
    """A sector that widens from its tip to a rounded end."""
    x, y = _spot(canvas, foreground)
    angle, radius = canvas.uniform(0, 6.28), canvas.log_uniform(0.2, 0.6)
    u = angle.cos() * (canvas.x - x) + angle.sin() * (canvas.y - y)
    v = angle.cos() * (canvas.y - y) - angle.sin() * (canvas.x - x)
    reach = (u**2 + v**2).sqrt() / radius - 1
    side = (v.abs() - u * canvas.uniform(0.3, 0.9)) / radius
    bend = 0.1 * canvas.noise(6)
    half = radius / 2
    return Place(
        torch.maximum(reach, side) + bend, x + angle.cos() * half, y + angle.sin() * half, radius
    )


def rim(canvas: Canvas, foreground: Plane) -> Place:
    """A crescent or lens that lies along the inner edge of the foreground."""
    kernel = canvas.size_px // 8 * 2 + 1
    smooth = functional.avg_pool2d(foreground, kernel, 1, kernel // 2, count_include_pad=False)
    edge = foreground * (smooth < canvas.uniform(0.6, 0.8)).float()
    x, y = _spot(canvas, edge)
    radius = canvas.log_uniform(0.2, 0.6)
    near = ((canvas.x - x) ** 2 + (canvas.y - y) ** 2).sqrt() / radius
    # Thick in the middle, thin at both ends: the allowed depth falls with the distance.
    depth = canvas.uniform(0.62, 0.85) - 0.3 * near**2 + 0.03 * canvas.noise(8)
    return Place(torch.maximum((smooth - depth) * 4, near - 1), x, y, radius)


def scatter(canvas: Canvas, foreground: Plane) -> Place:
    """Several small spots that lie in one neighbourhood."""
    around = blob(canvas, foreground, (0.15, 0.6))
    cells = canvas.pick((12, 18, 24))
    spots = canvas.uniform(1.1, 1.9) - canvas.noise(cells)
    return Place(torch.maximum(spots, around.distance), around.x, around.y, around.radius)


def softly(place: Place, sharpness: Tensor | float) -> Plane:
    """The place as a mask in [0, 1]."""
    return inside(place.distance, sharpness)
