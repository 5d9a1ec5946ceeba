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
from scipy.ndimage import find_objects, generate_binary_structure, grey_dilation

from headclip_med.findings import Screening
from headclip_med.geometry import Grid

STRONGEST_BLEND = 0.7
"""Opacity of the heatmap where it is 1; it fades with the value, so anatomy stays visible."""

BACKGROUND, TEXT, MUTED = (13, 17, 23), (230, 237, 243), (139, 148, 158)
OUTLINE = (64, 224, 255)
"""Cyan: the one hue that the heatmap's colours (black, violet, orange, yellow) do not have."""

SAMPLE_GAP_PX, SAMPLE_TITLE_PX = 4, 22
SAMPLE_PX = 320
"""A sample's panels are at least so large."""

BARS_MM = (200, 100, 50, 20, 10, 5, 2, 1)
"""Lengths that a scale may have."""

SMALLEST_SIDE_PX = 24
"""A picture of one row of pixels must still be visible."""

Colours = UInt8[np.ndarray, "height width 3"]

_EDGES = {0: ("R", "L"), 1: ("A", "P"), 2: ("F", "H")}


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
        _draw_scale(draw, grid, size)
    return picture


def grey_slice(screening: Screening, index: int) -> Colours:
    """Map a slice to 8-bit red, green, blue by the screening's own window; colour stays colour."""
    eight_bit = levels_of(screening, index)
    return eight_bit if eight_bit.ndim == 3 else np.repeat(eight_bit[..., None], 3, axis=2)


def levels_of(screening: Screening, index: int) -> UInt8[np.ndarray, "rows columns *colour"]:
    """Map a slice to 8 bits by the screening's own window: grey, or red, green, blue."""
    window, grey = screening.window, screening.volume.voxels[index].astype(np.float32)
    width = max(window.high - window.low, 1e-30)
    with np.errstate(over="ignore", invalid="ignore"):  # damaged voxels may be anything
        grey -= np.float32(window.low)
        grey /= np.float32(width)
        np.clip(grey, 0, 1, out=grey)
    if np.isnan(grey.max()):
        np.nan_to_num(grey, copy=False, nan=0.0)
    grey *= 255
    return np.asarray(np.rint(grey, out=grey).astype(np.uint8))


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


def draw_sample(
    picture: Float[np.ndarray, "side side channels"],
    heat: Float[np.ndarray, "side side"],
    ground_truth: Bool[np.ndarray, "side side"] | None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Put an image, the same under its map, and the same under the ground truth, side by side.

    Small images are enlarged by whole numbers, so that every pixel stays one; above each panel
    stands what it shows.

    Args:
        picture: Values in [0, 1]; grey or red, green, blue.
        heat: The map, in [0, 1]; colours have the fixed scale of all our pictures.
        ground_truth: Which pixels are abnormal; left out where that is not known.
    """
    eight_bit = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    plain = np.broadcast_to(eight_bit, (*heat.shape, 3)).copy()
    panels = {"image": plain, "map": blend(plain, heat)}
    if ground_truth is not None:
        panels["ground truth"] = blend(plain, ground_truth.astype(np.float32))
    times = max(1, -(-SAMPLE_PX // heat.shape[0]))
    side = heat.shape[0] * times
    width = len(panels) * (side + SAMPLE_GAP_PX) - SAMPLE_GAP_PX
    sheet = Image.new("RGB", (width, side + SAMPLE_TITLE_PX), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, (caption, panel_pixels) in enumerate(panels.items()):
        left = place * (side + SAMPLE_GAP_PX)
        large = panel_pixels.repeat(times, axis=0).repeat(times, axis=1)
        sheet.paste(Image.fromarray(large), (left, SAMPLE_TITLE_PX))
        draw.text((left + SAMPLE_GAP_PX, 3), caption, fill=TEXT, font=font(13))
    return np.asarray(sheet)


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
    cross = generate_binary_structure(2, 1)
    return np.asarray(grey_dilation(labels, footprint=cross, mode="nearest") > labels)


def _number_lesions(draw: ImageDraw.ImageDraw, labels: np.ndarray) -> None:
    for number, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            x = min(box[1].stop + 3, labels.shape[1] - 8 * len(str(number)) - 4)
            _mark(draw, (x, max(box[0].start - 12, 0)), str(number), OUTLINE)


def _letter_edges(draw: ImageDraw.ImageDraw, grid: Grid, size: tuple[int, int]) -> None:
    """Name the patient's side at the left and the upper edge, as viewers do."""
    left, top = side_of(-grid.column_step_lps_mm), side_of(-grid.row_step_lps_mm)
    _mark(draw, (4, size[1] / 2), left, TEXT, anchor="lm")
    _mark(draw, (size[0] / 2, 3), top, TEXT, anchor="mt")


def _draw_scale(draw: ImageDraw.ImageDraw, grid: Grid, size: tuple[int, int]) -> None:
    """Draw the longest bar of a round length that takes a third of the width at most."""
    width_mm = grid.columns * grid.pixel_spacing_mm[1]
    length_mm = next((one for one in BARS_MM if one <= width_mm / 3), None)
    if length_mm is None:
        return
    left, bottom = 6, size[1] - 6
    right = left + round(length_mm / width_mm * size[0]) - 1  # a line's last point is drawn, too
    for width, colour in ((6, BACKGROUND), (2, TEXT)):
        draw.line([(left, bottom), (right, bottom)], fill=colour, width=width)
    said = f"{length_mm // 10} cm" if length_mm >= 10 else f"{length_mm} mm"
    _mark(draw, (left, bottom - 4), said, TEXT, anchor="ls")


def _mark(
    draw: ImageDraw.ImageDraw,
    place: tuple[float | int, float | int],
    text: str,
    colour: tuple[int, int, int],
    anchor: str = "la",
) -> None:
    """Write on the picture itself, with a dark rim that shows on bright tissue."""
    rim = {"stroke_width": 2, "stroke_fill": BACKGROUND}
    draw.text(place, text, fill=colour, font=font(12), anchor=anchor, **rim)  # type: ignore[arg-type]


def side_of(direction_lps: Float[np.ndarray, "3"]) -> str:
    """Name the side of the patient that a direction leads to."""
    axis = int(np.abs(direction_lps).argmax())
    return _EDGES[axis][int(direction_lps[axis] > 0)]
