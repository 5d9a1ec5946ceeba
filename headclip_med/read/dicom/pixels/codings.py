"""Transfer syntaxes: which are decoded and by what, and how those that are not are named."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydicom import uid as uids

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.pixel_element import PixelElement
from headclip_med.read.dicom.pixels.layout import PixelLayout

ENCAPSULATED_PLAIN = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
BIG_ENDIAN_PIXELS = (uids.ExplicitVRBigEndian, "1.2.840.113619.5.2")
"""The second is a private one of GE: little endian up to its pixels."""

JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 52, 53, 54, 55, 56, 57, 70))
"""Whatever its name, a stream tells its own process. Those between, retired, are still met."""

JPEG_XL: Mapping[str, str] = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Names of those that pydicom does not know yet."""

DECODERS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(JPEG, (uids.JPEGBaseline8Bit, "pillow")),
    **{
        syntax: (syntax, "pylibjpeg")
        for syntax in (
            *(uids.JPEG2000Lossless, uids.JPEG2000, uids.RLELossless),
            *(uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL, uids.HTJ2K),
        )
    },
}
"""By transfer syntax: pydicom's decoder and its plug-in; of JPEG, for the usual process only.

Named, so that what else is installed changes no value. Pillow's is IJG's library, as in SimpleITK
and dcmtk; another's may lie one grey level off.
"""

SUPPORTED = frozenset(
    {*DECODERS, *uids.JPEGLSTransferSyntaxes, *JPEG_XL, ENCAPSULATED_PLAIN, DEFLATED_FRAMES}
)
"""What is decoded of pixel data in fragments."""

ELSEWHERE = ("JPIP", "SMPTE")
VIDEOS = ("MPEG", "HEVC")
"""Words in the names of transfer syntaxes."""


def coding_name(syntax: str) -> str:
    """Name a transfer syntax as the standard does; never by a value of the file."""
    if syntax in JPEG_XL:
        return JPEG_XL[syntax]
    uid = uids.UID(syntax)
    if uid.name != syntax:
        return str(uid.name)
    return "a private transfer syntax" if uid.is_private else "an unknown transfer syntax"


def is_compressed(syntax: str) -> bool:
    """Whether a transfer syntax is one of the standard's that encapsulate pixel data."""
    uid = uids.UID(syntax)
    return not uid.is_private and uid.is_transfer_syntax and uid.is_encapsulated


def find_coding_problem(
    syntax: str, layout: PixelLayout, element: PixelElement | None
) -> UnreadableInput | None:
    """Tell why pixels cannot be decoded, as far as the header shows it.

    Args:
        syntax: Transfer syntax UID.
        layout: Of the pixels.
        element: Which holds them, or the start of them.
    """
    name = coding_name(syntax)
    if any(word in name for word in ELSEWHERE):
        return _unsupported(f"is not in the file but somewhere else ({name})")
    if element is None or element.available <= 0:
        return UnreadableInput(
            "The file ends before its pixel data; it was cut short or never held an image.",
            "Copy or export it again.",
            code="no-pixel-data",
        )
    needed = math.ceil(layout.frame_bits * layout.frames / 8)
    if element.length is None or (element.length < needed and is_compressed(syntax)):
        return _find_compression_problem(syntax, name, element)
    if element.length < needed:
        return _truncated(
            f"The pixel data is shorter than its header says ({layout.bits} bits a sample)."
        )
    if element.available < needed:
        return _truncated("The file is cut short: its pixel data ends early.")
    return None


def _find_compression_problem(
    syntax: str, name: str, element: PixelElement
) -> UnreadableInput | None:
    if any(word in name for word in VIDEOS):
        return _unsupported(f"is a video ({name})")
    if syntax not in SUPPORTED:
        if is_compressed(syntax) or uids.UID(syntax).is_private:
            return _unsupported(f"is compressed as {name}")
        return _unsupported(f"is compressed although its transfer syntax ({name}) says it is not")
    if element.length is not None:
        return _unsupported(f"lies in no fragments, as {name} must")
    return None


def _unsupported(what: str) -> UnreadableInput:
    return UnreadableInput(
        f"The pixel data {what}, which cannot be decoded here.",
        "Export the image uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE.",
        code="unsupported-coding",
    )


def _truncated(reason: str) -> UnreadableInput:
    return UnreadableInput(reason, "Copy or export it again.", code="truncated-file")
