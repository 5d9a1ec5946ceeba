"""DICOM files made into volumes: headers scanned first, pixels read when a volume is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from pydicom.config import disable_value_validation

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.mapped import allocate, fill_missing
from headclip_med.read.dicom.header import ImageHeader, read_header
from headclip_med.read.dicom.pixels.values import PADDING, Decoded, decode_frames
from headclip_med.read.dicom.series import split_series
from headclip_med.read.dicom.stack import Slice, Stack
from headclip_med.read.guards import ReadLimits, check_volume_size, silence
from headclip_med.read.inputs import Failure, Input
from headclip_med.read.isolation import isolated_each
from headclip_med.reading import ORDINARY, Reading
from headclip_med.volume import SliceSource, Volume


def find_dicom(
    paths: Sequence[Path], limits: ReadLimits, *, named: set[Path]
) -> tuple[list[Input], list[Failure]]:
    """Group DICOM files into the volumes they form.

    Args:
        paths: DICOM files of any number of studies, in any order.
        limits: What a file may claim.
        named: Files asked for by name; a localizer among them is never left out.

    Returns:
        The volumes by study, series and part, and what could not be used.
    """
    failures: list[Failure] = []
    series: dict[tuple[str, str], list[ImageHeader]] = defaultdict(list)
    read = partial(_header, limits=limits)
    for path, header in zip(paths, isolated_each(read, paths, limits), strict=True):
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


def _header(path: Path, limits: ReadLimits) -> ImageHeader:
    with silence(), disable_value_validation():
        return read_header(path, limits)


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
        reader=partial(read_stack, stack, limits),
        modality=_modality(header),
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        part=stack.part,
    )


def read_stack(stack: Stack, limits: ReadLimits) -> Volume:
    """Read the pixels of a stack.

    Frames are decoded one after the other, so that a long series is never in memory as a whole.

    Raises:
        UnreadableInput: An object's pixels are missing, damaged, or claim more than the limits.
    """
    header = stack.first
    voxels, reading = _voxels(stack, limits)
    return Volume(
        voxels=voxels,
        grid=stack.grid,
        sources=tuple(
            SliceSource(one.header.path, one.header.sop_instance_uid, one.frame.number)
            for one in stack.slices
        ),
        origin="dicom",
        modality=_modality(header),
        body_part=header.body_part,
        # It was meant for values that were not mirrored.
        window=None if reading.is_inverted or header.is_colour else header.window,
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        part=stack.part,
        reading=stack.reading.joined(reading),
        patient_key=header.patient_key,
    )


def _voxels(
    stack: Stack, limits: ReadLimits
) -> tuple[Float32[np.ndarray, "slices rows columns *colour"], Reading]:
    """Decode the slices of one object after the other, and fill what was not scanned."""
    header = stack.first
    shape = (*stack.grid.shape, 3) if header.is_colour else stack.grid.shape
    check_volume_size(shape, limits)
    voxels, reading = allocate(shape), ORDINARY
    slices_of: dict[Path, list[int]] = defaultdict(list)
    for index, one in enumerate(stack.slices):
        slices_of[one.header.path].append(index)
    has_padding = False
    with silence(), disable_value_validation():
        for indices in slices_of.values():
            slices = [stack.slices[index] for index in indices]
            out = [voxels[index] for index in indices]
            decoded = _decode(slices, limits, out)
            has_padding |= decoded.has_padding
            reading = reading.joined(decoded.reading)
    if has_padding:
        fill_missing(voxels, lambda block: block == PADDING)
    return voxels, reading


def _decode(
    slices: Sequence[Slice],
    limits: ReadLimits,
    out: Sequence[Float32[np.ndarray, "rows columns *colour"]],
) -> Decoded:
    """Decode slices of one object; a page of tiles once, whatever it holds."""
    header = slices[0].header
    if all(one.frame.tile is None for one in slices):
        return decode_frames(header, [one.frame.number for one in slices], limits, out=out)
    page = np.empty((header.rows, header.columns, *out[0].shape[2:]), dtype=np.float32)
    decoded = decode_frames(header, [slices[0].frame.number], limits, out=[page])
    for one, values in zip(slices, out, strict=True):
        if (tile := one.frame.tile) is not None:
            values[...] = page[
                tile.first_row : tile.first_row + tile.rows,
                tile.first_column : tile.first_column + tile.columns,
            ]
    return decoded


def _modality(header: ImageHeader) -> str | None:
    """The modality whose units the values have: a screenshot of a CT has no Hounsfield units."""
    return None if header.is_capture else header.modality


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
