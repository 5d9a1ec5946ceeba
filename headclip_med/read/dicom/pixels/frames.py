"""Frames as a DICOM object stores them, decoded one at a time."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.pixel_element import PixelElement
from headclip_med.read.dicom.pixels.codecs import decode
from headclip_med.read.dicom.pixels.codings import (
    BIG_ENDIAN_PIXELS,
    DEFLATED_FRAMES,
    ENCAPSULATED_PLAIN,
)
from headclip_med.read.dicom.pixels.colours import to_red_green_blue
from headclip_med.read.dicom.pixels.layout import SHARED_COLOURS, PixelLayout

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
"""Tags of a fragment and of what ends them (PS3.5 A.4)."""


STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""How a codestream begins: JPEG and JPEG-LS, JPEG 2000."""


@dataclass(frozen=True)
class Pixels:
    """The pixel data of one open object.

    Attributes:
        layout: Of its values.
        syntax: Transfer syntax UID.
        element: Where it lies in the stream.
        stream: Open as long as frames are asked for.
        offsets: The Extended Offset Table and its lengths, where there is one.
    """

    layout: PixelLayout
    syntax: str
    element: PixelElement
    stream: BinaryIO
    offsets: tuple[bytes, bytes] | None = None

    @cached_property
    def coded(self) -> tuple[bytes, list[slice], bool]:
        """Compressed data, where its items lie, and whether an end mark follows them.

        Raises:
            UnreadableInput: The last one ends early.
        """
        self.stream.seek(self.element.start)
        data = self.stream.read()
        return data, *_fragments(data)

    @property
    def is_unterminated(self) -> bool:
        """Whether compressed data lacks the end mark that must follow it."""
        return self.element.length is None and not self.coded[-1]

    @property
    def surplus_frames(self) -> int:
        """How many frames the data holds beyond those that its header counts."""
        if self.element.length is not None:
            length = min(self.element.length, self.element.available)
            held = 8 * length // self.layout.frame_bits
        else:
            data, (_, *fragments), _ = self.coded
            is_each = self.syntax == RLELossless
            held = sum(is_each or data.startswith(STARTS, one.start) for one in fragments)
        return max(0, held - self.layout.frames)

    def without_unused_bits(
        self, frame: Shaped[np.ndarray, "rows columns"]
    ) -> Shaped[np.ndarray, "rows columns"]:
        """Clear the bits around the stored ones, which may hold an old overlay (PS3.5 8.1.1)."""
        bits, stored = 8 * frame.dtype.itemsize, self.layout.stored_bits
        if frame.dtype.kind == "f" or stored >= bits:
            return frame
        is_word = self.element.length is not None or self.syntax == RLELossless
        # Codecs return values at the low end; only words as they are can lie higher up.
        above = bits - 1 - self.layout.high_bit if is_word else bits - stored
        return np.asarray((frame << above) >> (bits - stored))


def stored_frames(
    pixels: Pixels, indices: Sequence[int]
) -> Iterator[Shaped[np.ndarray, "rows columns *samples"]]:
    """Decode frames one after the other.

    Whatever pydicom and the codecs raise on damaged pixels comes out as it is; see ``translate``.

    Args:
        pixels: Where they are.
        indices: Frames from 0, in the order they are wanted.

    Yields:
        Stored values; colours as red, green, blue, or as palette indices.

    Raises:
        UnreadableInput: Compressed data ends early, or claims another size than the header.
    """
    if pixels.element.length is not None:
        yield from _plain_frames(pixels, indices)
        return
    data, groups = _coded_frames(pixels)
    for index in indices:
        stream = b"".join(data[one] for one in groups[index])
        yield _decoded(pixels.layout, pixels.syntax, stream)


