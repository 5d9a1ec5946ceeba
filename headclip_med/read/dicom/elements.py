"""Elements of a data set, read without surprises.

pydicom converts values on access, so damage shows there and not only while opening.
"""

from __future__ import annotations

import math
from functools import cache

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from headclip_med.read.guards import VALID_UID

ASCII_KINDS = ("CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI")
"""Texts of which a backslash parts the values; of these, ASCII is the same in every set."""

ESCAPE = b"\x1b"
"""Begins what is no ASCII although it looks so (ISO 2022)."""


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


tag_of = cache(Tag)
"""Gives the tag of a keyword, one object for each."""


def _values(dataset: Dataset, keyword: str) -> list[object]:
    tag = tag_of(keyword)
    if tag not in dataset.keys():  # noqa: SIM118 - in a tenth of the time
        return []
    element = dataset.get_item(tag)
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
