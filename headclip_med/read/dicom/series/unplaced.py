"""Slices that state no place: one volume in the order of their numbers, never many of one slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from headclip_med.errors import UnusableGeometry
from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.read.dicom.series.directions import MOST_LONE
from headclip_med.read.dicom.series.repeats import SECTIONAL
from headclip_med.read.dicom.stack import Slice, Stack, planar_stack, stack_of_unplaced
from headclip_med.read.inputs import Failure


def unplaced_stacks(headers: Sequence[ImageHeader]) -> tuple[list[Stack], list[Failure]]:
    """Make stacks of the images of a series of which some frame has no plane.

    More than three slices (CT, MR, PET) of one size are a volume. Radiographs, captures, objects of
    several frames, localizers and a few slices stay alone.

    Returns:
        The stacks, and the slices whose numbers give them no order.
    """
    alike: dict[object, list[ImageHeader]] = defaultdict(list)
    for header in headers:
        alike[_kind(header)].append(header)
    stacks: list[Stack] = []
    refused: list[Failure] = []
    for kind, group in alike.items():
        numbers = {header.instance_number for header in group}
        if kind is None or len(group) <= MOST_LONE:
            stacks += map(planar_stack, group)
        elif len(numbers) == len(group):
            stacks.append(stack_of_unplaced([Slice(one, one.frames[0]) for one in group]))
        else:
            refused += [Failure.of(header.path, _no_order(len(group))) for header in group]
    return stacks, refused


def _kind(header: ImageHeader) -> tuple[object, ...] | None:
    """Tell what slices of one volume have in common; None for what is no slice."""
    is_slice = header.modality in SECTIONAL and not (header.is_capture or header.is_localizer)
    if not is_slice or len(header.frames) > 1:
        return None
    return (
        *(header.patient_key, header.modality, header.sop_class_uid, header.series_number),
        *(header.rows, header.columns, header.is_colour),
    )


def _no_order(images: int) -> UnusableGeometry:
    return UnusableGeometry(
        f"{images} images of the series state no place in the patient, and their numbers repeat or "
        "are missing, so their order is unknown.",
        "Export the series again with its positions; a file given alone is screened as an image "
        "without a place.",
        code="unplaced-slices",
    )
