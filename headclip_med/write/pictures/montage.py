"""The most suspicious slices of a screening on one sheet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from headclip_med.findings import Screening
from headclip_med.write.pictures.overlay import (
    BACKGROUND,
    LEGEND_WIDTH_PX,
    LINE_PX,
    MARGIN_PX,
    MUTED,
    TEXT,
    WARNING,
    caption,
    draw_legend,
    font,
    panel,
)

MOST_TILES = 12
TILE_PX = {1: 448, 2: 384, 4: 320, MOST_TILES: 240}
"""Longer side of a tile on a sheet of up to so many."""

CAPTION_PX = 180
"""Narrow tiles keep the room that their captions need."""


def most_suspicious(screening: Screening, count: int) -> list[int]:
    """Choose the slices worth looking at first, the highest score first.

    The slice in which each candidate peaks comes before high scores, or twelve neighbours through
    one large lesion would leave no room for a second.
    """
    peaks = [lesion.peak_slice for lesion in screening.lesions[:count]]
    ranked = np.argsort(-screening.slice_scores, kind="stable").tolist()
    chosen = list(dict.fromkeys([*peaks, *ranked]))[:count]
    return sorted(chosen, key=lambda index: (-screening.slice_scores[index], index))


def draw_tile(screening: Screening, index: int, *, count: int) -> Image.Image:
    """Draw one slice under its heatmap, as large as a sheet of so many allows."""
    side_px = next(px for most, px in TILE_PX.items() if count <= most)
    return panel(screening, index, side_px=side_px, with_heat=True)


def draw_montage(screening: Screening, drawn: Mapping[int, Image.Image]) -> Image.Image:
    """Put slices on a sheet, with legend and study score.

    Args:
        screening: What was found.
        drawn: Each slice's picture of ``draw_tile``, in the order in which they shall stand.
    """
    tiles = list(drawn.values())
    across = min(len(tiles), 4 if len(tiles) > 4 else 2)
    down = -(-len(tiles) // across)
    tile_width = max(tiles[0].width, CAPTION_PX) + MARGIN_PX
    tile_height = tiles[0].height + LINE_PX + MARGIN_PX
    top, left = MARGIN_PX + 26, MARGIN_PX
    grid_height = max(down * tile_height, 190)
    bar_left = left + max(across * tile_width, 380) + 4
    page = Image.new(
        "RGB", (bar_left + LEGEND_WIDTH_PX, top + grid_height + LINE_PX + 6), BACKGROUND
    )
    draw = ImageDraw.Draw(page)
    draw.text((left, MARGIN_PX - 2), _title(screening), fill=TEXT, font=font(16))
    for place, (index, tile) in enumerate(drawn.items()):
        x, y = left + place % across * tile_width, top + place // across * tile_height
        text = caption(screening, index)
        draw.text((x, y), text, fill=MUTED, font=font(12))
        page.paste(tile, (x, y + LINE_PX))
    draw_legend(
        page, (bar_left, top + LINE_PX), grid_height - LINE_PX - MARGIN_PX, screening.threshold
    )
    draw.text((left, top + grid_height), f"headclip_med  |  {WARNING}", fill=MUTED, font=font(12))
    return page


def _title(screening: Screening) -> str:
    count = len(screening.lesions)
    found = "no lesion candidate" if not count else f"{count} lesion candidate" + "s" * (count > 1)
    return f"Score {screening.score:.2f}   {found}"
