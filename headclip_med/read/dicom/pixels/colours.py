"""Colours, however an object stores them, as red, green and blue."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.elements import numbers
from headclip_med.read.dicom.pixels.layout import PixelLayout

FROM_VIDEO_RANGE = np.array([[1.1644, 0, 1.596], [1.1644, -0.3917, -0.8129], [1.1644, 2.0173, 0]])
"""Of YBR_PARTIAL_422: brightness from 16 to 235, colours from 16 to 240 (PS3.3 C.7.6.3.1.2)."""


def to_red_green_blue(
    values: Shaped[np.ndarray, "rows columns samples"], layout: PixelLayout
) -> Shaped[np.ndarray, "rows columns 3"]:
    """Convert uncompressed samples; what is stored as such, or in no known way, stays."""
    if layout.photometric in ("YBR_FULL", "YBR_FULL_422"):
        return np.asarray(convert_color_space(values, "YBR_FULL", "RGB"))
    if layout.photometric == "YBR_PARTIAL_422":
        mixed = (values - np.array([16.0, 128.0, 128.0])) @ FROM_VIDEO_RANGE.T
        return np.asarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
    if layout.photometric == "ARGB":
        return values[..., 1:]
    if layout.photometric == "CMYK":
        full = np.int64(2**layout.stored_bits - 1)
        inked = values[..., :3].astype(np.int64) + values[..., 3:]
        return np.asarray(np.maximum(full - inked, 0).astype(values.dtype))
    return values


class Palette(NamedTuple):
    """Colours by number: red, green and blue in [0, 255], and the number of the first."""

    colours: Float32[np.ndarray, "entries 3"]
    first: int


def in_eight_bits(
    values: Shaped[np.ndarray, "rows columns *samples"],
    layout: PixelLayout,
    palette: Palette | None,
) -> Float32[np.ndarray, "rows columns 3"]:
    """Scale colours, or look up a palette's, to [0, 255]; numbers beyond it get its ends."""
    if palette is None:
        return np.asarray(values.astype(np.float32) * np.float32(255 / (2**layout.stored_bits - 1)))
    places = np.clip(values.astype(np.int64) - palette.first, 0, len(palette.colours) - 1)
    return np.asarray(palette.colours[places])


def read_palette(dataset: Dataset) -> Palette:
    """Read an object's palette, segmented or not (PS3.3 C.7.6.3.1.5, C.7.9.2).

    Raises:
        UnreadableInput: It is missing or damaged.
    """
    described = numbers(dataset, "RedPaletteColorLookupTableDescriptor")
    if len(described) != 3:
        raise _no_palette()
    count, first, bits = int(described[0]) % 2**16 or 2**16, int(described[1]), described[2]
    if "RedPaletteColorLookupTableData" in dataset:
        entries = np.stack([_entries(dataset, name, count) for name in ("Red", "Green", "Blue")], 1)
    elif bits == 16 or count <= 256:
        entries = apply_color_lut(np.arange(first, first + count), dataset)[:, :3]
    else:
        raise _no_palette()
    # Some hold eight bits in sixteen; else the picture would be black.
    scale = 1.0 if entries.max() <= 255 else 255 / 65535
    return Palette(entries.astype(np.float32) * np.float32(scale), first)


def _entries(dataset: Dataset, colour: str, count: int) -> Shaped[np.ndarray, "entries"]:
    value = dataset[f"{colour}PaletteColorLookupTableData"].value
    if not isinstance(value, bytes):
        return np.array(value, np.uint16)[:count]
    order = "<" if dataset.original_encoding[1] else ">"
    return np.frombuffer(value, "u1" if len(value) < 2 * count else f"{order}u2", count)


def _no_palette() -> UnreadableInput:
    return UnreadableInput(
        "The image's values are numbers of colours, but the file has no palette for them.",
        "Export it again as RGB.",
        code="no-palette",
    )
