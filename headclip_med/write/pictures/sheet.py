"""The pictures of a screening: sheets with title, legend and the words "research use only"."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from headclip_med.findings import Screening
from headclip_med.write.outputs import Writer, WrittenOutput
from headclip_med.write.pictures.overlay import BACKGROUND, MUTED, OUTLINE, TEXT, blend, font, panel

TOP_SLICES = 3
"""The highest slices get a picture even where no candidate was found: to check the tool."""

MOST_PICTURES = 16
"""Nobody looks through more single pictures; the heatmap holds every slice."""

FASTEST = 1
"""Of PNG's levels: the slower ones take twice as long and gain nothing on noise."""

MOST_TILES = 12
TILE_PX = {1: 448, 2: 384, 4: 320, MOST_TILES: 240}
"""Longer side of a tile on a sheet of up to so many."""

WARNING = "Research use only - not for clinical use"

MARGIN_PX, LINE_PX, LEGEND_PX = 10, 20, 116

LEGEND_GREY = 0.35
"""The legend shows the colours as they look on soft tissue in its usual window."""


class OverlayWriter(Writer):
    """``overlay.png``: the most suspicious slices on one sheet."""

    def begin(self) -> None:
        """Choose the slices."""
        self._chosen = most_suspicious(self.screening, MOST_TILES)
        self._tiles: dict[int, Image.Image] = {}

    def add(self, slices: range) -> None:
        """Draw those that were chosen."""
        for index in set(self._chosen).intersection(slices):
            self._tiles[index] = draw_tile(self.screening, index, count=len(self._chosen))

    def end(self) -> WrittenOutput:
        """Put them on the sheet."""
        tiles = {index: self._tiles[index] for index in self._chosen}
        _save(draw_montage(self.screening, tiles), self.folder / "overlay.png")
        return WrittenOutput({"overlay": "overlay.png"})


class SlicesWriter(Writer):
    """``slices/*.png``: slices with candidates and the highest few; names count from 1.

    Up to ``MOST_PICTURES``: the highest few, then where each candidate peaks, then other slices
    with candidates, the highest first.
    """

    def begin(self) -> None:
        """Choose the slices, and name their files."""
        self._names = {
            index: f"slices/{name}.png"
            for index, name in named_slices(self.screening, self.marked).items()
        }
        (self.folder / "slices").mkdir()

    def add(self, slices: range) -> None:
        """Draw those that were chosen."""
        for index in slices:
            if index in self._names:
                _save(draw_slice(self.screening, index), self.folder / self._names[index])

    def end(self) -> WrittenOutput:
        """Say which slices have a picture."""
        notes: tuple[str, ...] = ()
        if len(self.marked) > len(self._names):
            notes = (
                f"{len(self.marked)} slices hold candidates; single pictures were drawn of "
                f"{len(self._names)}: the highest, and first those where a candidate peaks.",
            )
        return WrittenOutput({"slices": "slices"}, pictures=self._names, notes=notes)


def named_slices(screening: Screening, marked: Collection[int]) -> dict[int, str]:
    """Choose the slices that get a picture of their own, and name them by number, from 1.

    Args:
        screening: What was found.
        marked: The slices that hold candidates.

    Returns:
        In the order of the slices; at most ``MOST_PICTURES``.
    """
    ranked = np.argsort(-screening.slice_scores, kind="stable").tolist()
    peaks = [lesion.peak_slice for lesion in screening.lesions]
    wanted = [*ranked[:TOP_SLICES], *peaks, *(one for one in ranked if one in marked)]
    digits = max(3, len(str(len(ranked))))
    chosen = sorted(list(dict.fromkeys(wanted))[:MOST_PICTURES])
    return {index: f"{index + 1:0{digits}d}" for index in chosen}


def draw_slice(screening: Screening, index: int, *, side_px: int = 448) -> Image.Image:
    """Draw a slice twice, plain and under its heatmap, both with the candidates' outlines.

    Its window stands above the one, and the place of its middle, if it has one, above the other.

    Args:
        screening: What was found.
        index: Which slice, from 0.
        side_px: Length of the longer side of each of the two panels.
    """
    window = screening.window
    captions = [f"Image   window {window.name}: {window.low:.4g} to {window.high:.4g}", "Heatmap"]
    grid = screening.volume.grid
    if grid.is_patient:
        middle = np.array([[index, (grid.rows - 1) / 2, (grid.columns - 1) / 2]])
        captions[1] += f"   centre (LPS, mm) {point_words(grid.to_lps_mm(middle)[0])}"
    panels = [
        (text, panel(screening, index, side_px=side_px, with_heat=with_heat))
        for text, with_heat in zip(captions, (False, True), strict=True)
    ]
    return _sheet(caption(screening, index), panels, screening.threshold)


def most_suspicious(screening: Screening, count: int) -> list[int]:
    """Choose the slices worth looking at first, the highest score first.

    The slice in which each candidate peaks comes before high scores, or twelve neighbours through
    one large lesion would leave no room for a second.
    """
    peaks = [lesion.peak_slice for lesion in screening.lesions[:count]]
    ranked = np.argsort(-screening.slice_scores, kind="stable").tolist()
    chosen = list(dict.fromkeys([*peaks, *ranked]))[:count]
    return sorted(chosen, key=lambda index: (-screening.slice_scores[index], index))


