"""One DICOM object, opened within bounds."""

from __future__ import annotations

import os
import struct
import tempfile
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.elements import tag_of
from headclip_med.read.dicom.pixel_element import (
    PIXEL_TAGS,
    UNDEFINED_LENGTH,
    PixelElement,
    find_pixel_element,
)
from headclip_med.read.dicom.plain_header import read_plain_header
from headclip_med.read.guards import ReadLimits, check_file, translate

SEARCHED_BYTES = 4096
"""The file meta information, which names the transfer syntax, lies well within."""

SMALL_BYTES = 1 << 20
"""An element that claims no more is read as far as it goes, whatever the file has."""

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


BROKEN = (
    "The file is a damaged DICOM object that cannot be read.",
    "Export it again from its source, or leave it out.",
)


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
            stream: BinaryIO = file
            dataset = read_plain_header(file, keywords, limits)
            if dataset is None:
                stream = opened.enter_context(_inflated(file, size, limits))
                size = stream.seek(0, os.SEEK_END)
                dataset = _parsed(stream, size, keywords, limits)
            element = find_pixel_element(dataset, stream, size)
            if element is not None and stream is not file:
                element = replace(element, is_inflated=True)
        yield dataset, element, stream


def _parsed(stream: BinaryIO, size: int, keywords: Sequence[str], limits: ReadLimits) -> Dataset:
    """Let pydicom read the elements that are wanted, up to the pixel data."""
    stream.seek(0)
    tags: list[BaseTag | int] = [tag_of(keyword) for keyword in keywords]
    parsed = BoundedStream(stream, size, limits)
    dataset = read_partial(
        parsed,  # type: ignore[arg-type]
        _End(stream, limits, set(tags)),
        force=True,
        specific_tags=tags,
    )
    _set_transfer_syntax(dataset)
    return dataset


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


class FalseLength(MemoryError):
    """What an element claims to hold, in bytes, and what its whole file has."""


class BoundedStream:
    """A file whose elements are counted while they are parsed, and none read that it cannot hold.

    Args:
        file: What is parsed.
        size: Of it, in bytes.
        limits: How many elements it may have.
    """

    def __init__(self, file: BinaryIO, size: int, limits: ReadLimits) -> None:
        self._file, self._most_bytes = file, max(size, SMALL_BYTES)
        self._left = self._most = limits.elements
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read on; the header of an element takes eight bytes.

        Raises:
            FalseLength: An element claims more than the whole file, for which memory would be taken
                before it is missed.
            UnreadableInput: There were too many.
        """
        if size > self._most_bytes:
            raise FalseLength(size, self._file.seek(0, os.SEEK_END))
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
    "false-length": (
        "An element of the header says that it holds {claimed} KiB, and the whole file has "
        "{allowed} KiB, so what follows cannot be told.",
        BROKEN[1],
    ),
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
        if isinstance(error, FalseLength):
            claimed, there = error.args
            raise _refusal("false-length", there >> 10, claimed >> 10) from None
        raise


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
