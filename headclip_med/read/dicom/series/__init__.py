"""A bag of image headers made into ordered stacks of parallel slices, or a reason why not.

Nothing is taken from file names: order is position along the slice normal, and volumes are told
apart by what the headers say and by what makes even volumes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from headclip_med.errors import UnusableGeometry
from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.read.dicom.series.evenness import lie_of
from headclip_med.read.dicom.series.grouping import differing, groups_of, parallel_groups
from headclip_med.read.dicom.series.parts import Part
from headclip_med.read.dicom.series.repeats import PixelDigests, repeat_of, set_aside
from headclip_med.read.dicom.series.unplaced import unplaced_stacks
from headclip_med.read.dicom.stack import (
    Slice,
    Stack,
    positions_mm,
    stack_by_position,
    stack_of_views,
)
from headclip_med.read.inputs import Failure
from headclip_med.reading import Reading

__all__ = ["split_series"]


def split_series(headers: Sequence[ImageHeader]) -> tuple[list[Stack], list[Failure]]:
    """Split the headers of one series into stacks.

    Split by patient, modality, SOP class, series number, frame of reference, matrix, colour,
    localizer, orientation and pixel spacing; then by whatever makes complete and even volumes.
    Slices without a plane are a volume by their numbers, other images without one stay alone.

    Args:
        headers: All of one series, in any order; their paths play no part in the outcome.

    Returns:
        The stacks, most slices first, and what could not be used, be it some frames of a file.
    """
    usable, unusable, reading = set_aside(headers)
    placed = [one for one in usable if all(frame.plane is not None for frame in one.frames)]
    slices = [Slice(one, frame) for one in placed for frame in one.frames]
    placeless = [one for one in usable if any(frame.plane is None for frame in one.frames)]
    planar = unplaced_stacks(placeless)
    stacks: list[Stack] = []
    unsound: list[tuple[Part, int]] = []
    copies: list[tuple[Slice, Slice]] = []
    digests, names = (
        PixelDigests(),
        differing([one for one in slices if not one.header.is_localizer]),
    )
    for group, disbelieved in groups_of(slices, digests):
        shared = tuple(name for name in names if name not in disbelieved)
        for parts in parallel_groups(group, digests):
            copies += (pair for part in parts for pair in part.copies)
            stacks += _stacks(parts, shared, disbelieved)
            unsound += ((part, len(group)) for part in parts if not part.is_sound)
    stacks.sort(key=lambda stack: -len(stack.slices))
    stacks.sort(key=lambda stack: stack.first.is_localizer)
    read = {one.header.path for stack in stacks for one in stack.slices}
    unusable += _refusals(unsound)
    unusable += _copies(copies, read)
    astray = {one.header.path for part, _ in unsound if part.directions for one in part.slices}
    reading = replace(reading, unusable_files=reading.unusable_files + len(astray - read))
    numbered = enumerate([*stacks, *planar], start=1)
    return [
        Stack(stack.slices, stack.grid, part, stack.reading.joined(reading))
        for part, stack in numbered
    ], unusable


def _stacks(
    parts: Sequence[Part], shared: tuple[str, ...], disbelieved: tuple[str, ...]
) -> Iterator[Stack]:
    """Put the slices of each part in order, and say what it was told from."""
    together = [one for part in parts for one in part.slices]
    overlap = len(parts) > 1 and lie_of(positions_mm(together)).repeats > 0
    lost = sum(len(part.slices) for part in parts if not part.is_sound)
    for part in parts:
        if not part.is_sound:
            continue
        stack = (stack_of_views if part.turns else stack_by_position)(part.slices)
        more = Reading(
            stacks_at_same_place=len(parts) if overlap else 0,
            told_apart_by=(*shared, *sorted(part.signs)),
            mixes=part.mixes,
            disbelieves=disbelieved,
            copied_slices=len(part.copies),
            unusable_frames=lost,
        )
        yield replace(stack, reading=stack.reading.joined(more))


def _refusals(unsound: Sequence[tuple[Part, int]]) -> Iterator[Failure]:
    """Name each file of which something is not read because its place is not its own."""
    for part, together in unsound:
        paths = dict.fromkeys(one.header.path for one in part.slices)
        if part.directions:
            yield from (Failure.of(path, _scattered(part.directions)) for path in paths)
            continue
        lie = lie_of(positions_mm(part.slices))
        error = UnusableGeometry(
            f"{lie.most} of {together} images of the series lie at the same position and nothing "
            "in their headers tells them apart, so their order is unknown.",
            "Export the acquisitions as separate series.",
            code="duplicate-positions",
        )
        yield from (Failure.of(path, error) for path in paths)


def _scattered(directions: int) -> UnusableGeometry:
    return UnusableGeometry(
        f"The images of the series lie in {directions} directions or pixel sizes, and this one has "
        "no other beside it: their directions are damaged, or follow no rule, and make no volume.",
        "Give the file alone to screen it as one image, or export the series again.",
        code="scattered-planes",
    )


def _copies(copies: Sequence[tuple[Slice, Slice]], read: set[Path]) -> Iterator[Failure]:
    kept_of = {copy.header.path: kept.header.path for copy, kept in copies}
    for path, kept in kept_of.items():
        if path not in read:
            yield repeat_of(kept, path)