def draw_overlay(screening: Screening) -> Image.Image:
    """Draw the sheet that ``overlay.png`` holds: the most suspicious slices under the heatmap."""
    chosen = most_suspicious(screening, MOST_TILES)
    tiles = {index: draw_tile(screening, index, count=len(chosen)) for index in chosen}
    return draw_montage(screening, tiles)


def draw_tile(screening: Screening, index: int, *, count: int) -> Image.Image:
    """Draw one slice under its heatmap, as large as a sheet of so many allows."""
    side_px = next(px for most, px in TILE_PX.items() if count <= most)
    return panel(screening, index, side_px=side_px, with_heat=True)


def draw_montage(screening: Screening, drawn: Mapping[int, Image.Image]) -> Image.Image:
    """Put slices on a sheet in their order, the most suspicious of them framed.

    Args:
        screening: What was found.
        drawn: Each slice's picture of ``draw_tile``.
    """
    count = len(screening.lesions)
    found = f"{count or 'no'} lesion candidate" + "s" * (count > 1)
    title = f"Score {screening.score:.2f}   {found}   window {screening.window.name}"
    order = sorted(drawn)
    tiles = [(caption(screening, index), drawn[index]) for index in order]
    highest = max(order, key=lambda index: screening.slice_scores[index])
    framed = order.index(highest) if len(order) > 1 else None
    return _sheet(title, tiles, screening.threshold, framed)


def caption(screening: Screening, index: int) -> str:
    """Name a slice, as people count, and its score."""
    total = len(screening.slice_scores)
    return f"Slice {index + 1} of {total}   score {screening.slice_scores[index]:.2f}"


def point_words(place_mm: Sequence[float] | np.ndarray) -> str:
    """Write a place in the patient to a tenth of a millimetre."""
    return ", ".join(f"{round(float(part), 1) + 0.0:.1f}" for part in place_mm)


def _sheet(
    title: str,
    tiles: Sequence[tuple[str, Image.Image]],
    threshold: float,
    framed: int | None = None,
) -> Image.Image:
    across = min(len(tiles), 4 if len(tiles) > 4 else 2)
    down = -(-len(tiles) // across)
    longest = max(font(12).getlength(text) for text, _ in tiles)  # narrow tiles leave room for it
    tile_width = max(tiles[0][1].width, round(longest)) + MARGIN_PX
    tile_height = tiles[0][1].height + LINE_PX + MARGIN_PX
    top, left = MARGIN_PX + 26, MARGIN_PX
    height = max(down * tile_height, 190)
    bar_left = left + max(across * tile_width, 380) + 4
    page = Image.new("RGB", (bar_left + LEGEND_PX, top + height + LINE_PX + 6), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((left, MARGIN_PX - 2), title, fill=TEXT, font=font(16))
    for place, (text, tile) in enumerate(tiles):
        x, y = left + place % across * tile_width, top + place // across * tile_height
        draw.text((x, y), text, fill=TEXT if place == framed else MUTED, font=font(12))
        page.paste(tile, (x, y + LINE_PX))
        if place == framed:
            corner = x + tile.width + 1, y + LINE_PX + tile.height + 1
            draw.rectangle([(x - 2, y + LINE_PX - 2), corner], outline=TEXT, width=2)
    _draw_legend(page, (bar_left, top + LINE_PX), height - LINE_PX - MARGIN_PX, threshold)
    draw.text((left, top + height), f"headclip_med  |  {WARNING}", fill=MUTED, font=font(12))
    return page


def _draw_legend(
    page: Image.Image, corner: tuple[int, int], height_px: int, threshold: float
) -> None:
    """Draw the fixed colour scale from 0 to 1 with the threshold marked on it."""
    left, top = corner
    height_px = min(height_px, 320)
    heat = np.repeat(np.linspace(1, 0, height_px, dtype=np.float32)[:, None], 16, axis=1)
    tissue = np.full((*heat.shape, 3), round(LEGEND_GREY * 255), dtype=np.uint8)
    page.paste(Image.fromarray(blend(tissue, heat)), (left, top))
    draw = ImageDraw.Draw(page)
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + round((1 - value) * (height_px - 1))
        draw.line([(left + 16, y), (left + 20, y)], fill=MUTED)
        if abs(value - threshold) > 0.06:  # the threshold's own number would cover it
            nudge = {0.0: -12, 1.0: -1}.get(value, -7)
            draw.text((left + 24, y + nudge), f"{value:g}", fill=MUTED, font=font(11))
    y = top + round((1 - threshold) * (height_px - 1))
    draw.line([(left - 3, y), (left + 20, y)], fill=OUTLINE, width=2)
    nudge = min(max(y - 7, top - 1), top + height_px - 12)
    draw.text((left + 24, nudge), f"{threshold:.2f} threshold", fill=OUTLINE, font=font(11))


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, format="PNG", compress_level=FASTEST)
