"""What a compressed frame says about itself, compared with its header before anything is decoded.

A codec trusts the codestream: a file of 1.5 kB that claims 60,000 x 60,000 pixels costs gigabytes,
and one codec ends the whole process where an allocation fails.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pydicom import uid as uids

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.pixels.codings import JPEG_XL
from headclip_med.read.dicom.pixels.layout import PixelLayout

JPEG_2000 = frozenset(
    {*uids.JPEG2000TransferSyntaxes, uids.HTJ2K, uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL}
)
WITH_LOSS = (0xC0, 0xC1, 0xC2)
"""Starts of a frame of a baseline, extended or progressive process, in Huffman's code."""
WITHOUT_LOSS = (0xC3, 0xCB)

SEARCHED_BYTES = 1 << 20
"""Headers lie at the start; application segments before them are small."""
MOST_COMPONENTS = 4
MOST_TILES = 65_535
"""Of a JPEG 2000 stream (ISO 15444-1 A.4.2)."""

RLE_HIGHEST_RATIO = 64
"""Two bytes of PackBits grow to at most 128 (PS3.5 annex G)."""


class JpegFrame(NamedTuple):
    """What a JPEG stream says of its image, and by which process it is coded."""

    marker: int
    bits: int
    rows: int
    columns: int

    @property
    def is_usual(self) -> bool:
        """Whether any decoder knows it: eight bits with loss."""
        return self.marker in WITH_LOSS and self.bits == 8

    @property
    def is_lossless(self) -> bool:
        """Whether its values are those that were put in."""
        return self.marker in WITHOUT_LOSS


def check_codestream(stream: bytes, syntax: str, layout: PixelLayout) -> JpegFrame | None:
    """Check that one encapsulated frame claims what its header claims.

    Of JPEG XL nothing is checked here, as its decoder is told what it may give.

    Args:
        stream: The frame, fragments joined.
        syntax: Transfer syntax UID.
        layout: Of the header.

    Returns:
        What a JPEG says of itself.

    Raises:
        UnreadableInput: It claims another size, or is no such codestream at all.
    """
    if syntax in JPEG_XL:
        return None
    if syntax == uids.RLELossless:
        segments = layout.samples * (layout.bits // 8)
        _check_rle(stream, segments=segments, bytes_per_segment=layout.rows * layout.columns)
        return None
    frame = None
    if syntax in JPEG_2000:
        size = _jpeg_2000_size(stream[:SEARCHED_BYTES])
    else:
        frame = _jpeg_frame(stream)
        size = frame and (frame.rows, frame.columns)
    if size != (layout.rows, layout.columns):
        raise mismatch()
    return frame


def mismatch() -> UnreadableInput:
    """Say that a frame is not what its header says."""
    return UnreadableInput(
        "The compressed image claims another size than its header, so it is not decoded.",
        "Export it again from its source.",
        code="codestream-mismatch",
    )


def _jpeg_2000_size(stream: bytes) -> tuple[int, int] | None:
    """Read rows and columns from the SIZ marker (ISO 15444-1 A.5.1); None where it is absurd."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 42:
        return None
    width, height, left, top, tile_width, tile_height = struct.unpack_from(">6I", stream, start + 8)
    (components,) = struct.unpack_from(">H", stream, start + 40)
    tiles = -(-width // max(tile_width, 1)) * -(-height // max(tile_height, 1))
    if components > MOST_COMPONENTS or tiles > MOST_TILES:
        return None
    return height - top, width - left


def _jpeg_frame(stream: bytes) -> JpegFrame | None:
    """Read the start-of-frame marker (ISO 10918-1 B.2.2, 14495-1 C.2.2)."""
    stream = stream[:SEARCHED_BYTES]
    at = stream.find(b"\xff\xd8\xff") + 2
    while at >= 2 and at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, rows, columns = struct.unpack_from(">BHH", stream, at + 4)
            return JpegFrame(marker, bits, rows, columns)
        at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0])
    return None


def _check_rle(stream: bytes, *, segments: int, bytes_per_segment: int) -> None:
    """Check the RLE header (PS3.5 annex G.5) and that its segments can grow to the image."""
    if len(stream) < 64:
        raise mismatch()
    count, *offsets = struct.unpack_from("<16I", stream)
    starts = offsets[:count]
    if count != segments or any(not 64 <= start <= len(stream) for start in starts):
        raise mismatch()
    ends = [*starts[1:], len(stream)]
    shortest = bytes_per_segment / RLE_HIGHEST_RATIO
    if any(end - start < shortest for start, end in zip(starts, ends, strict=True)):
        raise mismatch()
