"""Whether a picture looks like a page of tiles: similar pictures in a grid, each in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

FEWEST_PIXELS = 16
"""Along a side of a tile."""

MOST_ACROSS = 16
"""Tiles in a row, or in a column."""

DARKEST, BRIGHTEST = 1.0, 99.5
"""Percentiles of the page between which its greys are counted."""

DARK = 0.15
"""Of these greys, what is background."""

EMPTIEST = 0.02
"""A tile that is brighter in less than this part of it is an empty one."""

CROSSED = 0.2
"""At most this part of the tiles' borders shows anything."""

ALIKE = 0.5
"""Correlation of a tile and the next, as a median.

Of 5,100 slices and photographs none reaches 0.3 with borders as dark; pages made of real heads,
bodies and phantoms lie above 0.7.
"""


class TilePattern(NamedTuple):
    """Tiles down, tiles across, and how many of them hold a picture."""

    rows: int
    columns: int
    pictures: int


def find_tile_pattern(image: Float32[np.ndarray, "rows columns"]) -> TilePattern | None:
    """Find the grid in which a picture repeats itself best.

    The pictures fill the page from its first tile on, without a gap, and it is no larger than it
    needs to be.

    Args:
        image: Of finite values.

    Returns:
        None where it is one picture, as far as can be seen.
    """
    low, high = np.percentile(image, (DARKEST, BRIGHTEST))
    if high <= low:
        return None
    greys = np.clip((image - low) / (high - low), 0, 1)
    found: dict[TilePattern, float] = {}
    for rows, columns in _grids(greys.shape):
        tiles = greys.reshape(rows, image.shape[0] // rows, columns, -1).swapaxes(1, 2)
        tiles = tiles.reshape(rows * columns, *tiles.shape[2:])
        bright = tiles > DARK
        pictures = _filled(bright)
        fewest = (rows - 1) ** 2 if rows == columns else (rows - 1) * columns
        if pictures <= max(fewest, 2):
            continue
        crossed = float(_border(bright[:pictures]).mean())
        if crossed <= CROSSED and (likeness := _likeness(tiles[:pictures])) > ALIKE:
            found[TilePattern(rows, columns, pictures)] = likeness - crossed
    return max(found, key=lambda one: found[one], default=None)


def _grids(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Go through the grids that divide a page into tiles that are nearly square."""
    for rows in range(2, MOST_ACROSS + 1):
        for columns in range(2, MOST_ACROSS + 1):
            if shape[0] % rows or shape[1] % columns:
                continue
            sides = shape[0] // rows, shape[1] // columns
            if min(sides) >= FEWEST_PIXELS and max(sides) <= 1.5 * min(sides):
                yield rows, columns


def _filled(bright: np.ndarray) -> int:
    """Count the tiles up to the last that is not empty."""
    full = np.flatnonzero(bright.mean(axis=(1, 2)) > EMPTIEST)
    return int(full[-1]) + 1 if full.size else 0


def _border(bright: np.ndarray) -> np.ndarray:
    """Take the outermost pixels of each tile."""
    wide = max(1, min(bright.shape[1:]) // 32)
    sides = bright[:, :wide], bright[:, -wide:], bright[:, :, :wide], bright[:, :, -wide:]
    return np.concatenate([side.reshape(len(bright), -1) for side in sides], axis=1)


def _likeness(tiles: np.ndarray) -> float:
    """Correlate each tile with the next, and take the median."""
    flat = tiles.reshape(len(tiles), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.maximum(np.linalg.norm(flat, axis=1), 1e-6)
    return float(np.median((flat[1:] * flat[:-1]).sum(axis=1) / (norms[1:] * norms[:-1])))
