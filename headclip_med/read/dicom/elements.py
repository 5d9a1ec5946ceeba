"""One DICOM object, opened within bounds, and its elements, read without surprises.

pydicom converts values on access, so damage shows there and not only while opening.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag, Tag
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

SMALL_BYTES = 1 << 20
"""What is no larger cannot hold more elements than are parsed in a second."""

FREE_BYTES = 256 << 20
"""Up to here a deflated object may be as much smaller as it likes: black frames are."""

LARGEST_RATIO = 100
CHUNK_BYTES = 1 << 16
HEADER_BYTES = 8
ITEM_COST = 4
COMMAND_COST = 1000
"""Elements of group 0 are not for files."""

MOST_OUTSIDE_SEQUENCES = 50_000
ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of an item, in either byte order."""

FIRST_TAG = 0x00010000
DEFLATED = DeflatedExplicitVRLittleEndian.encode()

ASCII_KINDS = ("CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI")
"""Texts of which a backslash parts the values; of these, ASCII is the same in every set."""

ESCAPE = b"\x1b"
"""Begins what is no ASCII although it looks so (ISO 2022)."""
UNDEFINED_LENGTH = 0xFFFFFFFF

BROKEN = (
    "The file is a damaged DICOM object that cannot be read.",
    "Export it again from its source, or leave it out.",
)


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


@contextmanager
def open_object(
    path: Path, limits: ReadLimits, *, keywords: Sequence[str]
) -> Iterator[tuple[Dataset, PixelElement | None, BinaryIO]]:
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
    with ExitStack() as opened:
        with translate("broken-dicom", *BROKEN), _naming_sequences():
            file = opened.enter_context(path.open("rb"))
            stream = opened.enter_context(_inflated(file, size, limits))
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            tags: list[BaseTag | int] = [_tag(keyword) for keyword in keywords]
            parsed = CountedElements(stream, limits) if size > SMALL_BYTES else stream
            dataset = read_partial(
                parsed,  # type: ignore[arg-type]
                _End(stream, limits, set(tags)),
                force=True,
                specific_tags=tags,
            )
            _set_transfer_syntax(dataset)
            element = _pixel_element(dataset, stream, size)
            if element is not None and stream is not file:
                element = replace(element, is_inflated=True)
        yield dataset, element, stream


class _End:
    """Tells pydicom where to stop, which asks before each element that lies in no sequence.

    Args:
        stream: What is parsed.
        limits: What it may hold.
        wanted: Tags of the elements that will be looked at.
    """

    def __init__(self, stream: BinaryIO, limits: ReadLimits, wanted: set[BaseTag | int]) -> None:
        self._stream, self._limits, self._wanted = stream, limits, wanted
        self._seen = 0

    def __call__(self, tag: BaseTag, _kind: str | None, length: int) -> bool:
        """Whether the header ends before this element.

        Raises:
            UnreadableInput: The element is wanted, and larger than any of its kind; or there were
                too many.
        """
        if tag in PIXEL_TAGS or tag < FIRST_TAG:  # zeros are no elements but filling
            return True
        self._seen += 1
        if self._seen > MOST_OUTSIDE_SEQUENCES:
            raise _refusal("too-many-elements", MOST_OUTSIDE_SEQUENCES)
        limit = self._limits.element_bytes
        if limit < length < UNDEFINED_LENGTH and tag in self._wanted:
            if dictionary_VR(tag) != "SQ":
                raise _refusal("oversized-element", limit >> 10, length >> 10)
            _count_items(self._stream, length, self._limits)
        return False


def _count_items(stream: BinaryIO, length: int, limits: ReadLimits) -> None:
    """Count the items of a sequence that is parsed only when it is asked for."""
    place = stream.tell()
    found = ITEM_COST * sum(stream.read(length).count(item) for item in ITEMS)
    stream.seek(place)
    if found > limits.elements:
        raise _refusal("too-many-elements", limits.elements)


class CountedElements:
    """A file whose elements are counted while they are parsed.

    Args:
        file: What is parsed.
        limits: How many it may have.
    """

    def __init__(self, file: BinaryIO, limits: ReadLimits) -> None:
        self._file = file
        self._left = self._most = limits.elements
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read on; the header of an element takes eight bytes."""
        content = self._file.read(size)
        if size == HEADER_BYTES:
            is_command = content[:2] == b"\0\0"
            self._left -= ITEM_COST if content[:4] in ITEMS else COMMAND_COST if is_command else 1
            if self._left < 0:
                raise _refusal("too-many-elements", self._most)
        return content


def _refusal(code: str, allowed: int, claimed: int = 0) -> UnreadableInput:
    reason, advice = _REFUSALS[code]
    return UnreadableInput(reason.format(claimed=claimed, allowed=allowed), advice, code=code)


_REFUSALS = {
    "oversized-element": (
        "An element of the header holds {claimed} KiB, more than the {allowed} KiB that are read.",
        "Export the image again, or raise ReadLimits.element_bytes.",
    ),
    "too-many-elements": (
        "The header holds more than {allowed} elements, items of sequences counted fourfold.",
        "Export the image again, or raise ReadLimits.elements.",
    ),
}


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


def _pixel_element(dataset: Dataset, stream: BinaryIO, size: int) -> PixelElement | None:
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


def _inflated(file: BufferedReader, size: int, limits: ReadLimits) -> BinaryIO:
    """Return a stream that pydicom can read without inflating anything itself."""
    start = file.read(SEARCHED_BYTES)
    file.seek(0)
    end = _end_of_meta(start)
    if end is not None and DEFLATED not in start[:end]:
        return file
    if start[128:132] != b"DICM":
        # Without preamble nothing can be deflated by the standard; what claims to be is refused.
        if DEFLATED in start:
            raise UnreadableInput(*BROKEN, code="broken-dicom")
        return file
    meta = read_file_meta_info(file.name)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return file
    if end is None:
        raise UnreadableInput(*BROKEN, code="broken-dicom")
    file.seek(end)
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(DicomFileLike(plain), meta, enforce_standard=False)
    allowed = min(limits.inflated_bytes, max(FREE_BYTES, LARGEST_RATIO * size))
    _inflate(file, plain, allowed)
    return plain


def _inflate(packed: BinaryIO, plain: BinaryIO, allowed: int) -> None:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for chunk in iter(partial(packed.read, CHUNK_BYTES), b""):
        waiting = chunk
        while waiting and not inflater.eof:
            plain.write(inflater.decompress(waiting, 16 * CHUNK_BYTES))
            waiting = inflater.unconsumed_tail
            if plain.tell() > allowed:
                raise UnreadableInput(
                    f"The deflated object grows beyond the {allowed >> 20} MiB that are read of a "
                    "file of its size.",
                    "Export it uncompressed, or raise ReadLimits.inflated_bytes.",
                    code="inflated-too-large",
                )


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
    element = dataset.get_item(tag)
    if element is None:
        return []
    if isinstance(element, RawDataElement) and (plain := _plain_values(element)) is not None:
        return plain
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


def _plain_values(element: RawDataElement) -> list[object] | None:
    """Read ASCII and 16-bit words as they are, in a tenth of the time; None for all else."""
    value = element.value
    if not value:
        return None
    kind = element.VR or _kind(element.tag)
    if kind in ("SS", "US") and len(value) == 2:
        number = int.from_bytes(value, "little" if element.is_little_endian else "big")
        return [number - (1 << 16) if kind == "SS" and number >> 15 else number]
    if kind in ASCII_KINDS and value.isascii() and ESCAPE not in value:
        return list(value.decode("ascii").rstrip(" \0").split("\\"))
    return None


@cache
def _kind(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""
