"""Parallel slices split into the volumes that they form.

Whatever an element says, a split by it counts only where it gives better volumes: complete, and in
even steps. So two echoes become two volumes, and a volume whose every slice has an acquisition
number of its own stays one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from headclip_med.read.dicom.planes import CLOCKS, CONTRASTS, DIMENSIONS, ORDERS, SIGNS
from headclip_med.read.dicom.series.evenness import (
    WIDE_BORDER,
    Lie,
    cost_of,
    lie_of,
    starts_of_places,
    widest_overlap_mm,
)
from headclip_med.read.dicom.series.order import cycles, runs, snapped
from headclip_med.read.dicom.series.repeats import PixelDigests
from headclip_med.read.dicom.stack import Slice, positions_mm

BLOCK_SIGNS = ("AcquisitionNumber", "StackID", DIMENSIONS)
"""May tell blocks that lie one behind the other apart."""

STATION, ORDER, PLACE = "ImagePositionPatient", "InstanceNumber", "nothing but their number"
"""Names of what is no element with one value for each volume."""

STATION_MM = 5.0
"""Slices at one position this far apart sideways are two fields of view (a spine in stations)."""

ODD_FRACTION = 0.25
"""With so many odd steps slices are no volume with gaps, but several volumes."""

_Indices = Int[np.ndarray, "_"]


@dataclass(frozen=True)
class Part:
    """Slices that make one volume.

    Attributes:
        slices: In no order.
        signs: What told them from others.
        copies: Slices left out, with those they repeat.
        mixes: Signs of other physics that differ among them all the same.
        is_sound: False where several lie at one position, and nothing tells them apart, or where
            they lie scattered.
        directions: Of the planes of all that lie together with those that lie scattered.
        turns: They are views from around an axis, and no slices of one direction.
    """

    slices: list[Slice]
    signs: frozenset[str] = frozenset()
    copies: list[tuple[Slice, Slice]] = field(default_factory=list)
    mixes: tuple[str, ...] = ()
    is_sound: bool = True
    directions: int = 0
    turns: bool = False


@dataclass(frozen=True)
class _Split:
    """One way to split: by what, and into what."""

    sign: str
    parts: list[_Indices]
    cost: int


class PartFinder:
    """Splits parallel slices.

    Args:
        slices: All parallel.
        digests: Of their pixels.
    """

    def __init__(self, slices: Sequence[Slice], digests: PixelDigests) -> None:
        self._slices = slices
        self._digests = digests
        self._positions = positions_mm(slices)
        self._codes = {
            name: codes
            for name, values in self._values().items()
            if (codes := _coded(values)).any()
        }

    def parts(self) -> list[Part]:
        """Split all of them; values in order, numbers as numbers."""
        return list(self._split(np.arange(len(self._slices)), frozenset(), ()))

    def _values(self) -> dict[str, Sequence[str]]:
        frames = [one.frame for one in self._slices]
        found: dict[str, Sequence[str]] = {
            name: [frame.signs[place] if frame.signs else "" for frame in frames]
            for place, name in enumerate(SIGNS)
        }
        most = max(len(frame.dimensions) for frame in frames)
        for place in range(most):
            found[f"{DIMENSIONS} {place + 1}"] = [
                "".join(frame.dimensions[place : place + 1]) for frame in frames
            ]
        found[STATION] = _stations(self._slices, self._positions)
        return found

    def _split(
        self, chosen: _Indices, signs: frozenset[str], copies: tuple[tuple[Slice, Slice], ...]
    ) -> Iterator[Part]:
        """Split some of them by what is best, and what comes of it again."""
        lie = lie_of(self._positions[chosen])
        split = self._by_contrast(chosen, lie) or (
            self._by_order(chosen, lie) if lie.cost else None
        )
        if split is None and lie.repeats:
            if found := self._digests.copies(self._places(chosen)):
                dropped = {id(copy) for copy, _ in found}
                kept = [index for index in chosen if id(self._slices[index]) not in dropped]
                yield from self._split(np.array(kept), signs, (*copies, *found))
                return
            split = self._by_anything(chosen, lie)
        if split is None:
            mixes = tuple(self._telling(chosen, CONTRASTS))
            slices = [self._slices[index] for index in chosen]
            yield from self._settled(lie, Part(slices, signs, list(copies), mixes), chosen)
            return
        for number, part in enumerate(split.parts):
            yield from self._split(part, signs | {split.sign}, copies if number == 0 else ())

    def _by_contrast(self, chosen: _Indices, lie: Lie) -> _Split | None:
        """Split by other physics, where that makes nothing worse."""
        for name in self._telling(chosen, CONTRASTS):
            split = self._by(name, self._codes[name][chosen], chosen, lie)
            if len(split.parts) <= max(3 * lie.most, lie.slices // 2) and split.cost <= lie.cost:
                return split
        return None

    def _by_order(self, chosen: _Indices, lie: Lie) -> _Split | None:
        """Split by a part or time of the scan, where what comes of it is much better."""
        names = [*ORDERS, *self._dimensions(), STATION]
        if lie.repeats:
            best = self._best(chosen, lie, names)
            return best if best is not None and best.cost == 0 else None
        best = self._best(chosen, lie, [*names, *CLOCKS]) or self._by_runs(chosen, lie)
        if best is None:
            return None
        overlap_mm = widest_overlap_mm([self._positions[part] for part in best.parts])
        if overlap_mm > 0:
            is_mixed = lie.odd_steps >= max(2, ODD_FRACTION * lie.places)
            return best if is_mixed and 2 * best.cost <= lie.cost else None
        is_block = best.sign.startswith(BLOCK_SIGNS) and best.cost == 0
        return best if is_block and -overlap_mm >= WIDE_BORDER * lie.usual_mm else None

    def _by_runs(self, chosen: _Indices, lie: Lie) -> _Split | None:
        """Split what goes through its range more than once, at nearly the same positions."""
        positions = self._positions[chosen]
        orders = [self._slices[index].order for index in chosen]
        if len(set(orders)) < len(orders):
            return None
        ways: list[_Split] = []
        for volumes in (*cycles(snapped(positions), orders), runs(positions, orders)):
            ways += self._allowed(self._by(ORDER, volumes, chosen, lie), lie)
        return min(ways, key=lambda way: way.cost, default=None)

    def _by_anything(self, chosen: _Indices, lie: Lie) -> _Split | None:
        """Split repeated positions by whatever is best."""
        if lie.places == 1:
            by_number = sorted(chosen, key=lambda index: self._slices[index].order)
            return _Split(PLACE, [np.array([index]) for index in by_number], 0)
        named = self._best(chosen, lie, [*ORDERS, *self._dimensions(), STATION, *CLOCKS])
        ways = [] if named is None else [named]
        orders = [self._slices[index].order for index in chosen]
        for volumes in cycles(self._positions[chosen], orders):
            ways += self._allowed(self._by(ORDER, volumes, chosen, lie), lie)
        return min(ways, key=lambda way: way.cost, default=None)

    def _best(self, chosen: _Indices, lie: Lie, names: Sequence[str]) -> _Split | None:
        ways: list[_Split] = []
        for name in self._telling(chosen, names):
            ways += self._allowed(self._by(name, self._codes[name][chosen], chosen, lie), lie)
        return min(ways, key=lambda way: way.cost, default=None)

    def _allowed(self, way: _Split, lie: Lie) -> list[_Split]:
        """Leave out what splits a volume to pieces: a time stamp for each slice tells nothing."""
        most = max(3 * lie.most, lie.slices // 3)
        return [way] if 2 <= len(way.parts) <= most and way.cost < lie.cost else []

    def _by(self, sign: str, codes: np.ndarray, chosen: _Indices, lie: Lie) -> _Split:
        by_code = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[by_code], prepend=-1))[1:]
        parts = np.split(chosen[by_code], starts)
        if len(parts) > lie.slices // 2 and lie.places > len(parts):
            return _Split(sign, parts, lie.cost + 1)  # to pieces
        cost = cost_of([self._positions[part] for part in parts], places=lie.places)
        return _Split(sign, parts, cost)

    def _telling(self, chosen: _Indices, names: Iterable[str]) -> list[str]:
        """Name those of some signs that differ among some slices."""
        return [
            name for name in names if name in self._codes and np.ptp(self._codes[name][chosen]) > 0
        ]

    def _dimensions(self) -> list[str]:
        return [name for name in self._codes if name.startswith(DIMENSIONS)]

    def _places(self, chosen: _Indices) -> list[list[Slice]]:
        """Group slices by position, each in the order of their numbers."""
        by_place = chosen[np.argsort(self._positions[chosen], kind="stable")]
        starts = starts_of_places(self._positions[by_place])
        return [
            sorted((self._slices[index] for index in place), key=_by_number)
            for place in np.split(by_place, starts[1:])
        ]

    def _settled(self, lie: Lie, part: Part, chosen: _Indices) -> Iterator[Part]:
        """Give what cannot be split further; few repeats stand beside their volume."""
        if not lie.repeats:
            yield part
            return
        places = self._places(chosen)
        doubled = sum(len(place) > 1 for place in places)
        if lie.most > 2 or 2 * doubled >= len(places):
            yield replace(part, is_sound=False)
            return
        signs = part.signs | {PLACE}
        yield replace(part, slices=[place[0] for place in places], signs=signs)
        for place in places:
            for other in place[1:]:
                yield Part([other], signs)


def _by_number(one: Slice) -> tuple[object, ...]:
    return (*one.order, one.header.sop_instance_uid or "")


def _coded(values: Sequence[str]) -> np.ndarray:
    """Number values in order."""
    kinds = {value: rank for rank, value in enumerate(sorted(set(values), key=_as_numbers))}
    return np.array([kinds[value] for value in values])


def _as_numbers(value: str) -> tuple[tuple[float, str], ...]:
    """Order 2 before 10, and words after numbers."""
    pieces = []
    for piece in value.split("\\"):
        try:
            pieces.append((float(piece), ""))
        except ValueError:
            pieces.append((np.inf, piece))
    return tuple(pieces)


def _stations(slices: Sequence[Slice], positions: Float[np.ndarray, "slices"]) -> list[str]:
    """Number the fields of view that lie beside each other."""
    origins = np.array([one.plane.position_lps_mm for one in slices])
    normal = np.cross(*slices[0].plane.axes)
    sideways = origins - np.outer(positions, normal)
    known: list[np.ndarray] = []
    stations = []
    for place in sideways:
        near = [
            number for number, other in enumerate(known)
            if np.abs(place - other).max() < STATION_MM
        ]  # fmt: skip
        if not near:
            if len(known) > MOST_STATIONS:  # a tilted stack drifts, which is no station
                return [""] * len(slices)
            known.append(place)
        stations.append(str(near[0] if near else len(known) - 1))
    return stations


MOST_STATIONS = 16
"""Fields of view beside each other, at most."""
