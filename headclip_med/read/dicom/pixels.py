"""Stored pixels made into physical values: Hounsfield units for CT, colours as red, green, blue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Shaped
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.uid import UID

from headclip_med.errors import UnreadableInput
from headclip_med.mapped import release
from headclip_med.read.dicom.elements import items, numbers, read_object, text, whole
from headclip_med.read.dicom.frames import stored_frames
from headclip_med.read.dicom.header import ImageHeader
from headclip_med.read.dicom.planes import find_group
from headclip_med.read.guards import ReadLimits, translate
from headclip_med.reading import ORDINARY, Reading

PADDING = np.float32(-np.inf)
"""Marks pixels outside the scanned field until the whole volume is known."""

LOWEST_TISSUE_HU, HIGHEST_TISSUE_HU = -900.0, 3000.0
"""A padding value between these would blank real tissue, so it is not believed."""

LARGEST_SCALE = 1e9
"""A slope or intercept beyond this is damage, and could overflow float32."""

PIXEL_KEYWORDS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "SpecificCharacterSet"),
    *("SmallestImagePixelValue", "LargestImagePixelValue"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData"),
    *("SegmentedBluePaletteColorLookupTableData", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "PixelData", "FloatPixelData", "DoubleFloatPixelData"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
RESCALE_KEYWORDS = (
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
CANNOT_DECODE = (
    "The pixel data cannot be decoded; it is damaged or compressed in an unusual way.",
    "Export the image uncompressed from its source.",
)


@dataclass
class Decoded:
    """How some frames of one object were decoded.

    Attributes:
        has_padding: Whether ``PADDING`` marks pixels that were not scanned.
    """

    has_padding: bool = False
    reading: Reading = ORDINARY


def decode_frames(
    header: ImageHeader,
    frames: Sequence[int | None],
    limits: ReadLimits,
    out: Sequence[Float32[np.ndarray, "rows columns *colour"]],
) -> Decoded:
    """Read and decode some frames of one object, one after the other.

    Args:
        header: The object's header, as scanned before.
        frames: One-based frame numbers, in the order they are wanted; ``[None]`` for the only one.
        limits: What the file may claim.
        out: Takes the values of each; ``PADDING`` where the frame was not scanned.

    Raises:
        UnreadableInput: The pixels are missing, damaged, or do not agree with the header.
    """
    dataset, _ = read_object(header.path, limits, keywords=PIXEL_KEYWORDS, with_pixels=True)
    size = whole(dataset, "Rows", 0), whole(dataset, "Columns", 0)
    if size != (header.rows, header.columns):
        raise UnreadableInput(
            "The file changed while it was being read.",
            "Wait until the copy is complete.",
            code="file-changed",
        )
    indices = [(number or 1) - 1 for number in frames]
    decoded = Decoded()
    with translate("cannot-decode", *CANNOT_DECODE):
        for index, values, frame in zip(
            indices, out, stored_frames(dataset, header.path, indices), strict=True
        ):
            if header.is_colour:
                values[...] = _to_rgb(frame, dataset)
            else:
                _to_physical(dataset, header, index, frame, values, decoded)
            release(values)
    return decoded


def _to_rgb(
    frame: Shaped[np.ndarray, "rows columns *samples"], dataset: Dataset
) -> Float32[np.ndarray, "rows columns 3"]:
    """Turn a colour frame (already RGB, or palette indices) into [0, 255]."""
    if text(dataset, "PhotometricInterpretation").upper() == "PALETTE COLOR":
        frame = apply_color_lut(frame, dataset)
        bits = 8 * frame.dtype.itemsize
    else:
        bits = whole(dataset, "BitsStored", 8 * frame.dtype.itemsize)
    scale = np.float32(255 / (2**bits - 1))
    return np.asarray(frame[..., :3].astype(np.float32) * scale)


def _to_physical(
    dataset: Dataset,
    header: ImageHeader,
    index: int,
    frame: Shaped[np.ndarray, "rows columns"],
    out: Float32[np.ndarray, "rows columns"],
    decoded: Decoded,
) -> None:
    is_hounsfield = header.modality == "CT" and not header.is_capture
    flips = text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1"
    lacks_rescale = not any(word in dataset for word in RESCALE_KEYWORDS)
    decoded.reading = replace(
        decoded.reading,
        is_inverted=flips and not is_hounsfield,
        keeps_white_low=flips and is_hounsfield,
        assumes_hounsfield=is_hounsfield and lacks_rescale,
    )
    values = _without_unused_bits(frame, dataset)
    scale = _rescale(dataset, index)
    if scale is None:
        out[...] = apply_modality_lut(values, dataset)
    else:
        slope, intercept = scale
        np.multiply(values, np.float32(slope), out=out, casting="unsafe")
        out += np.float32(intercept)
    if decoded.reading.is_inverted:
        _invert(out, dataset, scale or (1.0, 0.0))
    _mark_padding(out, frame, dataset, decoded, scale if is_hounsfield else None)


def _rescale(dataset: Dataset, index: int) -> tuple[float, float] | None:
    """Read slope and intercept of a frame; None where a look-up table stands instead.

    Raises:
        UnreadableInput: They are there but no usable numbers.
    """
    if items(dataset, "ModalityLUTSequence"):
        return None
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    own = per_frame[index : index + 1]
    groups = [*own, *items(dataset, "SharedFunctionalGroupsSequence")[:1]]
    place = find_group(groups, "PixelValueTransformationSequence") if groups else dataset
    if "RescaleSlope" not in place and "RescaleIntercept" not in place:
        place = dataset
    # An empty element is as good as none; a damaged one raises here, and must not become 1.
    slope = float(1.0 if (value := place.get("RescaleSlope")) in (None, "") else value)
    intercept = float(0.0 if (value := place.get("RescaleIntercept")) in (None, "") else value)
    if slope == 0 or not abs(slope) < LARGEST_SCALE or not abs(intercept) < LARGEST_SCALE:
        raise UnreadableInput(
            "The rescale slope or intercept is zero, absurd or no number, so the values mean "
            "nothing.",
            "Export the image again from its source.",
            code="bad-rescale",
        )
    return slope, intercept


def _without_unused_bits(
    frame: Shaped[np.ndarray, "rows columns"], dataset: Dataset
) -> Shaped[np.ndarray, "rows columns"]:
    """Clear the bits around the stored ones, which may hold an old overlay (PS3.5 8.1.1)."""
    bits = 8 * frame.dtype.itemsize
    stored = whole(dataset, "BitsStored", bits)
    if frame.dtype.kind == "f" or not 0 < stored < bits:
        return frame
    above = bits - stored
    if not UID(str(dataset.file_meta.TransferSyntaxUID)).is_encapsulated:
        # Codecs return values at the low end; only plain pixels can lie higher up.
        above = bits - 1 - whole(dataset, "HighBit", stored - 1)
    return np.asarray((frame << max(above, 0)) >> (bits - stored))


def _invert(
    values: Float32[np.ndarray, "rows columns"], dataset: Dataset, scale: tuple[float, float]
) -> None:
    """Mirror values within the range that the stored bits can hold."""
    bits = whole(dataset, "BitsStored", 16)
    ends = (0, 2**bits - 1)
    if whole(dataset, "PixelRepresentation", 0):
        ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    slope, intercept = scale
    np.subtract(np.float32(slope * sum(ends) + 2 * intercept), values, out=values)


def _mark_padding(
    values: Float32[np.ndarray, "rows columns"],
    frame: Shaped[np.ndarray, "rows columns"],
    dataset: Dataset,
    decoded: Decoded,
    hounsfield_scale: tuple[float, float] | None,
) -> None:
    """Mark pixels outside the scanned field (Pixel Padding Value, PS3.3 C.7.5.1.1.2).

    The stored value is compared before unused bits are cleared: scanners write -2000 into words
    whose upper bits are declared unused.
    """
    if frame.dtype.kind == "f":
        padded = ~np.isfinite(frame)
    else:
        ends = _padding_range(dataset, frame.dtype)
        if ends is None:
            return
        if hounsfield_scale is not None and _holds_tissue(ends, hounsfield_scale):
            decoded.reading = replace(decoded.reading, disbelieves_padding=True)
            return
        padded = (frame >= ends[0]) & (frame <= ends[1])
    if padded.any():
        values[padded] = PADDING
        decoded.has_padding = True


def _padding_range(dataset: Dataset, dtype: np.dtype[np.generic]) -> tuple[int, int] | None:
    first = numbers(dataset, "PixelPaddingValue")
    if not first:
        return None
    last = numbers(dataset, "PixelPaddingRangeLimit") or first
    # Through int64, so that -2000 in an unsigned word becomes the 63536 that is stored.
    low, high = sorted(int(np.int64(value).astype(dtype)) for value in (first[0], last[0]))
    return low, high


def _holds_tissue(ends: tuple[int, int], hounsfield_scale: tuple[float, float]) -> bool:
    slope, intercept = hounsfield_scale
    low_hu, high_hu = sorted(slope * end + intercept for end in ends)
    return low_hu < HIGHEST_TISSUE_HU and high_hu > LOWEST_TISSUE_HU
