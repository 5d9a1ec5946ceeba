"""Images that never make one volume: other patients, kinds, series, frames of reference, planes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from headclip_med.read.dicom.series.directions import (
    MOST_LONE,
    are_nearly_parallel,
    are_parallel,
    clusters,
    jitters,
    scattered,
    turn,
)
from headclip_med.read.dicom.series.evenness import cost_of, lie_of
from headclip_med.read.dicom.series.parts import Part, PartFinder
from headclip_med.read.dicom.series.repeats import PixelDigests
from headclip_med.read.dicom.stack import Slice, positions_mm

FEWEST_FILES = 3
"""Of fewer values it cannot be said that every file or position has its own."""

FEW = 0.25
"""Of the slices: so many faults a volume may have and still be one."""

IDENTITIES: Mapping[str, Callable[[Slice], str]] = {
    "PatientID": lambda one: one.header.patient_key,
    "FrameOfReferenceUID": lambda one: one.header.frame_of_reference_uid or "",
    "SeriesNumber": lambda one: one.header.series_number,
}
"""Always tell images apart, unless an exporter invented one for every file."""

PATIENT = ("PatientID",)
"""Each with a patient of its own, images stay apart where they make no volume."""

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
    what would else be pieces. Those that turn around an axis are the views of one part, and those
    that lie scattered are parts that are not sound.
    """
    found: list[list[Part]] = []
    of_one_direction: list[list[list[Slice]]] = []
    fine = clusters(slices, are_parallel)
    for near in clusters([group[0] for group in fine], are_nearly_parallel):
        firsts = {id(one) for one in near}
        pieces = [group for group in fine if id(group[0]) in firsts]
        groups = [[group] for group in pieces]
        apart = [PartFinder(group, digests).parts() for group in pieces]
        if len(pieces) > 1:
            merged = [one for group in pieces for one in group]
            together = PartFinder(merged, digests).parts()
            if _is_better(together, [part for parts in apart for part in parts]):
                apart, groups = [together], [pieces]
        found += apart
        of_one_direction += groups
    if slices[0].header.is_localizer:
        return found
    astray = scattered(of_one_direction)
    views = [one for index in astray for piece in of_one_direction[index] for one in piece]
    if len(astray) > MOST_LONE and turn(views):
        kept = [parts for index, parts in enumerate(found) if index not in astray]
        return [*kept, [Part(views, turns=True)]]
    for index in astray:
        found[index] = [
            replace(part, is_sound=False, directions=len(fine)) for part in found[index]
        ]
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
    is_invented = _is_invented(groups.values())
    is_lone = name not in PATIENT and len(groups) > MOST_LONE
    if is_invented and (is_lone or _is_volume(slices, digests)):
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
    if len(clusters(slices, are_nearly_parallel)) > 1:
        return False
    parts = PartFinder(slices, digests).parts()
    return all(part.is_sound for part in parts) and _faults(parts) <= FEW * len(slices)


def _is_better(together: Sequence[Part], apart: Sequence[Part]) -> bool:
    if not all(part.is_sound for part in together):
        return False
    count = sum(len(part.slices) for part in together)
    jitter = all(jitters(part.slices) for part in together if len(part.slices) > 1)
    return jitter and _faults(together) <= FEW * count and _faults(together) < _faults(apart)


def _faults(parts: Sequence[Part]) -> int:
    return cost_of([positions_mm(part.slices) for part in parts], places=len(parts) + 1)
