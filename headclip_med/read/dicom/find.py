"""DICOM files sorted into the volumes they form, by their headers.

The process that reads has pydicom; this side of it does without.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.read.dicom.series import split_series
from headclip_med.read.dicom.stack import Stack
from headclip_med.read.guards import ReadLimits
from headclip_med.read.inputs import Failure, Input
from headclip_med.read.isolation import RemoteFunction, isolated_each
from headclip_med.volume import Volume

_header = RemoteFunction[ImageHeader]("headclip_med.read.dicom.header", "read_header")
_volume = RemoteFunction[Volume]("headclip_med.read.dicom.volume", "read_stack")


def find_dicom(
    paths: Sequence[Path],
    limits: ReadLimits,
    *,
    named: set[Path],
    seen: Callable[[int], None] = lambda count: None,
) -> tuple[list[Input], list[Failure]]:
    """Group DICOM files into the volumes they form.

    Args:
        paths: DICOM files of any number of studies, in any order.
        limits: What a file may claim.
        named: Files asked for by name; a localizer among them is never left out.
        seen: Is told now and then how many more were looked at.

    Returns:
        The volumes by study, series and part, and what could not be used.
    """
    failures: list[Failure] = []
    series: dict[tuple[str, str], list[ImageHeader]] = defaultdict(list)
    read = partial(_header, limits=limits)
    for path, header in zip(paths, isolated_each(read, paths, limits, seen=seen), strict=True):
        if isinstance(header, HeadClipError):
            failures.append(Failure.of(path, header))
        else:
            series[header.series_key].append(header)
    stacks: list[Stack] = []
    for key in sorted(series):
        found, unusable = split_series(series[key])
        few, refused = _refuse_many(found, limits)
        stacks += few
        failures += [*unusable, *refused]
    kept, left_out = _leave_out_localizers(stacks, named)
    return [_input(stack, limits) for stack in kept], failures + left_out


def _refuse_many(stacks: Sequence[Stack], limits: ReadLimits) -> tuple[list[Stack], list[Failure]]:
    """Drop the volumes of objects that give too many."""
    of_object: dict[Path, int] = defaultdict(int)
    paths = [{one.header.path for one in stack.slices} for stack in stacks]
    for within in paths:
        for path in within:
            of_object[path] += 1
    many = {path: count for path, count in of_object.items() if count > limits.volumes}
    kept = [stack for stack, within in zip(stacks, paths, strict=True) if not within & set(many)]
    return kept, [
        Failure.of(path, _many_refusal(count, limits)) for path, count in sorted(many.items())
    ]


def _leave_out_localizers(
    stacks: list[Stack], named: set[Path]
) -> tuple[list[Stack], list[Failure]]:
    """Drop localizers where there is anything better to screen."""
    if all(stack.first.is_localizer for stack in stacks):
        return stacks, []
    kept: list[Stack] = []
    failures: list[Failure] = []
    for stack in stacks:
        paths = {one.header.path for one in stack.slices}
        if stack.first.is_localizer and not paths & named:
            failures += [Failure.of(path, _localizer_refusal()) for path in sorted(paths)]
        else:
            kept.append(stack)
    return kept, failures


def _input(stack: Stack, limits: ReadLimits) -> Input:
    header = stack.first
    return Input(
        kind="dicom",
        slices=len(stack.slices),
        rows=stack.grid.rows,
        columns=stack.grid.columns,
        paths=tuple(dict.fromkeys(one.header.path for one in stack.slices)),
        reader=partial(_volume, stack, limits),
        modality=header.unit_modality,
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        part=stack.part,
    )


def _localizer_refusal() -> UnreadableInput:
    return UnreadableInput(
        "A localizer (scout) only planned the scan and is left out beside other images.",
        "Give the file itself to screen it.",
        code="localizer",
    )


def _many_refusal(count: int, limits: ReadLimits) -> UnreadableInput:
    return UnreadableInput(
        f"The object would give {count} volumes, more than the {limits.volumes} that are read.",
        "Export them as separate series, or raise ReadLimits.volumes.",
        code="too-many-volumes",
    )
