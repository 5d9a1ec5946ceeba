"""The layers that a page lays over each other: grey levels, heatmap, outlines of candidates.

Each is the smallest file that holds what it must: grey levels may lose a little (JPEG), a heatmap's
levels may not (PNG), since what lies below a threshold is told by them; outlines are lines (SVG).
"""

from __future__ import annotations

import io
from functools import reduce

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from headclip_med.findings import Box

JPEG_QUALITY = 80
FASTEST = 1
"""Of PNG's levels: the slower ones take four times as long for a tenth less."""


def to_jpeg(levels: UInt8[np.ndarray, "rows columns *colour"]) -> bytes:
    """Write grey levels, or colours."""
    picture = Image.fromarray(np.ascontiguousarray(levels))
    return _saved(picture, "JPEG", quality=JPEG_QUALITY)


def to_png(levels: UInt8[np.ndarray, "rows columns"]) -> bytes:
    """Write levels as they are."""
    picture = Image.fromarray(np.ascontiguousarray(levels))
    return _saved(picture, "PNG", compress_level=FASTEST)


def step_to(shape: tuple[int, ...], most_px: int) -> int:
    """Say how many pixels in a row become one, so that the longer side is no longer than that."""
    return -(-max(shape) // most_px)


def mean_of(
    levels: UInt8[np.ndarray, "rows columns *colour"], step: int
) -> UInt8[np.ndarray, "small_rows small_columns *colour"]:
    """Average squares of pixels."""
    if step == 1:
        return levels
    return np.asarray(Image.fromarray(np.ascontiguousarray(levels)).reduce(step))


def highest_of(
    levels: UInt8[np.ndarray, "rows columns"], step: int
) -> UInt8[np.ndarray, "small_rows small_columns"]:
    """Give the highest of each square of pixels, so that nothing that stands out is lost."""
    if step == 1:
        return levels
    rows, columns = levels.shape
    padded = np.pad(levels, ((0, -rows % step), (0, -columns % step)))
    of_rows = reduce(np.maximum, (padded[start::step] for start in range(step)))
    return np.asarray(reduce(np.maximum, (of_rows[:, start::step] for start in range(step))))


def outline_of(labels: Integer[np.ndarray, "rows columns"]) -> str:
    """Draw the borders between labels as a path of SVG, in pixels; empty where there is one."""
    box = Box.around(labels)
    if box is None:
        return ""
    top, left = box.first_row, box.first_column
    inside = np.pad(labels[box.indices], 1)
    down = (f"M{x + left} {y + top}v{n}" for x, y, n in _runs(inside))
    across = (f"M{x + left} {y + top}h{n}" for y, x, n in _runs(inside.T))
    return "".join((*down, *across))


def _runs(labels: Integer[np.ndarray, "rows columns"]) -> list[tuple[int, int, int]]:
    """List the borders between neighbours in a row: column, first row, how many rows."""
    differs = np.pad(labels[1:-1, 1:] != labels[1:-1, :-1], ((1, 1), (0, 0))).T
    steps = np.diff(differs.astype(np.int8), axis=1)
    starts, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    lengths = ends[:, 1] - starts[:, 1]
    return list(zip(*starts.T.tolist(), lengths.tolist(), strict=True))


def _saved(picture: Image.Image, kind: str, **options: int) -> bytes:
    content = io.BytesIO()
    picture.save(content, format=kind, **options)
    return content.getvalue()
