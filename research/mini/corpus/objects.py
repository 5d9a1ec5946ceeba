"""Things on a ground: discs, rings, polygons, stars, gears, capsules, screws, plates, bottles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from research.mini.corpus.canvas import Canvas, FamilyDrawing, inside, paint
from research.mini.corpus.captions import NOUNS
from research.mini.corpus.textures import draw_texture


@dataclass(frozen=True)
class _Pose:
    """Coordinates in the object's own frame, and its size."""

    u: Float[Tensor, "batch 1 height width"]
    v: Float[Tensor, "batch 1 height width"]
    radius: Float[Tensor, "batch 1 1 1"]

    @property
    def range(self) -> Tensor:
        return (self.u**2 + self.v**2).sqrt()

    @property
    def angle(self) -> Tensor:
        return torch.atan2(self.v, self.u)


Shape = tuple[Tensor, Tensor | float]
"""Signed distance, and relief drawn on the object."""


def _disc(canvas: Canvas, pose: _Pose) -> Shape:
    ridge = canvas.chance(0.4) * inside((pose.range - pose.radius * 0.7).abs() - 0.03)
    return pose.range - pose.radius, ridge


def _ring(canvas: Canvas, pose: _Pose) -> Shape:
    return (pose.range - pose.radius).abs() - canvas.uniform(0.06, 0.2), 0.0


def _polygon(canvas: Canvas, pose: _Pose) -> Shape:
    sector = 2 * math.pi / canvas.whole(3, 8)
    facet = torch.cos(torch.remainder(pose.angle, sector) - sector / 2)
    return pose.range * facet - pose.radius * 0.85, 0.0


def _star(canvas: Canvas, pose: _Pose) -> Shape:
    points = torch.cos(canvas.whole(4, 7) * pose.angle)
    return pose.range - pose.radius * (0.7 + 0.25 * points), 0.0


def _gear(canvas: Canvas, pose: _Pose) -> Shape:
    teeth = torch.tanh(4 * torch.cos(canvas.whole(8, 17) * pose.angle))
    return (
        pose.range - pose.radius * (0.85 + 0.08 * teeth),
        -inside(pose.range - pose.radius * 0.3),
    )


def _capsule(canvas: Canvas, pose: _Pose) -> Shape:
    axis = pose.u.clamp(-0.7, 0.7).minimum(pose.radius).maximum(-pose.radius)
    distance = ((pose.u - axis) ** 2 + pose.v**2).sqrt() - canvas.uniform(0.1, 0.3)
    return distance, canvas.chance(0.5) * torch.sign(pose.u) * 0.4


def _screw(canvas: Canvas, pose: _Pose) -> Shape:
    width, length = canvas.uniform(0.06, 0.13), canvas.uniform(0.5, 0.8)
    thread = width + 0.025 * torch.sin(pose.u * canvas.uniform(40, 70))
    shaft = torch.maximum(pose.v.abs() - thread, (pose.u - 0.05).abs() - length)
    depth = (pose.u + length).abs() - canvas.uniform(0.08, 0.15)
    head = torch.maximum(pose.v.abs() - width * canvas.uniform(1.8, 2.6), depth)
    return torch.minimum(shaft, head), 0.35 * torch.sin(pose.v / width * 2.5)


def _cross(canvas: Canvas, pose: _Pose) -> Shape:
    long, short = pose.radius, pose.radius * canvas.uniform(0.2, 0.4)
    along = torch.maximum(pose.u.abs() - long, pose.v.abs() - short)
    return torch.minimum(along, torch.maximum(pose.v.abs() - long, pose.u.abs() - short)), 0.0


def _plate(canvas: Canvas, pose: _Pose) -> Shape:
    height = pose.radius * canvas.uniform(0.5, 1)
    corner_u, corner_v = pose.u.abs() - pose.radius * 0.6, pose.v.abs() - height * 0.55
    holes = -inside((corner_u**2 + corner_v**2).sqrt() - 0.07)
    return torch.maximum(pose.u.abs() - pose.radius, pose.v.abs() - height), holes


def _bottle(canvas: Canvas, pose: _Pose) -> Shape:
    size = pose.radius
    body = torch.maximum(pose.u.abs() - size, pose.v.abs() - size * 0.4)
    neck = torch.maximum((pose.u - size * 1.15).abs() - size * 0.25, pose.v.abs() - size * 0.15)
    return torch.minimum(body, neck), canvas.uniform(-0.5, 0.5) * inside(pose.u.abs() - size * 0.4)


_SHAPES: dict[str, Callable[[Canvas, _Pose], Shape]] = {
    "disc": _disc,
    "ring": _ring,
    "polygon": _polygon,
    "star": _star,
    "gear": _gear,
    "capsule": _capsule,
    "screw": _screw,
    "cross": _cross,
    "plate": _plate,
    "bottle": _bottle,
}


def draw_object(canvas: Canvas) -> FamilyDrawing:
    """One kind of object per batch, each with its own pose, size, material and ground."""
    kind = canvas.pick(tuple(_SHAPES))
    u, v = canvas.frame(shift=0.2, warp=0)
    pose = _Pose(u, v, canvas.uniform(0.4, 0.75))
    distance, relief = _SHAPES[kind](canvas, pose)
    mask = inside(distance)
    ground = draw_texture(canvas, ("plain", "plain", "rough", "brushed")).image
    matter = draw_texture(canvas, ("plain", "plain", "rough", "brushed", "wood", "striped")).image
    # An object as bright as its ground would have no outline: push the two apart.
    contrast = matter.mean((1, 2, 3), keepdim=True) - ground.mean((1, 2, 3), keepdim=True)
    matter = matter + 0.25 * torch.sign(contrast + 1e-6) * (contrast.abs() < 0.25)
    shading = canvas.uniform(-0.2, 0.2) * (-distance / pose.radius).clamp(0, 1)
    matter = matter + canvas.uniform(0.1, 0.25) * relief + shading
    nouns = tuple(canvas.pick(NOUNS[kind]) for _ in range(canvas.count))
    return FamilyDrawing(paint(ground, mask, matter).clamp(0, 1), mask, nouns)
