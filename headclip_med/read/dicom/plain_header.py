"""Headers whose elements simply follow each other, read in a fifth of pydicom's time.

Most are such: little endian, of known transfer syntaxes, without sequences of undefined length.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO, NamedTuple, cast

from pydicom import uid as uids
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from headclip_med.read.dicom.elements import tag_of, text
from headclip_med.read.dicom.pixel_element import PIXEL_TAGS
from headclip_med.read.guards import ReadLimits

START_BYTES = 1 << 15
"""What is read of a file; a header that is longer is not plain."""

PREAMBLE_BYTES = 128
META_START = b"DICM\x02\0\0\0UL\x04\0"
META_LENGTH_ENDS = PREAMBLE_BYTES + len(META_START) + 4
TRANSFER_SYNTAX = tag_of("TransferSyntaxUID")
META_TAG = 0x00020000
FIRST_TAG = 0x00080000
"""What comes earlier (commands, groups of none) is not for files."""

ONE_WORD = frozenset(kind.value.encode() for kind in EXPLICIT_VR_LENGTH_16)
TWO_WORDS = frozenset(kind.value.encode() for kind in EXPLICIT_VR_LENGTH_32)
"""Kinds of values by how their length is written (PS3.5 7.1.2)."""

EXPLICIT = frozenset(
    str(syntax)
    for syntax in uids.AllTransferSyntaxes
    if syntax.is_little_endian and not syntax.is_implicit_VR and not syntax.is_deflated
)

_EXPLICIT_HEAD = struct.Struct("<HH2sH")
_IMPLICIT_HEAD = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")


def read_plain_header(
    file: BinaryIO | BytesIO, keywords: Sequence[str], limits: ReadLimits
) -> Dataset | None:
    """Read the elements that are wanted of an object up to its pixel data.

    Args:
        file: At its start; left where the pixel data starts.
        keywords: Of the elements that are wanted, ``SpecificCharacterSet`` beside them.
        limits: What the file may claim.

    Returns:
        None where anything is not plain, or missing, or out of order: pydicom is to read that, and
        to say what is wrong with it.
    """
    if min(limits.elements, limits.element_bytes) < START_BYTES:
        return None
    start = file.read(START_BYTES)
    file.seek(0)
    if start[PREAMBLE_BYTES : META_LENGTH_ENDS - 4] != META_START or len(start) < META_LENGTH_ENDS:
        return None
    end = META_LENGTH_ENDS + int(_LENGTH.unpack_from(start, META_LENGTH_ENDS - 4)[0])
    meta = _scan(start[:end], META_LENGTH_ENDS - 12, first=META_TAG)
    if meta is None or meta.place != end or TRANSFER_SYNTAX not in meta.found:
        return None
    if any(tag.group != TRANSFER_SYNTAX.group for tag in meta.found):
        return None
    about = FileMetaDataset(meta.found)
    syntax = text(about, "TransferSyntaxUID")
    is_implicit = syntax == uids.ImplicitVRLittleEndian
    if not is_implicit and syntax not in EXPLICIT:
        return None
    header = _scan(
        start, end, first=FIRST_TAG, wanted=_wanted(tuple(keywords)), is_implicit=is_implicit
    )
    if header is None or not header.ends_at_pixels:
        return None
    file.seek(header.place)
    dataset = Dataset(header.found)
    dataset.set_original_encoding(is_implicit, True)
    dataset.file_meta = about
    return dataset


class _Scan(NamedTuple):
    """Elements one after the other, and where the first lies that was not scanned."""

    found: dict[BaseTag, DataElement | RawDataElement]
    place: int
    ends_at_pixels: bool


def _scan(
    start: bytes,
    at: int,
    *,
    first: int,
    wanted: Mapping[int, BaseTag] | None = None,
    is_implicit: bool = False,
) -> _Scan | None:
    """Scan elements up to the pixel data or the end of what there is (PS3.5 7.1).

    Args:
        start: Of the file.
        at: Where to begin.
        first: The lowest tag that may come.
        wanted: Tags of the elements to keep, by number; all by default.
        is_implicit: Elements do not say of what kind they are.
    """
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    last, kind = first - 1, b""
    while at + 12 <= len(start):
        if is_implicit:
            group, number, length = _IMPLICIT_HEAD.unpack_from(start, at)
            value_at = at + 8
        else:
            group, number, kind, length = _EXPLICIT_HEAD.unpack_from(start, at)
            value_at = at + 8
            if kind in TWO_WORDS:
                (length,) = _LENGTH.unpack_from(start, value_at)
                value_at += 4
            elif kind not in ONE_WORD:
                return None
        tag = group << 16 | number
        if tag in PIXEL_TAGS:
            return _Scan(found, at, ends_at_pixels=True)
        if tag <= last:
            return None
        last, after = tag, value_at + length
        if after > len(start):  # of undefined length, or beyond what was read
            return None
        known = BaseTag(tag) if wanted is None else wanted.get(tag)
        if known is not None:
            said = None if is_implicit else kind.decode("ascii")
            value = start[value_at:after] or cast(
                "bytes | None", empty_value_for_VR(said, raw=True)
            )
            found[known] = RawDataElement(known, said, length, value, value_at, is_implicit, True)
        at = after
    return _Scan(found, at, ends_at_pixels=False)


@lru_cache
def _wanted(keywords: tuple[str, ...]) -> dict[int, BaseTag]:
    """By number; looked up again, the same object is found without being compared."""
    return {
        int(tag_of(keyword)): tag_of(keyword) for keyword in ("SpecificCharacterSet", *keywords)
    }