def _plain_frames(
    pixels: Pixels, indices: Sequence[int]
) -> Iterator[Shaped[np.ndarray, "rows columns *samples"]]:
    """Read plain frames from where they lie, which may be within a byte."""
    layout, stream, start = pixels.layout, pixels.stream, pixels.element.start
    order = ">" if pixels.syntax in BIG_ENDIAN_PIXELS else "<"
    if order == ">" and layout.bits <= 8 and pixels.element.is_words:
        stream.seek(start)
        words = np.frombuffer(stream.read(pixels.element.available & ~1), "<u2")
        stream, start = io.BytesIO(words.byteswap().tobytes()), 0
    for index in indices:
        place, within = divmod(index * layout.frame_bits, 8)
        stream.seek(start + place)
        size = -(-(within + layout.frame_bits) // 8)
        yield _plain(layout, stream.read(size), order=order, within=within)


def _plain(
    layout: PixelLayout, data: bytes, *, order: str = "<", within: int = 0
) -> Shaped[np.ndarray, "rows columns *samples"]:
    """Bring the values of one frame into shape; it starts at bit ``within`` of the data."""
    count = layout.frame_bits // layout.bits
    if layout.bits in (8, 16, 32, 64):
        values = np.frombuffer(data, layout.dtype(order), count)
    else:  # packed, the lowest bit first (PS3.5 8.1.1)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[within:]
        weights = (1 << np.arange(layout.bits)).astype(layout.dtype("<"))
        values = bits[: layout.frame_bits].reshape(count, layout.bits) @ weights
    shape = layout.rows, layout.columns
    if layout.samples == 1:
        return values.reshape(shape)
    if layout.photometric in SHARED_COLOURS:
        fours = values.reshape(-1, 4)
        brightness, shared = fours[:, :2].reshape(-1, 1), fours[:, 2:].repeat(2, axis=0)
        values = np.concatenate([brightness, shared], axis=1).reshape(*shape, 3)
    elif layout.is_planar:
        values = values.reshape(layout.samples, *shape).transpose(1, 2, 0)
    else:
        values = values.reshape(*shape, layout.samples)
    return to_red_green_blue(values, layout)


def _coded_frames(pixels: Pixels) -> tuple[bytes, list[list[slice]]]:
    """Find the fragments of each frame, with or without a table of offsets."""
    data, (table, *fragments), _ = pixels.coded
    count, first = pixels.layout.frames, table.stop
    if count == len(fragments) or pixels.syntax == RLELossless:  # one each (PS3.5 A.4.2)
        return data, [[one] for one in fragments]
    if count == 1:
        return data, [fragments]
    places = [one.start - 8 - first for one in fragments]
    offsets = np.frombuffer(data[table][: 4 * count], "<u4").tolist()
    if len(offsets) == count and offsets == sorted(set(offsets) & set(places)):
        starts = [places.index(offset) for offset in offsets]
        ends = [*starts[1:], len(fragments)]
        return data, [fragments[start:end] for start, end in zip(starts, ends, strict=True)]
    # No table, or one that does not hold: without it the codestreams' own ends are sought.
    bare = ITEM + bytes(4) + data[first:]
    frames = list(generate_frames(bare, number_of_frames=count, extended_offsets=pixels.offsets))
    ends = np.cumsum([len(frame) for frame in frames]).tolist()
    return b"".join(frames), [
        [slice(start, end)] for start, end in zip([0, *ends], ends, strict=False)
    ]


def _fragments(data: bytes) -> tuple[list[slice], bool]:
    """Find the value of each item, and whether the end mark follows them."""
    place, found = 0, []
    while (tag := data[place : place + 4]) == ITEM:
        start = place + 8
        place = start + int(struct.unpack_from("<I", data, place + 4)[0])
        if place > len(data):
            raise UnreadableInput(
                "The file is cut short: its compressed pixel data ends early.",
                "Copy or export it again.",
                code="truncated-file",
            )
        found.append(slice(start, place))
        if data[place + 1 : place + 5] in (ITEM, END):  # padded, but not counted
            place += 1
    return found, tag == END


def _decoded(
    layout: PixelLayout, syntax: str, stream: bytes
) -> Shaped[np.ndarray, "rows columns *samples"]:
    if syntax == DEFLATED_FRAMES:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return _plain(layout, inflater.decompress(stream, layout.frame_bits // 8 + 1))
    return (
        _plain(layout, stream) if syntax == ENCAPSULATED_PLAIN else decode(stream, syntax, layout)
    )
