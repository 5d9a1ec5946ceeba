"""Frames as a DICOM object stores them, decoded one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from headclip_med.read.dicom.codestreams import check_codestream
from headclip_med.read.dicom.elements import whole


def stored_frames(
    dataset: Dataset, path: Path, indices: list[int]
) -> Iterator[Shaped[np.ndarray, "rows columns *samples"]]:
    """Decode frames one after the other.

    Whatever pydicom and the codecs raise on damaged pixels comes out as it is; see ``translate``.

    Args:
        dataset: The object, with its pixel data or a note of where it lies in the file.
        path: That file.
        indices: Frames from 0, in the order they are wanted.

    Yields:
        Stored values; colours as red, green, blue or as palette indices.

    Raises:
        UnreadableInput: A compressed frame claims another size than the header.
    """
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    if syntax.is_encapsulated:
        _check_frames(dataset, syntax)
    elif (kind := _plain_kind(dataset, syntax)) is not None:
        yield from _plain_frames(dataset, path, indices, kind)
        return
    yield from iter_pixels(dataset, indices=indices)


def _plain_kind(dataset: Dataset, syntax: UID) -> np.dtype[np.generic] | None:
    """Tell how plain 8- or 16-bit grey pixels are stored; None where pydicom has work to do."""
    allocated = whole(dataset, "BitsAllocated", 0)
    if allocated not in (8, 16) or not syntax.is_little_endian or "PixelData" not in dataset:
        return None
    if whole(dataset, "SamplesPerPixel", 1) != 1:
        return None
    signed = "i" if whole(dataset, "PixelRepresentation", 0) else "u"
    return np.dtype(f"<{signed}{allocated // 8}")


def _plain_frames(
    dataset: Dataset, path: Path, indices: list[int], kind: np.dtype[np.generic]
) -> Iterator[Shaped[np.ndarray, "rows columns"]]:
    """View plain frames, or read them one by one where the pixel data was left in the file."""
    rows, columns = whole(dataset, "Rows", 0), whole(dataset, "Columns", 0)
    count = whole(dataset, "NumberOfFrames", 1)
    element = dataset.get_item("PixelData", keep_deferred=True)
    if not isinstance(element, RawDataElement) or element.value is not None:
        pixels = np.frombuffer(dataset.PixelData, kind, count * rows * columns)
        yield from (pixels.reshape(count, rows, columns)[index] for index in indices)
        return
    frame_bytes = rows * columns * kind.itemsize
    if element.length < count * frame_bytes:
        raise ValueError("the pixel data is shorter than the header says")
    for index in indices:
        start = element.value_tell + index * frame_bytes
        yield np.fromfile(path, kind, rows * columns, offset=start).reshape(rows, columns)


def _check_frames(dataset: Dataset, syntax: UID) -> None:
    count = whole(dataset, "NumberOfFrames", 1)
    samples = whole(dataset, "SamplesPerPixel", 1)
    for stream in generate_frames(dataset.PixelData, number_of_frames=count):
        check_codestream(
            stream,
            syntax,
            rows=whole(dataset, "Rows", 0),
            columns=whole(dataset, "Columns", 0),
            bytes_per_pixel=samples * (whole(dataset, "BitsAllocated", 8) // 8),
        )
