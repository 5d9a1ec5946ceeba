"""Compressed frames decoded, each by the library that does it right and in the least time."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
from jaxtyping import Shaped
from pydicom import uid as uids
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.pixels.codestreams import JpegFrame, check_codestream, mismatch
from headclip_med.read.dicom.pixels.codings import DECODERS, JPEG_XL
from headclip_med.read.dicom.pixels.colours import to_red_green_blue
from headclip_med.read.dicom.pixels.layout import PixelLayout
from headclip_med.read.dicom.pixels.second_decoder import decode_by_itk

END_OF_IMAGE = b"\xff\xd9"

_Frame = Shaped[np.ndarray, "rows columns *samples"]


def decode(stream: bytes, syntax: str, layout: PixelLayout) -> _Frame:
    """Decode one frame.

    Args:
        stream: The frame, fragments joined.
        syntax: Transfer syntax UID, one of ``SUPPORTED``.
        layout: Of the header.

    Returns:
        Stored values; colours as red, green, blue.

    Raises:
        UnreadableInput: It claims another size than its header, or is cut short.
    """
    frame = check_codestream(stream, syntax, layout)
    if syntax in JPEG_XL:
        return _jpeg_xl(stream, layout)
    if syntax in uids.JPEGLSTransferSyntaxes:
        return _jpeg_ls(stream, layout)
    if frame is not None and not frame.is_usual:
        return _unusual_jpeg(stream, frame, syntax, layout)
    return _by_pydicom(stream, *DECODERS[syntax], layout)


def _unusual_jpeg(stream: bytes, frame: JpegFrame, syntax: str, layout: PixelLayout) -> _Frame:
    """Decode a JPEG without loss, of more than eight bits, or arithmetically coded."""
    if END_OF_IMAGE not in stream[-16:]:  # what is missing would be filled with grey
        raise UnreadableInput(
            "The file is cut short: a compressed frame has no end.",
            "Copy or export it again.",
            code="truncated-file",
        )
    # Colours without loss are as they were put in, and what they are the header alone says.
    same = "RGB" if frame.is_lossless and layout.samples == 3 else None
    try:
        values = imagecodecs.jpeg8_decode(stream, colorspace=same, outcolorspace=same)
    except imagecodecs.Jpeg8Error:
        if layout.samples > 1 or layout.bits not in (8, 16):
            raise
        return decode_by_itk(stream, syntax, layout)
    values = _stored(values, layout)
    return to_red_green_blue(values, layout) if frame.is_lossless else values


def _jpeg_ls(stream: bytes, layout: PixelLayout) -> _Frame:
    return to_red_green_blue(_stored(imagecodecs.jpegls_decode(stream), layout), layout)


def _jpeg_xl(stream: bytes, layout: PixelLayout) -> _Frame:
    """Decode JPEG XL, of which nothing is decoded unless it fits what it is to fill."""
    for kind in (np.uint16, np.uint8)[layout.bits <= 8 :]:
        out = np.empty(_shape(layout), kind)
        with suppress(ValueError):
            return _stored(imagecodecs.jpegxl_decode(stream, out=out, numthreads=1), layout)
    raise mismatch()


def _shape(layout: PixelLayout) -> tuple[int, ...]:
    size = layout.rows, layout.columns
    return size if layout.samples == 1 else (*size, layout.samples)


def _stored(values: _Frame, layout: PixelLayout) -> _Frame:
    """Give values the type that the header says they have.

    Raises:
        UnreadableInput: They are others than it says.
    """
    kind = layout.dtype("=")
    if values.shape != _shape(layout) or values.itemsize > kind.itemsize:
        raise mismatch()
    return values.view(kind) if values.itemsize == kind.itemsize else values.astype(kind)


def _by_pydicom(stream: bytes, decoder: str, plugin: str, layout: PixelLayout) -> _Frame:
    data = encapsulate([stream])
    options = {**_options(layout), "decoding_plugin": plugin}
    return get_decoder(decoder).as_array(data, index=0, validate=False, **options)[0]


def _options(layout: PixelLayout) -> dict[str, Any]:
    """Give pydicom's decoders the layout of one frame."""
    return {
        "correct_unused_bits": False,
        "number_of_frames": 1,
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": int(layout.is_planar),
        "bits_allocated": layout.bits,
        "bits_stored": layout.stored_bits,
        "pixel_representation": int(layout.is_signed),
    }
