"""The batch of images being drawn, and the one random stream that decides them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Option = TypeVar("Option")

Number = float | int
"""A plain number; the run-time type check of the tests does not take an int for a float."""


@dataclass(frozen=True)
class FamilyDrawing:
    """What a family of images draws, before defects and before the camera."""

    image: Float[Tensor, "batch 3 height width"]
    """Grey or colour values in [0, 1]."""
    foreground: Float[Tensor, "batch 1 height width"]
    """Where a defect may lie, softly, in [0, 1]."""
    nouns: tuple[str, ...]
    """What each image shows, in words."""


class Canvas:
    """A batch of square images and the random stream that decides them.

    Every number of the corpus comes from one ``torch.Generator``, so (seed, index) fixes each
    image on any machine with the same torch.

    Args:
        count: Images drawn together; they share a kind and differ in every parameter.
        size_px: Width and height.
        key: Whole numbers that name this batch, usually (seed, index).
    """

    def __init__(self, count: int, size_px: int, key: tuple[int, ...]) -> None:
        self.count = count
        self.size_px = size_px
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
        self.generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
        axis = torch.linspace(-1, 1, size_px)
        vertical, horizontal = torch.meshgrid(axis, axis, indexing="ij")
        self.x = horizontal.expand(count, 1, size_px, size_px)
        self.y = vertical.expand(count, 1, size_px, size_px)

    def part(self, count: int) -> Canvas:
        """A smaller canvas that goes on with the same random stream."""
        smaller = object.__new__(Canvas)
        smaller.count, smaller.size_px, smaller.generator = count, self.size_px, self.generator
        smaller.x, smaller.y = self.x[:count], self.y[:count]
        return smaller

    def uniform(
        self, low: Number, high: Number, channels: int = 1
    ) -> Float[Tensor, "batch channels 1 1"]:
        """A number per image in [low, high)."""
        numbers = torch.rand(self.count, channels, 1, 1, generator=self.generator)
        return numbers * (high - low) + low

    def log_uniform(self, low: Number, high: Number) -> Float[Tensor, "batch 1 1 1"]:
        """A number per image whose logarithm is uniform."""
        return self.uniform(math.log(low), math.log(high)).exp()

    def chance(self, probability: Number) -> Float[Tensor, "batch 1 1 1"]:
        """One with the given probability, else zero, per image."""
        return (self.uniform(0, 1) < probability).float()

    def sign(self) -> Float[Tensor, "batch 1 1 1"]:
        """Plus or minus one per image."""
        return self.chance(0.5) * 2 - 1

    def whole(self, low: int, high: int) -> Float[Tensor, "batch 1 1 1"]:
        """A whole number per image in [low, high]."""
        return self.uniform(low, high + 1).floor()

    def pick(self, options: Sequence[Option]) -> Option:
        """One option for the whole batch."""
        return options[int(torch.randint(len(options), (1,), generator=self.generator))]

    def happens(self, probability: Number) -> bool:
        """Whether something happens to the whole batch."""
        return bool(torch.rand(1, generator=self.generator) < probability)

    def white(self, size_px: int | None = None) -> Float[Tensor, "batch 1 height width"]:
        """Independent normal noise per pixel."""
        size = size_px or self.size_px
        return torch.randn(self.count, 1, size, size, generator=self.generator)

    def noise(self, cells: int, channels: int = 1) -> Float[Tensor, "batch channels height width"]:
        """Smooth noise that varies over ``cells`` cells per side."""
        coarse = torch.randn(self.count, channels, cells, cells, generator=self.generator)
        size = (self.size_px, self.size_px)
        return functional.interpolate(coarse, size, mode="bicubic", align_corners=False)

    def fractal(
        self, cells: int, octaves: int, persistence: Number = 0.5
    ) -> Float[Tensor, "batch 1 height width"]:
        """Sum of smooth noises of doubling frequency, with unit standard deviation."""
        total = torch.zeros(self.count, 1, self.size_px, self.size_px)
        for octave in range(octaves):
            fine = min(cells * 2**octave, self.size_px)
            total = total + persistence**octave * self.noise(fine)
        return total / total.flatten(1).std(1).clamp(min=1e-3).view(-1, 1, 1, 1)

    def frame(
        self, turn: Number = math.pi, shift: Number = 0.0, warp: Number = 0.15
    ) -> tuple[Float[Tensor, "batch 1 height width"], Float[Tensor, "batch 1 height width"]]:
        """Coordinates turned, shifted and gently bent.

        Args:
            turn: Largest rotation, in radians.
            shift: Largest shift, where the image spans [-1, 1].
            warp: Largest amplitude of the bending; three images in five have some.
        """
        angle = self.uniform(-turn, turn)
        x, y = self.x - self.uniform(-shift, shift), self.y - self.uniform(-shift, shift)
        u = angle.cos() * x + angle.sin() * y
        v = angle.cos() * y - angle.sin() * x
        bend = self.uniform(0, warp) * self.chance(0.6)
        return u + bend * self.noise(3), v + bend * self.noise(3)

    def colour(self, grey: Number = 0.5) -> Float[Tensor, "batch 3 1 1"]:
        """A colour per image; grey with the given probability."""
        colour = self.uniform(0, 1, channels=3)
        return torch.where(self.chance(grey) > 0, colour[:, :1].expand(-1, 3, -1, -1), colour)


def inside(distance: Tensor, sharpness: Number | Tensor = 40.0) -> Tensor:
    """Soft indicator of ``distance < 0``: the sigmoid of ``-sharpness * distance``."""
    return torch.sigmoid(-distance * sharpness)


def ellipse(
    x: Tensor,
    y: Tensor,
    centre: tuple[Tensor | Number, Tensor | Number],
    axes: tuple[Tensor | Number, Tensor | Number],
) -> Tensor:
    """Signed relative distance to an ellipse: -1 at its centre, 0 on its rim."""
    return (((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2).sqrt() - 1


def paint(image: Tensor, mask: Tensor, value: Tensor | Number) -> Tensor:
    """Cover the image with a value where the mask is one."""
    return image + mask * (value - image)
