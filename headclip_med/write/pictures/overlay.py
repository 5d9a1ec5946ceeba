"""One slice as a picture: grey levels, the heatmap on a fixed scale, the outlines of candidates.

A colour always means the same value: the scale is [0, 1], never stretched to an image's own range,
so a healthy slice looks healthy. Nothing read from a patient's file is written into a picture.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from headclip_med.findings import Screening
from headclip_med.geometry import Grid

STRONGEST_BLEND = 0.7
"""Opacity of the heatmap where it is 1; it fades with the value, so anatomy stays visible."""

LEGEND_GREY = 0.35
"""The legend shows the colours as they look on soft tissue in its usual window."""

BACKGROUND, TEXT, MUTED = (13, 17, 23), (230, 237, 243), (139, 148, 158)
OUTLINE = (64, 224, 255)
"""Cyan: the one hue that the heatmap's colours (black, violet, orange, yellow) do not have."""

WARNING = "Research use only - not for clinical use"

MARGIN_PX, LINE_PX = 10, 20
SMALLEST_SIDE_PX = 24
"""A picture of one row of pixels must still be visible."""

Colours = UInt8[np.ndarray, "height width 3"]

_EDGES = {0: ("R", "L"), 1: ("A", "P"), 2: ("F", "H")}


def draw_slice(screening: Screening, index: int, *, side_px: int = 448) -> Image.Image:
    """Draw a slice twice, plain and under its heatmap, both with the candidates' outlines.

    Args:
        screening: What was found.
        index: Which slice, from 0.
        side_px: Length of the longer side of each of the two panels.

    Returns:
        A colour picture with a title, a legend and the words "research use only".
    """
    plain = panel(screening, index, side_px=side_px, with_heat=False)
    heated = panel(screening, index, side_px=side_px, with_heat=True)
    left, top = MARGIN_PX, MARGIN_PX + LINE_PX + 4
    bar_left = left + 2 * plain.width + 2 * MARGIN_PX
    height = max(plain.height, 160)
    width = max(bar_left + LEGEND_WIDTH_PX, 420)
    page = Image.new("RGB", (width, top + height + LINE_PX + MARGIN_PX), BACKGROUND)
    page.paste(plain, (left, top))
    page.paste(heated, (left + plain.width + MARGIN_PX, top))
    draw = ImageDraw.Draw(page)
    draw.text((left, MARGIN_PX), caption(screening, index), fill=TEXT, font=font(15))
    draw_legend(page, (bar_left, top), height, screening.threshold)
    draw.text((left, top + height + 6), f"headclip_med  |  {WARNING}", fill=MUTED, font=font(12))
    return page


def caption(screening: Screening, index: int) -> str:
    """Name a slice, as people count, and its score."""
    total = len(screening.slice_scores)
    return f"Slice {index + 1} of {total}   score {screening.slice_scores[index]:.2f}"


def panel(screening: Screening, index: int, *, side_px: int, with_heat: bool) -> Image.Image:
    """Draw one slice in its true proportions, with outlines, lesion numbers and directions."""
    grid = screening.volume.grid
    size = _panel_size(grid, side_px)
    grey = _resized(grey_slice(screening, index), size)
    if with_heat:
        values = Image.fromarray(np.asarray(screening.heatmap.values[index], dtype=np.float32))
        heat = np.asarray(values.resize(size, Image.Resampling.BILINEAR))
        grey = blend(grey, heat)
    labels = Image.fromarray(np.asarray(screening.labels[index], dtype=np.int32))
    shown = np.asarray(labels.resize(size, Image.Resampling.NEAREST))
    outlined = grey.copy()
    outlined[_outline(shown)] = OUTLINE
    picture = Image.fromarray(outlined)
    draw = ImageDraw.Draw(picture)
    _number_lesions(draw, shown)
    if grid.is_patient:
        _letter_edges(draw, grid, size)
    return picture


