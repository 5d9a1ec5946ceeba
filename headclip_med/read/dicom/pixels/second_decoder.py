"""SimpleITK as second decoder, of grey JPEG streams that the first refuses."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Shaped
from pydicom.encaps import encapsulate
from pydicom.uid import SecondaryCaptureImageStorage

from headclip_med.read.dicom.pixels.layout import PixelLayout

END_OF_ITEMS = b"\xfe\xff\xdd\xe0\0\0\0\0"


def decode_by_itk(
    stream: bytes, syntax: str, layout: PixelLayout
) -> Shaped[np.ndarray, "rows columns"]:
    """Decode one grey frame by writing an object around it that says nothing else."""
    import SimpleITK as sitk  # noqa: N813 - its usual name; loaded only where it is needed

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with _file_of(_object_around(stream, syntax, layout)) as path:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(path, imageIO="GDCMImageIO"))[0])


def _object_around(stream: bytes, syntax: str, layout: PixelLayout) -> bytes:
    """Write the smallest object that a decoder takes; by hand, as it is done for every slice."""
    elements = (
        (0x0008, 0x0016, b"UI", SecondaryCaptureImageStorage.encode()),
        (0x0028, 0x0002, b"US", _word(1)),
        (0x0028, 0x0004, b"CS", b"MONOCHROME2 "),
        (0x0028, 0x0010, b"US", _word(layout.rows)),
        (0x0028, 0x0011, b"US", _word(layout.columns)),
        (0x0028, 0x0100, b"US", _word(layout.bits)),
        (0x0028, 0x0101, b"US", _word(layout.stored_bits)),
        (0x0028, 0x0102, b"US", _word(layout.stored_bits - 1)),
        (0x0028, 0x0103, b"US", _word(int(layout.is_signed))),
    )
    named = _element(0x0002, 0x0010, b"UI", syntax.encode())
    meta = _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(named))) + named
    pixels = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + encapsulate([stream])
    return b"".join(
        [bytes(128), b"DICM", meta, *(_element(*one) for one in elements), pixels, END_OF_ITEMS]
    )


def _word(number: int) -> bytes:
    return struct.pack("<H", number)


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    padded = value + b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind, len(padded)) + padded


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """Write an object where a program can open it, in memory if the system has such files."""
    with (
        os.fdopen(os.memfd_create("frame"), "w+b")
        if hasattr(os, "memfd_create")
        else tempfile.NamedTemporaryFile()
    ) as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}" if isinstance(file.name, int) else str(file.name)
