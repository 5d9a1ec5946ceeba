"""The pixels of a stack of DICOM frames, read when its volume is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from pydicom.config import disable_value_validation

from headclip_med.errors import UnreadableInput
from headclip_med.mapped import allocate, fill_missing
from headclip_med.read.dicom.pixels.tile_pattern import find_tile_pattern
from headclip_med.read.dicom.pixels.values import PADDING, Decoded, decode_frames
from headclip_med.read.dicom.stack import Slice, Stack
from headclip_med.read.guards import ReadLimits, check_volume_size, silence
from headclip_med.reading import ORDINARY, Reading
from headclip_med.volume import SliceSource, Volume


def read_stack(stack: Stack, limits: ReadLimits) -> Volume:
    """Read the pixels of a stack.

    Frames are decoded one after the other, so that a long series is never in memory as a whole.

    Raises:
        UnreadableInput: An object's pixels are missing, damaged, or claim more than the limits; or
            what is one slice by its header looks like a page of several.
    """
    header = stack.first
    voxels, reading = _voxels(stack, limits)
    if header.may_be_page and len(voxels) == 1:
        _check_page(voxels[0])
    return Volume(
        voxels=voxels,
        grid=stack.grid,
        sources=tuple(
            SliceSource(one.header.path, one.header.sop_instance_uid, one.frame.number)
            for one in stack.slices
        ),
        origin="dicom",
        modality=header.unit_modality,
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


def _check_page(image: Float32[np.ndarray, "rows columns"]) -> None:
    found = find_tile_pattern(image)
    if found is not None:
        raise UnreadableInput(
            f"The image looks like a page of {found.rows} x {found.columns} tiles, "
            f"{found.pictures} slices of a volume side by side, and its header says neither that "
            "nor how wide one slice is.",
            "Export it from the scanner as single slices or an enhanced object, or keep the "
            "elements that say how it was acquired (AcquisitionMatrix).",
            code="looks-like-tiles",
        )
