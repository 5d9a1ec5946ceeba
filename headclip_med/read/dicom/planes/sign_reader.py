"""The signs of frames, read wherever an object keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import items, tag_of, texts
from headclip_med.read.dicom.planes.signs import SIGNS

_Path = tuple[str, ...]
_Places = tuple[tuple[_Path, ...], ...]

_PLACES: tuple[_Places, ...] = tuple(
    # What a frame says of itself comes before what its object says of all.
    tuple(
        tuple(tuple(path.split(".")) for path in place.split("+"))
        for place in sorted(places, key=lambda place: "." not in place)
    )
    for places in SIGNS.values()
)

SIGN_KEYWORDS = tuple(
    dict.fromkeys(
        path[0] for places in _PLACES for place in places for path in place if len(path) == 1
    )
)
"""The elements of a single-frame object among the places."""

LONGEST_NUMBER = 16
"""A decimal string has no more characters; what is longer is a date with a time."""

_PRIVATE = ("0019", "0021", "0029", "0043", "0065", "2001", "2005")
CREATOR_KEYWORDS = tuple(f"{group}0010" for group in _PRIVATE)
"""Name who wrote the private elements, without which their values have no type."""


class SignReader:
    """Reads the signs of the frames of one object.

    Args:
        levels: What is said of all of them: the shared functional groups, the object. What the
            first of them says counts, and what a frame says of itself before all.
    """

    def __init__(self, levels: Sequence[Dataset]) -> None:
        self._levels = [(level, level.keys()) for level in levels]
        present = frozenset().union(*(keys for _, keys in self._levels))
        self._shared = [
            [""] * len(places)
            if present.isdisjoint(tags)
            else [self._of_all(place) for place in places]
            for places, tags in zip(_PLACES, _TAGS, strict=True)
        ]
        self._usual = [next(filter(None, values), "") for values in self._shared]

    def of(self, own: Dataset) -> tuple[str, ...]:
        """Read those of one frame by its own functional groups.

        Returns:
            One text for each of ``SIGNS``; empty where nothing is said.
        """
        present = own.keys()
        return tuple(
            usual if present.isdisjoint(tags) else _sign(places, own, shared)
            for places, tags, shared, usual in zip(
                _PLACES, _TAGS, self._shared, self._usual, strict=True
            )
        )

    @property
    def usual(self) -> tuple[str, ...]:
        """Those of a frame that says nothing of itself."""
        return tuple(self._usual)

    def _of_all(self, place: tuple[_Path, ...]) -> str:
        said = (
            _said(level, place) for level, present in self._levels if tag_of(place[0][0]) in present
        )
        return next(filter(None, said), "")


def _sign(places: _Places, own: Dataset, shared: Sequence[str]) -> str:
    for place, of_all in zip(places, shared, strict=True):
        if found := (_said(own, place) if tag_of(place[0][0]) in own else "") or of_all:
            return found
    return ""


def _said(level: Dataset, place: tuple[_Path, ...]) -> str:
    values = [_canonical(_values(level, path)) for path in place]
    return "/".join(values) if any(values) else ""


_TAGS = tuple(frozenset(tag_of(place[0][0]) for place in places) for places in _PLACES)


def _values(dataset: Dataset, path: _Path) -> Iterable[str]:
    for keyword in path[:-1]:
        below = items(dataset, keyword)
        if not below:
            return ()
        dataset = below[0]
    return texts(dataset, path[-1])


@lru_cache(maxsize=1 << 14)
def _number(piece: str) -> str:
    if len(piece) > LONGEST_NUMBER:
        return piece.upper()
    try:
        return f"{float(piece) + 0.0:.15g}"
    except ValueError:
        return piece.upper()


def _canonical(values: Iterable[str]) -> str:
    return "\\".join(map(_number, values))