def grey_slice(screening: Screening, index: int) -> Colours:
    """Map a slice to 8-bit red, green, blue by the screening's own window; colour stays colour."""
    window, values = screening.window, screening.volume.voxels[index].astype(np.float32)
    width = max(window.high - window.low, 1e-30)
    with np.errstate(over="ignore", invalid="ignore"):  # damaged voxels may be anything
        grey = np.clip((values - np.float32(window.low)) / np.float32(width), 0, 1)
    eight_bit = np.rint(np.nan_to_num(grey, nan=0.0) * 255).astype(np.uint8)
    return eight_bit if eight_bit.ndim == 3 else np.repeat(eight_bit[..., None], 3, axis=2)


def blend(grey: Colours, heat: Float[np.ndarray, "height width"]) -> Colours:
    """Lay the heatmap's colours over a picture, the stronger the higher the value."""
    level = np.rint(np.clip(np.nan_to_num(heat), 0, 1) * 255).astype(np.uint8)
    opacity = (level.astype(np.float32) * (STRONGEST_BLEND / 255))[..., None]
    mixed = grey * (1 - opacity) + heat_colours()[level] * opacity
    return np.asarray(np.rint(mixed), dtype=np.uint8)


@cache
def heat_colours() -> UInt8[np.ndarray, "256 3"]:
    """List the colours of 0 to 1.

    Inferno: its lightness rises evenly, for the colour-blind and on grey printers as well.
    """
    colours = np.asarray(mpl.colormaps["inferno"](np.arange(256)), dtype=np.float64)
    return np.asarray(np.rint(colours[:, :3] * 255), dtype=np.uint8)


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """Load the typeface that comes with matplotlib, the same on every machine."""
    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size_px)


LEGEND_WIDTH_PX = 116


def draw_legend(
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


def _panel_size(grid: Grid, side_px: int) -> tuple[int, int]:
    row_mm, column_mm = grid.pixel_spacing_mm if grid.is_patient else (1.0, 1.0)
    height, width = grid.rows * row_mm, grid.columns * column_mm
    scale = side_px / max(height, width)
    return max(SMALLEST_SIDE_PX, round(width * scale)), max(SMALLEST_SIDE_PX, round(height * scale))


def _resized(
    grey: UInt8[np.ndarray, "rows columns 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))


def _outline(labels: np.ndarray) -> Bool[np.ndarray, "height width"]:
    """Mark the pixels just outside each candidate, so that none of it is hidden."""
    edge = np.zeros(labels.shape, dtype=bool)
    for axis in (0, 1):
        for step in (-1, 1):
            beside = np.roll(labels, step, axis=axis)
            border = [slice(None), slice(None)]
            border[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            beside[tuple(border)] = 0  # what rolled round the picture is no neighbour
            edge |= (beside > 0) & (labels != beside) & ((labels == 0) | (labels > beside))
    return edge


def _number_lesions(draw: ImageDraw.ImageDraw, labels: np.ndarray) -> None:
    for number in np.unique(labels[labels > 0]).tolist():
        rows, columns = np.nonzero(labels == number)
        x = min(int(columns.max()) + 4, labels.shape[1] - 8 * len(str(number)) - 4)
        y = max(int(rows.min()) - 12, 0)
        _mark(draw, (x, y), str(number), OUTLINE)


def _letter_edges(draw: ImageDraw.ImageDraw, grid: Grid, size: tuple[int, int]) -> None:
    """Name the patient's side at the left and the upper edge, as viewers do."""
    left, top = _side(-grid.column_step_lps_mm), _side(-grid.row_step_lps_mm)
    _mark(draw, (4, size[1] / 2), left, TEXT, anchor="lm")
    _mark(draw, (size[0] / 2, 3), top, TEXT, anchor="mt")


def _mark(
    draw: ImageDraw.ImageDraw,
    place: tuple[float | int, float | int],
    text: str,
    colour: tuple[int, int, int],
    anchor: str = "la",
) -> None:
    """Write on the picture itself, with a dark rim that shows on bright tissue."""
    style = font(12)
    draw.text(
        place, text, fill=colour, font=style, anchor=anchor, stroke_width=2, stroke_fill=BACKGROUND
    )


def _side(direction_lps: Float[np.ndarray, "3"]) -> str:
    axis = int(np.abs(direction_lps).argmax())
    return _EDGES[axis][int(direction_lps[axis] > 0)]
