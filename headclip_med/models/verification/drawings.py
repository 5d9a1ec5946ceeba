"""Pictures drawn by code, and a sentence for each: plain colours, shapes and written words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

FINER = 4
"""How much finer pictures are drawn than they are shown, so that edges are smooth."""

COLOURS = {
    "red": (220, 20, 20), "green": (20, 150, 40), "blue": (20, 50, 220),
    "yellow": (250, 220, 20), "purple": (130, 30, 150), "orange": (250, 130, 10),
}  # fmt: skip
WORDS = ("apple", "house", "music", "seven", "tiger", "water")


@dataclass(frozen=True, eq=False)
class DrawnPicture:
    """A picture and the sentence that belongs to it.

    Attributes:
        group: ``colour``, ``shape`` or ``word``; a sentence is told from others of its group.
        sentence: In English.
        pixels01: In [0, 1], colours first.
    """

    group: str
    sentence: str
    pixels01: Float[np.ndarray, "3 size size"]


def draw_all(size_px: int) -> tuple[DrawnPicture, ...]:
    """Draw six colours, six shapes and six written words, in this order.

    Args:
        size_px: Rows and columns.
    """
    return (*_colours(size_px), *_shapes(size_px), *_words(size_px))


def _colours(size_px: int) -> Iterator[DrawnPicture]:
    for name, colour in COLOURS.items():

        def paint(
            draw: ImageDraw.ImageDraw, side: int, fill: tuple[int, int, int] = colour
        ) -> None:
            draw.ellipse((0.2 * side, 0.2 * side, 0.8 * side, 0.8 * side), fill=fill)

        yield _drawn(size_px, "colour", f"a {name} circle on a white background", paint)


def _shapes(size_px: int) -> Iterator[DrawnPicture]:
    for name, corners in _OUTLINES.items():

        def paint(
            draw: ImageDraw.ImageDraw, side: int, corners: tuple[tuple[float, float], ...] = corners
        ) -> None:
            points = [(side * (0.5 + 0.35 * x), side * (0.5 + 0.35 * y)) for x, y in corners]
            draw.polygon(points, fill=(0, 0, 0))

        yield _drawn(size_px, "shape", f"a black {name} on a white background", paint)


def _words(size_px: int) -> Iterator[DrawnPicture]:
    for word in WORDS:

        def paint(draw: ImageDraw.ImageDraw, side: int, word: str = word) -> None:
            font = ImageFont.load_default(side / 3.6)
            draw.text((side / 2, side / 2), word, (0, 0, 0), font=font, anchor="mm")

        yield _drawn(size_px, "word", f'a picture of the word "{word}"', paint)


def _drawn(
    size_px: int, group: str, sentence: str, paint: Callable[[ImageDraw.ImageDraw, int], None]
) -> DrawnPicture:
    side = size_px * FINER
    picture = Image.new("RGB", (side, side), (255, 255, 255))
    paint(ImageDraw.Draw(picture), side)
    pixels = np.asarray(picture.reduce(FINER), np.float32) / 255
    return DrawnPicture(group, sentence, np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _around(radii: tuple[float, ...], first: float = -90.0) -> tuple[tuple[float, float], ...]:
    """Give corners around the middle, evenly spread, y down, the first one at an angle."""
    angles = (math.radians(first + 360 * place / len(radii)) for place in range(len(radii)))
    return tuple(
        (radius * math.cos(angle), radius * math.sin(angle))
        for radius, angle in zip(radii, angles, strict=True)
    )


def _heart() -> tuple[tuple[float, float], ...]:
    turns = (2 * math.pi * place / 96 for place in range(96))
    return tuple(
        (
            math.sin(turn) ** 3,
            -(13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn)
              - math.cos(4 * turn)) / 16,
        )
        for turn in turns
    )  # fmt: skip


_OUTLINES = {
    "circle": _around((1.0,) * 96),
    "square": _around((1.2,) * 4, first=45.0),
    "triangle": _around((1.1,) * 3),
    "star": _around((1.1, 0.43) * 5),
    "heart": _heart(),
    "arrow": (
        (-1.0, -0.25),
        (0.2, -0.25),
        (0.2, -0.7),
        (1.0, 0.0),
        (0.2, 0.7),
        (0.2, 0.25),
        (-1.0, 0.25),
    ),
}
