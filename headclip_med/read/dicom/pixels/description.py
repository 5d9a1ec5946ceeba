"""What a header says of pixel data: all that is needed to read it without parsing again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import numbers, text
from headclip_med.read.dicom.pixel_element import PixelElement
from headclip_med.read.dicom.pixels.colours import Palette, read_palette
from headclip_med.read.dicom.pixels.frames import Pixels
from headclip_med.read.dicom.pixels.layout import PixelLayout
from headclip_med.read.dicom.pixels.rescale import RESCALE_KEYWORDS, Rescale, Rescales

PIXEL_KEYWORDS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "SpecificCharacterSet"),
    *RESCALE_KEYWORDS,
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData"),
    *("SegmentedBluePaletteColorLookupTableData", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "SharedFunctionalGroupsSequence"),
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True)
class PixelDescription:
    """Pixel data of one object, and what some of its frames mean.

    Attributes:
        layout: Of its values.
        syntax: Transfer syntax UID.
        element: Where it lies.
        rescales: By frame, from 0, of those that were asked for; none of colours.
        padding: The lowest and the highest stored value that marks what was not scanned.
        palette: Of numbers of colours.
        offsets: The Extended Offset Table and its lengths, where there is one.
    """

    layout: PixelLayout
    syntax: str
    element: PixelElement
    rescales: Mapping[int, Rescale]
    padding: tuple[int, int] | None = None
    palette: Palette | None = None
    offsets: tuple[bytes, bytes] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has no tables, so that it is small enough to be kept of every file."""
        tables = (self.palette, self.offsets, *(one.table for one in self.rescales.values()))
        return not self.element.is_inflated and all(table is None for table in tables)

    def pixels_of(self, stream: BinaryIO) -> Pixels:
        """Give the pixel data as it lies in the object's stream."""
        return Pixels(self.layout, self.syntax, self.element, stream, self.offsets)


def describe(
    dataset: Dataset, element: PixelElement, layout: PixelLayout, frames: Iterable[int]
) -> PixelDescription:
    """Read what the header says of pixel data.

    Raises:
        UnreadableInput: A palette or a rescale is missing or means nothing.
    """
    rescales = None if layout.is_colour else Rescales.of(dataset, layout)
    return PixelDescription(
        layout,
        text(dataset.file_meta, "TransferSyntaxUID"),
        element,
        rescales.of_frames(frames) if rescales else {},
        _padding_range(dataset, layout),
        read_palette(dataset) if layout.photometric == "PALETTE COLOR" else None,
        _offsets(dataset),
    )


def _offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in dataset:
        return None
    found = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return found if all(found) else None


def describe_plain(
    dataset: Dataset, element: PixelElement | None, layout: PixelLayout
) -> PixelDescription | None:
    """Describe pixel data without tables; None for all else, and where it is damaged."""
    if element is not None:
        with suppress(Exception):  # which is said where it is read
            described = describe(dataset, element, layout, range(layout.frames))
            return described if described.is_plain else None
    return None


def _padding_range(dataset: Dataset, layout: PixelLayout) -> tuple[int, int] | None:
    first = numbers(dataset, "PixelPaddingValue")
    if not first or layout.is_float:
        return None
    dtype = layout.dtype("=")
    last = numbers(dataset, "PixelPaddingRangeLimit") or first
    # Through int64, so that -2000 in an unsigned word becomes the 63536 that is stored.
    low, high = sorted(int(np.int64(value).astype(dtype)) for value in (first[0], last[0]))
    return low, high
