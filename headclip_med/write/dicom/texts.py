"""Texts of a source taken over byte for byte, whatever character set it declares or forgets."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag

KINDS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations whose bytes mean what Specific Character Set says (PS3.5 6.1.2.3)."""


ESCAPE = b"\x1b"
"""Changes the character set within a text, by bytes of seven bits (ISO 2022)."""


def stored_texts(header: Dataset) -> dict[BaseTag, bytes]:
    """Take the bytes of a header's texts before anything decodes them.

    Args:
        header: As it was opened; elements that were looked at are left out.
    """
    return {
        element.tag: element.value
        for element in header.elements()
        if isinstance(element, RawDataElement)
        and isinstance(element.value, bytes)
        and dictionary_has_tag(element.tag)
        and dictionary_VR(element.tag) in KINDS
    }


def keep_bytes(
    stored: Mapping[BaseTag, bytes], result: Dataset, mended: Collection[str] = ()
) -> None:
    """Write texts as their source has them: decoded by a false character set they would change.

    Args:
        stored: Of the source, by ``stored_texts``.
        result: Has the same elements, decoded; they must not be looked at afterwards.
        mended: Keywords of those that are to stay as the result has them.
    """
    for tag, value in stored.items():
        is_plain = value.isascii() and ESCAPE not in value
        if tag in result and not is_plain and keyword_for_tag(tag) not in mended:
            even = value + b" " * (len(value) % 2)
            result[tag] = RawDataElement(
                tag, dictionary_VR(tag), len(even), even, 0, False, True, True
            )
    # As if it had been read like this: else every text would be decoded and encoded once more.
    correct_ambiguous_vr(result, is_little_endian=True)
    charset = result.get("SpecificCharacterSet")
    result.set_original_encoding(
        False, True, convert_encodings(charset) if charset else default_encoding
    )
