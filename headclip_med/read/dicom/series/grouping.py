"""Images that never make one volume: other patients, kinds, series, frames of reference, planes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from headclip_med.read.dicom.planes import Plane
from headclip_med.read.dicom.series.evenness import cost_of, lie_of
from headclip_med.read.dicom.series.parts import Part, PartFinder
from headclip_med.read.dicom.series.repeats import PixelDigests
from headclip_med.read.dicom.stack import SAME_DIRECTION, Slice, positions_mm

SAME_SPACING = 1e-3
"""Pixel spacings of one stack may differ by this fraction."""

JITTER_DEGREES = 3.0
"""Directions that differ by less may be one that was written anew, and rounded, for each file."""

STEADY_TURN = 0.9
"""Directions that end this far, of the way they went in all, turn steadily: that is no noise."""

FEWEST_FILES = 3
"""Of fewer values it cannot be said that every file or position has its own."""

FEW = 0.25
"""Of the slices: so many faults a volume may have and still be one."""

_Planes = Float[np.ndarray, "planes 8"]
_OnePlane = Float[np.ndarray, "8"]
_IsSame = Callable[[_Planes, _OnePlane], Bool[np.ndarray, "planes"]]

IDENTITIES: Mapping[str, Callable[[Slice], str]] = {
    "PatientID": lambda one: one.header.patient_key,
    "FrameOfReferenceUID": lambda one: one.header.frame_of_reference_uid or "",
    "SeriesNumber": lambda one: one.header.series_number,
}
"""Always tell images apart, unless an exporter invented one for every file."""

KINDS: Mapping[str, Callable[[Slice], object]] = {
    "Modality": lambda one: one.header.modality,
    "SOPClassUID": lambda one: one.header.sop_class_uid,
}
"""Always tell images apart."""


def groups_of(
    slices: Sequence[Slice], digests: PixelDigests
) -> Iterator[tuple[list[Slice], tuple[str, ...]]]:
    """Group slices by what always tells them apart, planes aside.

    Yields:
        Slices that may share a volume, and the names of what every file has its own of.
    """
    groups: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for one in slices:
        kind = tuple(of(one) for of in KINDS.values())
        groups[(one.header.is_localizer, one.size, one.header.is_colour, kind)].append(one)
    for group in groups.values():
        yield from _by_identity(group, list(IDENTITIES), digests, ())


def differing(slices: Sequence[Slice]) -> tuple[str, ...]:
    """Name what tells some slices apart beside their planes."""
    signs: dict[str, Callable[[Slice], object]] = {**KINDS, **IDENTITIES}
    return tuple(name for name, of in signs.items() if len({of(one) for one in slices}) > 1)


def parallel_groups(slices: Sequence[Slice], digests: PixelDigests) -> list[list[Part]]:
    """Split slices of one identity by their planes, and each group into volumes.

    Planes whose directions differ by no more than rounding are one where that makes a volume of
    what would else be pieces.
    """
    found: list[list[Part]] = []
    fine = _clusters(slices, _are_parallel)
    for near in _clusters([group[0] for group in fine], _are_nearly_parallel):
        firsts = {id(one) for one in near}
        pieces = [group for group in fine if id(group[0]) in firsts]
        apart = [PartFinder(group, digests).parts() for group in pieces]
        if len(pieces) > 1:
            merged = [one for group in pieces for one in group]
            together = PartFinder(merged, digests).parts()
            if _is_better(together, [part for parts in apart for part in parts]):
                apart = [together]
        found += apart
    return found


def _by_identity(
    slices: list[Slice], names: list[str], digests: PixelDigests, passed: tuple[str, ...]
) -> Iterator[tuple[list[Slice], tuple[str, ...]]]:
    if not names:
        yield slices, passed
        return
    name, rest = names[0], names[1:]
    groups: dict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        groups[IDENTITIES[name](one)].append(one)
    # Where only some say it, and all that do say the same, it is that of all.
    if len([value for value in groups if value]) < 2:
        yield from _by_identity(slices, rest, digests, passed)
        return
    if _is_invented(groups.values()) and _is_volume(slices, digests):
        yield from _by_identity(slices, rest, digests, (*passed, name))
        return
    for group in groups.values():
        yield from _by_identity(group, rest, digests, passed)


def _is_invented(groups: Collection[Sequence[Slice]]) -> bool:
    """Whether every position has a value of its own, which then tells nothing."""
    return len(groups) >= FEWEST_FILES and all(
        lie_of(positions_mm(group)).places == 1 for group in groups
    )


def _is_volume(slices: Sequence[Slice], digests: PixelDigests) -> bool:
    """Whether slices make whole volumes when what tells them apart is passed over."""
    if len(_clusters(slices, _are_nearly_parallel)) > 1:
        return False
    parts = PartFinder(slices, digests).parts()
    return all(part.is_sound for part in parts) and _faults(parts) <= FEW * len(slices)


def _is_better(together: Sequence[Part], apart: Sequence[Part]) -> bool:
    if not all(part.is_sound for part in together):
        return False
    count = sum(len(part.slices) for part in together)
    jitter = all(_jitters(part.slices) for part in together if len(part.slices) > 1)
    return jitter and _faults(together) <= FEW * count and _faults(together) < _faults(apart)


def _faults(parts: Sequence[Part]) -> int:
    return cost_of([positions_mm(part.slices) for part in parts], places=len(parts) + 1)


def _jitters(slices: Sequence[Slice]) -> bool:
    """Whether slices follow each other in one direction but for noise, rather than turn."""
    positions = positions_mm(slices)
    ordered = [slices[index].plane for index in np.argsort(positions, kind="stable")]
    rows, columns = slices[0].size
    centres = [_from_corner(plane, ((rows - 1) / 2, (columns - 1) / 2)) for plane in ordered]
    steps_mm = np.diff(np.array(centres) @ np.cross(*ordered[0].axes))
    turns = np.diff([plane.orientation for plane in ordered], axis=0)
    turned = np.linalg.norm(turns.sum(axis=0)) / max(np.linalg.norm(turns, axis=1).sum(), 1e-12)
    return bool(steps_mm.min() > lie_of(positions).usual_mm / 2 and turned < STEADY_TURN)


def _from_corner(plane: Plane, place: tuple[float, float]) -> Float[np.ndarray, "3"]:
    across, down = plane.axes
    down_mm, across_mm = place[0] * plane.spacing_mm[0], place[1] * plane.spacing_mm[1]
    return np.asarray(np.array(plane.position_lps_mm) + down * down_mm + across * across_mm)


def _clusters(slices: Sequence[Slice], is_same: _IsSame) -> list[list[Slice]]:
    """Group slices whose planes are the same as that of the first of their group."""
    groups: list[list[Slice]] = []
    of_kind: dict[tuple[float, ...], list[Slice]] = {}
    firsts = np.empty((len(slices), 8))
    for one in slices:
        kind = (*one.plane.orientation, *one.plane.spacing_mm)
        if kind not in of_kind:
            near = np.flatnonzero(is_same(firsts[: len(groups)], np.array(kind)))
            if not len(near):
                firsts[len(groups)] = kind
                groups.append([])
            of_kind[kind] = groups[near[0] if len(near) else -1]
        of_kind[kind].append(one)
    return groups


def _are_parallel(planes: _Planes, plane: _OnePlane) -> Bool[np.ndarray, "planes"]:
    near = np.abs(planes[:, :6] - plane[:6]).max(axis=1) <= SAME_DIRECTION
    return np.asarray(near & _are_spaced_alike(planes, plane))


def _are_nearly_parallel(planes: _Planes, plane: _OnePlane) -> Bool[np.ndarray, "planes"]:
    products = planes[:, :6] * plane[:6]
    cosines = np.minimum(products[:, :3].sum(axis=1), products[:, 3:].sum(axis=1))
    near = cosines >= np.cos(np.radians(JITTER_DEGREES))
    return np.asarray(near & _are_spaced_alike(planes, plane))


def _are_spaced_alike(planes: _Planes, plane: _OnePlane) -> Bool[np.ndarray, "planes"]:
    off = np.abs(planes[:, 6:] - plane[6:])
    return np.asarray((off <= SAME_SPACING * planes[:, 6:]).all(axis=1))
