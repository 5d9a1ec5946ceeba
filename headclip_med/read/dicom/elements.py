"""One DICOM object, opened within bounds, and its elements, read without surprises.

pydicom converts values on access, so damage shows there and not only while opening.
"""

from __future__ import annotations

import io
import math
import struct
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BufferedIOBase, BufferedReader
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from headclip_med.errors import UnreadableInput
from headclip_med.read.guards import VALID_UID, ReadLimits, check_file, translate

SEARCHED_BYTES = 4096
"""The file meta information, which names the transfer syntax, lies well within."""

DEFLATED = DeflatedExplicitVRLittleEndian.encode()

UNDEFINED_LENGTH = 0xFFFFFFFF

BROKEN = (
    "The file is a damaged DICOM object that cannot be read.",
    "Export it again from its source, or leave it out.",
)


PIXEL_KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
"""By element of group 7FE0."""


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data of an object lies.

    Attributes:
        keyword: One of ``PIXEL_KEYWORDS``.
        start: Of its value, in bytes from the start of the stream.
        length: That it claims; None where it is undefined, as of compressed data in fragments.
        available: Bytes of the stream from there on.
        is_words: Whether its values are 16-bit words, which big endian swaps (VR OW).
    """

    keyword: str
    start: int
    length: int | None
    available: int
    is_words: bool


@contextmanager
def open_object(
    path: Path, limits: ReadLimits, *, keywords: Sequence[str]
) -> Iterator[tuple[Dataset, PixelElement | None, BufferedIOBase]]:
    """Open one DICOM object up to its pixel data.

    Args:
        path: A DICOM file, with or without preamble.
        limits: What it may claim.
        keywords: Of the elements that are wanted; others are skipped.

    Yields:
        The data set with a transfer syntax, where its pixel data lies (None where it has none),
        and the stream that holds it.

    Raises:
        UnreadableInput: The file is damaged, or claims more than the limits.
    """
    size = check_file(path, limits)
    with translate("broken-dicom", *BROKEN):
        file = path.open("rb")
    with file:
        with translate("broken-dicom", *BROKEN), _naming_sequences():
            stream, size = _inflated(file, size, limits)
            dataset = pydicom.dcmread(
                stream,
                stop_before_pixels=True,
                force=True,
                specific_tags=[_tag(keyword) for keyword in keywords],
            )
            _set_transfer_syntax(dataset)
            element = _pixel_element(dataset, stream, size)
        yield dataset, element, stream


@contextmanager
def _naming_sequences() -> Iterator[None]:
    """Say of what pydicom raises within a sequence that it is one without its end."""
    try:
        yield
    except (OSError, EOFError, ValueError, MemoryError, struct.error) as error:
        if any(
            frame.name == "read_sequence" for frame in traceback.extract_tb(error.__traceback__)
        ):
            raise UnreadableInput(
                "The file has a sequence that does not end where it should (an end mark is "
                "missing, or a length is wrong), so what follows it cannot be told.",
                BROKEN[1],
                code="broken-dicom",
            ) from None
        raise


def _pixel_element(dataset: Dataset, stream: BufferedIOBase, size: int) -> PixelElement | None:
    """Read the header of the element that pydicom stopped at (PS3.5 7.1.2, 7.1.3)."""
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


def _inflated(file: BufferedReader, size: int, limits: ReadLimits) -> tuple[BufferedIOBase, int]:
    """Return a stream that pydicom can read without inflating anything itself."""
    start = file.read(SEARCHED_BYTES)
    file.seek(0)
    end = _end_of_meta(start)
    if end is not None and DEFLATED not in start[:end]:
        return file, size
    if start[128:132] != b"DICM":
        # Without preamble nothing can be deflated by the standard; what claims to be is refused.
        if DEFLATED in start:
            raise UnreadableInput(*BROKEN, code="broken-dicom")
        return file, size
    meta = read_file_meta_info(file.name)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return file, size
    if end is None:
        raise UnreadableInput(*BROKEN, code="broken-dicom")
    file.seek(end)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(file.read(), limits.inflated_bytes)
    if inflater.unconsumed_tail:
        raise UnreadableInput(
            f"The deflated object grows beyond {limits.inflated_bytes >> 20} MiB, more than is "
            "read.",
            "Export it uncompressed, or raise ReadLimits.inflated_bytes.",
            code="inflated-too-large",
        )
    head = io.BytesIO()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(DicomFileLike(head), meta, enforce_standard=False)
    return io.BytesIO(head.getvalue() + body), len(head.getvalue()) + len(body)


def _end_of_meta(start: bytes) -> int | None:
    """Find where an orderly file meta information ends (PS3.10 7.1); None where it is not one."""
    if start[128:140] != b"DICM\x02\0\0\0UL\x04\0":
        return None
    end = 144 + int(struct.unpack_from("<I", start.ljust(144, b"\0"), 140)[0])
    is_inside = end + 2 <= len(start) and start[end : end + 2] != b"\x02\0"
    return end if is_inside and b"\x02\0\x10\0UI" in start[:end] else None


def _set_transfer_syntax(dataset: Dataset) -> None:
    """Name the encoding that pydicom found, where the file does not."""
    meta = dataset.file_meta
    if "TransferSyntaxUID" in meta:
        return
    implicit, little = dataset.original_encoding
    if not little:
        meta.TransferSyntaxUID = ExplicitVRBigEndian
    else:
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def text(dataset: Dataset, keyword: str) -> str:
    """Read an element as text; empty where it is absent or damaged."""
    values = _values(dataset, keyword)
    return str(values[0]).strip() if values else ""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Read every value of an element as text."""
    return tuple(str(value).strip() for value in _values(dataset, keyword))


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Read an element's numbers; empty where it is absent, damaged, or one is not finite."""
    try:
        found = tuple(float(str(value)) for value in _values(dataset, keyword))
    except (TypeError, ValueError, ArithmeticError):
        return ()
    return found if all(math.isfinite(value) for value in found) else ()


def whole(dataset: Dataset, keyword: str, default: int) -> int:
    """Read an element as a whole number; the default where it is absent or damaged."""
    found = numbers(dataset, keyword)
    return int(found[0]) if found else default


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Read a sequence's items; empty where it is absent or damaged."""
    return [item for item in _values(dataset, keyword) if isinstance(item, Dataset)]


def uid(dataset: Dataset, keyword: str) -> str | None:
    """Read a UID; None where it is absent or could not safely name anything."""
    found = text(dataset, keyword)
    return found if VALID_UID.fullmatch(found) else None


_tag = cache(Tag)


def _values(dataset: Dataset, keyword: str) -> list[object]:
    tag = _tag(keyword)
    if tag not in dataset:
        return []
    try:
        value = dataset[tag].value
    except Exception:  # lazily converted: any parser error may come out, see translate()
        return []
    if value is None:
        return []
    if isinstance(value, str | bytes):
        return [value]
    try:
        return list(value)
    except TypeError:
        return [value]
