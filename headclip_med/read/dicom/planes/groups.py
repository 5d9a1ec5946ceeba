"""The functional groups of an enhanced object (PS3.3 C.7.6.16): shared ones and each frame's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.values import convert_SQ

from headclip_med.read.dicom.elements import items, tag_of

SHORT_BYTES = 512
"""Of a group that is remembered."""

_NOTHING = Dataset()


def find_group(groups: Sequence[Dataset], keyword: str) -> Dataset:
    """Find a functional group: the frame's own, else the shared one, else an empty one.

    None of them is the caller's to change.
    """
    for group in groups:
        for item in _items(group, keyword):
            return item
    return _NOTHING


def _items(group: Dataset, keyword: str) -> Sequence[Dataset]:
    tag = tag_of(keyword)
    if tag not in group.keys():  # noqa: SIM118 - in a tenth of the time
        return ()
    element = group.get_item(tag)
    if isinstance(element, RawDataElement) and _is_short_sequence(element):
        with suppress(Exception):  # which the usual way knows what to do with
            return _parsed(element.value or b"", element.is_implicit_VR, element.is_little_endian)
    return items(group, keyword)


def _is_short_sequence(element: RawDataElement) -> bool:
    return element.VR in (None, "SQ") and len(element.value or b"") <= SHORT_BYTES


@lru_cache(maxsize=256)
def _parsed(value: bytes, is_implicit: bool, is_little_endian: bool) -> tuple[Dataset, ...]:
    """Parse a sequence that many frames have alike: orientation, sizes, rescale."""
    return tuple(convert_SQ(value, is_implicit, is_little_endian))
