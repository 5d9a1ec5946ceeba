"""What a compressed frame says about itself, compared with its header before anything is decoded.

A codec trusts the codestream: a file of 1.5 kB that claims 60,000 x 60,000 pixels costs gigabytes,
and one codec ends the whole process where an allocation fails.
"""

from __future__ import annotations

import struct

from pydicom import uid as uids

from headclip_med.errors import UnreadableInput

JPEG_2000 = frozenset(
    {*uids.JPEG2000TransferSyntaxes, uids.HTJ2K, uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL}
)
JPEG = frozenset({*uids.JPEGTransferSyntaxes, *uids.JPEGLSTransferSyntaxes})
SEARCHED_BYTES = 1 << 20
"""Headers lie at the start; application segments before them are small."""
RLE_HIGHEST_RATIO = 64
"""Two bytes of PackBits grow to at most 128 (PS3.5 annex G)."""


def check_codestream(
    stream: bytes, syntax: str, *, rows: int, columns: int, bytes_per_pixel: int
) -> None:
    """Check that one encapsulated frame claims what its header claims.

    Args:
        stream: The frame, fragments joined.
        syntax: Transfer syntax UID.
        rows: Of the header.
        columns: Of the header.
        bytes_per_pixel: Bytes of one sample times samples per pixel.

    Raises:
        UnreadableInput: It claims another size, or is no such codestream at all.
    """
    if syntax in JPEG_2000 | JPEG:
        read_size = _jpeg_2000_size if syntax in JPEG_2000 else _jpeg_size
        if read_size(stream[:SEARCHED_BYTES]) != (rows, columns):
            raise _mismatch()
    elif syntax == uids.RLELossless:
        _check_rle(stream, segments=bytes_per_pixel, bytes_per_segment=rows * columns)


def _mismatch() -> UnreadableInput:
    return UnreadableInput(
        "The compressed image claims another size than its header, so it is not decoded.",
        "Export it again from its source.",
        code="codestream-mismatch",
    )


def _jpeg_2000_size(stream: bytes) -> tuple[int, int] | None:
    """Read rows and columns from the SIZ marker (ISO 15444-1 A.5.1)."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 24:
        return None
    width, height, left, top = struct.unpack_from(">4I", stream, start + 8)
    return height - top, width - left


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    """Read rows and columns from the start-of-frame marker (ISO 10918-1 B.2.2, 14495-1 C.2.2)."""
    at = stream.find(b"\xff\xd8\xff") + 2
    while at >= 2 and at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack_from(">2H", stream, at + 5)
            return height, width
        at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0])
    return None


def _check_rle(stream: bytes, *, segments: int, bytes_per_segment: int) -> None:
    """Check the RLE header (PS3.5 annex G.5) and that its segments can grow to the image."""
    if len(stream) < 64:
        raise _mismatch()
    count, *offsets = struct.unpack_from("<16I", stream)
    starts = offsets[:count]
    if count != segments or any(not 64 <= start <= len(stream) for start in starts):
        raise _mismatch()
    ends = [*starts[1:], len(stream)]
    shortest = bytes_per_segment / RLE_HIGHEST_RATIO
    if any(end - start < shortest for start, end in zip(starts, ends, strict=True)):
        raise _mismatch()
