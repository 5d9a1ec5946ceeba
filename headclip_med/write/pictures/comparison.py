"""A grid of images, their truth, and what several methods see in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from headclip_med.write.pictures.overlay import BACKGROUND, MUTED, TEXT, Colours, blend, font
from headclip_med.write.plain_text import visible

SIDE_PX = 224
"""Rows and columns of a cell: the patches of a map can be told apart."""

GAP_PX = 6
HEAD_PX = 34
"""Height of the titles above the columns."""

NAMES_PX = 150
"""Width of what stands before a row."""

TRUTH = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class ComparedRow:
    """One image of a comparison.

    Attributes:
        heads: What stands before it, a line each: its set, its category, its number.
        picture: Red, green, blue in [0, 1].
        truth: Which pixels are abnormal; None where that is not known.
        maps: Of each method, in [0, 1], at any size.
    """

    heads: tuple[str, ...]
    picture: Float[np.ndarray, "rows columns 3"]
    truth: Bool[np.ndarray, "rows columns"] | None
    maps: tuple[Float[np.ndarray, "side side"], ...]


def draw_comparison(methods: Sequence[str], rows: Sequence[ComparedRow]) -> Image.Image:
    """Draw image, truth and the map of each method from left to right, an image a row.

    Args:
        methods: Their titles.
        rows: Of as many maps as there are methods.
    """
    titles = ("image", "truth", *methods)
    step = SIDE_PX + GAP_PX
    size = (NAMES_PX + len(titles) * step, HEAD_PX + len(rows) * step)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        middle = NAMES_PX + column * step + SIDE_PX / 2
        draw.text((middle, HEAD_PX / 2), visible(title), fill=TEXT, font=font(15), anchor="mm")
    for number, row in enumerate(rows):
        top = HEAD_PX + number * step
        for place, head in enumerate(row.heads):
            colour, text = (MUTED, TEXT)[place == 0], _short(visible(head))
            draw.text((8, top + 6 + 19 * place), text, fill=colour, font=font(13))
        for column, cell in enumerate(_cells(row)):
            left = NAMES_PX + column * step
            if cell is None:
                centre = (left + SIDE_PX / 2, top + SIDE_PX / 2)
                draw.text(centre, "not known", fill=MUTED, font=font(13), anchor="mm")
            else:
                sheet.paste(Image.fromarray(cell), (left, top))
    return sheet


def _cells(row: ComparedRow) -> list[Colours | None]:
    plain = np.asarray(
        Image.fromarray(np.rint(np.clip(row.picture, 0, 1) * 255).astype(np.uint8)).resize(
            (SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR
        )
    )
    truth, edge = _truth(row.truth), np.zeros((SIDE_PX, SIDE_PX), bool)
    if truth is not None:
        inner = np.pad(truth, 1, mode="edge")
        edge = truth & ~(inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:])
    marked = None if truth is None else _outlined(blend(plain, truth.astype(np.float32)), edge)
    return [plain, marked, *(_outlined(blend(plain, _heat(one)), edge) for one in row.maps)]


def _truth(truth: Bool[np.ndarray, "rows columns"] | None) -> Bool[np.ndarray, "side side"] | None:
    if truth is None:
        return None
    size = (SIDE_PX, SIDE_PX)
    return np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST))


def _heat(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "side side"]:
    picture = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))


def _outlined(cell: Colours, edge: Bool[np.ndarray, "side side"]) -> Colours:
    marked = cell.copy()
    marked[edge] = TRUTH
    return marked


def _short(text: str, most: int = 19) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
