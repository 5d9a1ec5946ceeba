"""The element that holds an object's pixels, at which its header ends."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset

UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
"""By element of group 7FE0."""

PIXEL_TAGS = frozenset(0x7FE00000 + number for number in PIXEL_KEYWORDS)


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data of an object lies.

    Attributes:
        keyword: One of ``PIXEL_KEYWORDS``.
        start: Of its value, in bytes from the start of the stream.
        length: That it claims; None where it is undefined, as of compressed data in fragments.
        available: Bytes of the stream from there on.
        is_words: Whether its values are 16-bit words, which big endian swaps (VR OW).
        is_inflated: Whether the stream is not the file but what was inflated of it.
    """

    keyword: str
    start: int
    length: int | None
    available: int
    is_words: bool
    is_inflated: bool = False


def find_pixel_element(dataset: Dataset, stream: BinaryIO, size: int) -> PixelElement | None:
    """Read the header of the element that the stream stands at (PS3.5 7.1.2, 7.1.3).

    Args:
        dataset: All that stands before it.
        stream: Of the object.
        size: Of the stream, in bytes.

    Returns:
        None where it holds no pixels.
    """
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    place = stream.tell()
    head = stream.read(12).ljust(12, b"\0")
    group, number, length = struct.unpack(order + "HHI", head[:8])
    keyword = PIXEL_KEYWORDS.get(number)
    if group != 0x7FE0 or keyword is None:
        return None
    place += 8
    if not implicit and head[4:6].isalpha():
        place += 4
        (length,) = struct.unpack(order + "I", head[8:])
    return PixelElement(
        keyword,
        start=place,
        length=None if length == UNDEFINED_LENGTH else length,
        available=size - place,
        is_words=implicit or head[4:6] == b"OW",
    )
