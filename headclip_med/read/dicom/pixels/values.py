"""Stored pixels made into physical values: Hounsfield units for CT, colours as red, green, blue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped

from headclip_med.errors import UnreadableInput
from headclip_med.mapped import put
from headclip_med.read.dicom.elements import text
from headclip_med.read.dicom.image_header import ImageHeader, stamp_of
from headclip_med.read.dicom.opening import BROKEN, open_object
from headclip_med.read.dicom.pixels.codings import coding_name, find_coding_problem
from headclip_med.read.dicom.pixels.colours import in_eight_bits
from headclip_med.read.dicom.pixels.description import PIXEL_KEYWORDS, PixelDescription, describe
from headclip_med.read.dicom.pixels.frames import Pixels, stored_frames
from headclip_med.read.dicom.pixels.layout import PixelLayout, read_layout
from headclip_med.read.dicom.pixels.rescale import Rescale
from headclip_med.read.guards import ReadLimits, translate
from headclip_med.read.isolation.channel import unseal
from headclip_med.reading import ORDINARY, Reading

PADDING = np.float32(-np.inf)
"""Marks pixels outside the scanned field until the whole volume is known."""

AIR_HU = np.float32(-1000)
"""What a CT shows where it did not scan."""

BLOCK_VALUES = 4 << 20
"""Of a frame, which are converted at once: a slice of a body, but not a whole mammogram."""

LOWEST_TISSUE_HU, HIGHEST_TISSUE_HU = -900.0, 3000.0
"""A padding value between these would blank real tissue, so it is not believed."""


@dataclass
class Decoded:
    """How some frames of one object were decoded.

    Attributes:
        has_padding: Whether ``PADDING`` still marks pixels that were not scanned.
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
    indices = [(number or 1) - 1 for number in frames]
    with _opened(header, indices, limits) as (pixels, described), _translated(pixels.syntax):
        return _decode(header, described, pixels, indices, out)


def _translated(syntax: str) -> AbstractContextManager[None]:
    damaged = (
        f"The pixel data ({coding_name(syntax)}) cannot be decoded; it is damaged or coded in "
        "an unusual way."
    )
    return translate("cannot-decode", damaged, "Export the image uncompressed from its source.")


@contextmanager
def _opened(
    header: ImageHeader, indices: Sequence[int], limits: ReadLimits
) -> Iterator[tuple[Pixels, PixelDescription]]:
    """Open an object where its pixels lie; it is parsed again where it is not the one described."""
    if header.pixels is not None and header.stamp == stamp_of(header.path):
        known: PixelDescription = unseal(header.pixels)
        with translate("broken-dicom", *BROKEN), header.path.open("rb") as stream:
            yield known.pixels_of(stream), known
        return
    with open_object(header.path, limits, keywords=PIXEL_KEYWORDS) as (dataset, element, stream):
        layout, syntax = read_layout(dataset, element), text(dataset.file_meta, "TransferSyntaxUID")
        if (layout.rows, layout.columns) != (header.rows, header.columns) or element is None:
            raise UnreadableInput(
                "The file changed while it was being read.",
                "Wait until the copy is complete.",
                code="file-changed",
            )
        if problem := find_coding_problem(syntax, layout, element):
            raise problem
        with _translated(syntax):
            described = describe(dataset, element, layout, indices)
        yield described.pixels_of(stream), described


def _decode(
    header: ImageHeader,
    described: PixelDescription,
    pixels: Pixels,
    indices: Sequence[int],
    out: Sequence[Float32[np.ndarray, "rows columns *colour"]],
) -> Decoded:
    layout, padding = described.layout, described.padding
    decoded = Decoded(
        reading=Reading(
            mended_elements=layout.mended,
            is_unterminated=pixels.is_unterminated,
            surplus_frames=pixels.surplus_frames,
        )
    )
    rescales = [described.rescales.get(index) for index in indices]
    last, facts = None, ORDINARY
    for rescale, values, frame in zip(rescales, out, stored_frames(pixels, indices), strict=True):
        if rescale is not None and rescale is not last:  # as many frames have one
            last, facts = rescale, _facts(header, layout, rescale, padding)
            decoded.reading = decoded.reading.joined(facts)
        unscanned = _unscanned(header, facts)
        for rows in _blocks(frame):
            if rescale is None:
                put(values[rows], in_eight_bits(frame[rows], layout, described.palette))
                continue
            physical = np.empty(frame[rows].shape, np.float32)
            rescale.apply(pixels.without_unused_bits(frame[rows]), physical)
            if facts.is_inverted:
                np.subtract(np.float32(sum(rescale.ends)), physical, out=physical)
            if not facts.disbelieves_padding:
                found = _mark_padding(physical, frame[rows], padding, unscanned)
                decoded.has_padding |= found and unscanned == PADDING
            put(values[rows], physical)
    return decoded


def _blocks(frame: Shaped[np.ndarray, "rows columns *samples"]) -> Iterator[slice]:
    """Cut a large frame into blocks of rows, so that what is made of it is not there twice."""
    step = max(1, BLOCK_VALUES * len(frame) // frame.size)
    return (slice(start, start + step) for start in range(0, len(frame), step))


def _facts(
    header: ImageHeader, layout: PixelLayout, rescale: Rescale, padding: tuple[int, int] | None
) -> Reading:
    """Note what is doubtful about a CT's unit, which way white is, and what padding is believed."""
    is_ct = header.modality == "CT"
    has_unit = is_ct and not (header.is_capture or header.is_map) and rescale.unit in ("", "HU")
    is_hounsfield = has_unit and rescale.is_hounsfield
    is_white_low = layout.photometric == "MONOCHROME1"
    return Reading(
        is_inverted=is_white_low and not is_hounsfield,
        keeps_white_low=is_white_low and is_hounsfield,
        has_other_unit=is_ct and not has_unit,
        lacks_rescale=has_unit and not is_hounsfield,
        has_decimal_commas=rescale.has_commas,
        disbelieves_padding=has_unit and padding is not None and _holds_tissue(padding, rescale),
    )


def _unscanned(header: ImageHeader, facts: Reading) -> np.float32:
    """Tell what a frame shows where nothing was scanned: air, where its values have that unit."""
    doubtful = facts.lacks_rescale or facts.has_other_unit
    return AIR_HU if header.modality == "CT" and not doubtful else PADDING


def _mark_padding(
    values: Float32[np.ndarray, "rows columns"],
    frame: Shaped[np.ndarray, "rows columns"],
    padding: tuple[int, int] | None,
    mark: np.float32,
) -> bool:
    """Mark pixels outside the scanned field (Pixel Padding Value, PS3.3 C.7.5.1.1.2), if any.

    The stored value is compared before unused bits are cleared: scanners write -2000 into words
    whose upper bits are declared unused.
    """
    if frame.dtype.kind == "f":
        padded = ~np.isfinite(frame)
    elif padding is None:
        return False
    else:
        low, high = padding
        padded = frame == low if low == high else (frame >= low) & (frame <= high)
    if not padded.any():
        return False
    np.copyto(values, mark, where=padded)
    return True


def _holds_tissue(ends: tuple[int, int], rescale: Rescale) -> bool:
    low_hu, high_hu = sorted(rescale.slope * end + rescale.intercept for end in ends)
    return low_hu < HIGHEST_TISSUE_HU and high_hu > LOWEST_TISSUE_HU
