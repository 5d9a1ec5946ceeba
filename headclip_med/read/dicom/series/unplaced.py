"""Slices that state no place: one volume in the order of their numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.read.dicom.series.directions import MOST_LONE
from headclip_med.read.dicom.series.repeats import SECTIONAL
from headclip_med.read.dicom.stack import Slice, Stack, planar_stack, stack_of_unplaced


def unplaced_stacks(headers: Sequence[ImageHeader]) -> list[Stack]:
    """Make stacks of the images of a series of which some frame has no plane.

    More than three slices (CT, MR, PET) of one size, each of which has a number of its own, are a
    volume. Radiographs, captures, objects of several frames, localizers, a few slices and those
    that nothing puts in order stay alone.
    """
    alike: dict[object, list[ImageHeader]] = defaultdict(list)
    for header in headers:
        alike[_kind(header)].append(header)
    stacks: list[Stack] = []
    for kind, group in alike.items():
        is_ordered = len({header.instance_number for header in group}) == len(group)
        if kind is not None and len(group) > MOST_LONE and is_ordered:
            stacks.append(stack_of_unplaced([Slice(one, one.frames[0]) for one in group]))
        else:
            stacks += map(planar_stack, group)
    return stacks


def _kind(header: ImageHeader) -> tuple[object, ...] | None:
    """Tell what slices of one volume have in common; None for what is no slice."""
    is_slice = header.modality in SECTIONAL and not (header.is_capture or header.is_localizer)
    if not is_slice or len(header.frames) > 1:
        return None
    return (
        *(header.patient_key, header.modality, header.sop_class_uid, header.series_number),
        *(header.rows, header.columns, header.is_colour),
    )
