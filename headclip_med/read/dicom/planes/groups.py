"""The functional groups of an enhanced object (PS3.3 C.7.6.16): shared ones and each frame's."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import items

_NOTHING = Dataset()


def find_group(groups: Sequence[Dataset], keyword: str) -> Dataset:
    """Find a functional group: the frame's own, else the shared one, else an empty one.

    None of them is the caller's to change.
    """
    for group in groups:
        for item in items(group, keyword):
            return item
    return _NOTHING
