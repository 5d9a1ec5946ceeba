"""A bag of image headers made into ordered stacks of parallel slices, or a reason why not.

Nothing is taken from file names or instance numbers: order is position along the slice normal.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from headclip_med.errors import UnreadableInput, UnusableGeometry
from headclip_med.read.dicom.header import ImageHeader
from headclip_med.read.dicom.planes import SPLIT_KEYWORDS, Plane
from headclip_med.read.dicom.stack import (
    SAME_POSITION_MM,
    Slice,
    Stack,
    planar_stack,
    positions_mm,
    stack_by_position,
)
from headclip_med.read.inputs import Failure
from headclip_med.reading import Reading

SAME_DIRECTION = 1e-3
"""Direction cosines of one stack may differ by this: 0.25 mm at the rim of a head CT."""

SAME_SPACING = 1e-3
"""Pixel spacings of one stack may differ by this fraction."""

MOST_KEYWORDS = 3
"""Frames at one position are told apart by so many elements together, at most."""


def split_series(headers: Sequence[ImageHeader]) -> tuple[list[Stack], list[Failure]]:
    """Split the headers of one series into stacks.

    Split by frame of reference, matrix, colour, localizer, orientation and pixel spacing; then,
    where several frames share a position, by what tells them apart. Images without a plane stay
    alone.

    Args:
        headers: All of one series, in any order; their paths play no part in the outcome.

    Returns:
        The stacks, most slices first, and what could not be used.
    """
    usable, unusable, reading = _set_aside(headers)
    planar: list[Stack] = []
    groups: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for header in usable:
        if any(frame.plane is None for frame in header.frames):
            planar.append(planar_stack(header))
            continue
        for frame in header.frames:
            key = (header.is_localizer, header.frame_of_reference_uid, header.rows)
            groups[(*key, header.columns, header.is_colour)].append(Slice(header, frame))
    stacks: list[Stack] = []
    for group in groups.values():
        for parallel in _split_by_plane(group):
            try:
                stacks += _stacks_of(parallel)
            except UnusableGeometry as error:
                paths = dict.fromkeys(one.header.path for one in parallel)
                unusable += [Failure.of(path, error) for path in paths]
    stacks.sort(key=lambda stack: -len(stack.slices))
    stacks.sort(key=lambda stack: stack.first.is_localizer)
    numbered = enumerate([*stacks, *planar], start=1)
    return [
        Stack(stack.slices, stack.grid, part, stack.reading.joined(reading))
        for part, stack in numbered
    ], unusable


def _set_aside(headers: Sequence[ImageHeader]) -> tuple[list[ImageHeader], list[Failure], Reading]:
    """Order the headers by what is in them, drop repeats, and set aside what has no pixels."""
    unusable = [Failure.of(header.path, header.problem) for header in headers if header.problem]
    dropped: list[Failure] = []
    kept: list[ImageHeader] = []
    repeats = differing = 0
    by_uid: dict[object, list[ImageHeader]] = defaultdict(list)
    for header in headers:
        if not header.problem:
            by_uid[header.sop_instance_uid or header.path].append(header)
    for same in by_uid.values():
        if len({(header.frames, header.rows, header.columns) for header in same}) > 1:
            unusable += [Failure.of(header.path, _conflict()) for header in same]
            continue
        if len(same) == 1:
            kept += same
            continue
        digests = [_digest(header) for header in same]
        best = same[digests.index(min(digests))]
        kept.append(best)
        dropped += [
            Failure.of(header.path, _repeat(), repeats=best.path)
            for header in same
            if header is not best
        ]
        repeats += len(same) - 1
        differing += sum(content != min(digests)[0] for content, _ in digests)
    kept.sort(key=lambda header: (header.instance_number, header.sop_instance_uid or ""))
    reading = Reading(
        unusable_files=len(unusable), repeated_files=repeats, differing_files=differing
    )
    return kept, unusable + dropped, reading


def _repeat() -> UnreadableInput:
    return UnreadableInput(
        "The file repeats an object of its series, of which another file is read.",
        "Nothing needs to be done.",
        code="repeat",
    )


def _conflict() -> UnreadableInput:
    return UnreadableInput(
        "Several files bear the same SOP instance UID but show different places, so none can be "
        "trusted.",
        "Export the series again without changing its UIDs.",
        code="conflicting-uid",
    )


def _digest(header: ImageHeader) -> tuple[str, str]:
    try:
        with header.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), str(header.path)
    except OSError:  # gone since its header was read; another copy may still be there
        return "unreadable", str(header.path)


def _split_by_plane(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Group slices whose orientation and spacing agree within tolerance."""
    groups: list[list[Slice]] = []
    for one in slices:
        for group in groups:
            if _is_parallel(group[0].plane, one.plane):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _is_parallel(a: Plane, b: Plane) -> bool:
    return all(
        abs(x - y) <= SAME_DIRECTION for x, y in zip(a.orientation, b.orientation, strict=True)
    ) and all(
        abs(x - y) <= SAME_SPACING * x for x, y in zip(a.spacing_mm, b.spacing_mm, strict=True)
    )


def _stacks_of(slices: list[Slice]) -> list[Stack]:
    parts = _split_by_values(slices, SPLIT_KEYWORDS)
    if parts is None:
        raise UnusableGeometry(
            f"{_most_at_one_place(slices)} of {len(slices)} images of the series lie at the same "
            "position and nothing in their headers tells them apart, so their order is unknown.",
            "Export the acquisitions as separate series.",
            code="duplicate-positions",
        )
    return [stack_by_position(part, stacks_at_same_place=len(parts)) for part in parts]


def _most_at_one_place(slices: Sequence[Slice]) -> int:
    ordered = np.sort(positions_mm(slices))
    starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf) > SAME_POSITION_MM)
    return int(np.diff(np.append(starts, len(ordered))).max())


def _split_by_values(
    slices: list[Slice], keywords: tuple[str, ...], depth: int = 0
) -> list[list[Slice]] | None:
    """Split until no two frames of a part share a position; None where nothing does it.

    One keyword that does it alone is preferred to several. One with more values than images could
    need (a time stamp per slice) tells nothing.
    """
    most = _most_at_one_place(slices)
    if most == 1:
        return [slices]
    splits = [
        (number, parts)
        for number, keyword in enumerate(keywords, start=1)
        if 2 <= len(parts := _parts_by(keyword, slices)) <= 3 * most
    ]
    for _, parts in splits:
        if all(_most_at_one_place(part) == 1 for part in parts):
            return parts
    if depth == MOST_KEYWORDS - 1:
        return None
    for number, parts in splits:
        below = [_split_by_values(part, keywords[number:], depth + 1) for part in parts]
        found = [part for within in below if within is not None for part in within]
        if all(within is not None for within in below):
            return found
    return None


def _parts_by(keyword: str, slices: list[Slice]) -> list[list[Slice]]:
    index = SPLIT_KEYWORDS.index(keyword)
    by_value: dict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        by_value[one.frame.splits[index]].append(one)
    return [by_value[value] for value in sorted(by_value, key=_by_number)]


def _by_number(value: str) -> tuple[tuple[float, str], ...]:
    """Order 2 before 10, and words after numbers."""
    pieces = []
    for piece in value.split("\\"):
        try:
            pieces.append((float(piece), ""))
        except ValueError:
            pieces.append((np.inf, piece))
    return tuple(pieces)
