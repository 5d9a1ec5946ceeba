"""How an object's pixels are laid out; what is missing or odd is mended as other readers do."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import text, whole
from headclip_med.read.dicom.pixel_element import PixelElement

SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "HSV", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422"), 3),
    **dict.fromkeys(("YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"), 3),
    **dict.fromkeys(("ARGB", "CMYK"), 4),
}
"""How many values each Photometric Interpretation gives a pixel (PS3.3 C.7.6.3.1.2)."""

SHARED_COLOURS = ("YBR_FULL_422", "YBR_PARTIAL_422")
"""Uncompressed, two pixels of a row share one pair of colours."""


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


_PHOTOMETRIC = {_plain(name): name for name in SAMPLES}


@dataclass(frozen=True)
class PixelLayout:
    """What the Image Pixel module says (PS3.3 C.7.6.3), free of contradictions.

    Attributes:
        bits: Allocated for a sample; anything from 1 to 16, 32 or 64.
        stored_bits: Of them, those that hold its value.
        high_bit: The highest of these.
        is_planar: Uncompressed colours lie plane by plane, not pixel by pixel.
        is_float: Values are IEEE 754 numbers of 32 or 64 bits.
        mended: Keywords of elements that were missing or contradicted others.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits: int
    stored_bits: int
    high_bit: int
    is_signed: bool
    is_planar: bool
    is_float: bool
    mended: tuple[str, ...]

    @property
    def is_colour(self) -> bool:
        """Whether its pixels are to become red, green, blue."""
        return self.samples > 1 or self.photometric == "PALETTE COLOR"

    @property
    def frame_bits(self) -> int:
        """Size of an uncompressed frame; frames follow without a gap."""
        shared = self.photometric in SHARED_COLOURS
        return self.rows * self.columns * self.bits * (2 if shared else self.samples)

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest value that can be stored; of floats, endless, 0 and 0."""
        if self.is_float:
            return 0, 0
        half = 2 ** (self.stored_bits - 1)
        return (-half, half - 1) if self.is_signed else (0, 2 * half - 1)

    def dtype(self, order: str) -> np.dtype[np.generic]:
        """Of one sample in memory; packed ones get the next larger word."""
        size = next(size for size in (1, 2, 4, 8) if 8 * size >= self.bits)
        return np.dtype(f"{order}{'f' if self.is_float else 'i' if self.is_signed else 'u'}{size}")


def read_layout(dataset: Dataset, element: PixelElement | None) -> PixelLayout:
    """Read how pixels are laid out.

    Rows, columns, a negative number of frames and sizes that no image has are given as they are.

    Args:
        dataset: With the elements of the Image Pixel module that it has.
        element: Its pixel data, whose size settles contradictions.
    """
    mended: list[str] = []

    def known(keyword: str, lowest: int, highest: int, otherwise: int) -> int:
        if lowest <= (value := whole(dataset, keyword, -1)) <= highest:
            return value
        mended.append(keyword)
        return otherwise

    frames = whole(dataset, "NumberOfFrames", 0)
    if not frames:
        frames = 1
        mended += ["NumberOfFrames"] * ("NumberOfFrames" in dataset)
    is_float = element is not None and element.keyword != "PixelData"
    bits = whole(dataset, "BitsAllocated", 0)
    if element is not None and is_float:
        bits = 32 if element.keyword == "FloatPixelData" else 64
    elif bits <= 0:
        mended.append("BitsAllocated")
        bits = 8 if 0 < whole(dataset, "BitsStored", 0) <= 8 else 16
    pixels = whole(dataset, "Rows", 0) * whole(dataset, "Columns", 0) * frames
    length = None if element is None else element.length
    bits, is_triple = _words(dataset, bits, pixels, length, mended)
    holds = None if length is None or pixels <= 0 else 8 * length // (pixels * bits)
    samples, photometric = _colours(dataset, holds, mended)
    if is_triple:
        samples, photometric = 3, "RGB"
    is_plain = is_float or is_triple
    stored = bits if is_plain else known("BitsStored", 1, bits, bits)
    high = bits - 1 if is_plain else known("HighBit", stored - 1, bits - 1, stored - 1)
    sign = whole(dataset, "PixelRepresentation", 0)
    planar = whole(dataset, "PlanarConfiguration", 0)
    if samples > 1 and holds is not None:  # codecs know better
        planar = known("PlanarConfiguration", 0, 1, 0)
    return PixelLayout(
        rows=whole(dataset, "Rows", 0),
        columns=whole(dataset, "Columns", 0),
        frames=frames,
        samples=samples,
        photometric=photometric,
        bits=bits,
        stored_bits=stored,
        high_bit=high,
        is_signed=not is_float and bool(known("PixelRepresentation", 0, 1, sign)),
        is_planar=samples > 1 and planar == 1,
        is_float=is_float,
        mended=tuple(mended),
    )


def _words(
    dataset: Dataset, bits: int, pixels: int, length: int | None, mended: list[str]
) -> tuple[int, bool]:
    """Settle the bits allocated for a sample by the size of uncompressed pixel data.

    Returns:
        Odd ones are packed only where there are no words for them; and whether 24 are three
        samples of eight, an old way to say so.
    """
    if bits in (1, 8, 16, 32, 64) or length is None or pixels <= 0:
        return bits, False
    if bits == 24 and whole(dataset, "SamplesPerPixel", 1) == 1 and length >= 3 * pixels:
        mended.append("BitsAllocated")
        return 8, True
    for word in (16, 8):
        if length >= word // 8 * pixels and (word > bits or bits > 16):
            mended.append("BitsAllocated")
            return word, False
    return bits, False


def _colours(dataset: Dataset, holds: int | None, mended: list[str]) -> tuple[int, str]:
    """Settle samples per pixel and photometric interpretation.

    Where the two contradict each other, the size of uncompressed pixel data decides: ``holds``
    tells how many samples a pixel could have by that.
    """
    said = text(dataset, "PhotometricInterpretation")
    photometric = _PHOTOMETRIC.get(_plain(said), "")
    samples = declared = whole(dataset, "SamplesPerPixel", 0)
    wanted = SAMPLES.get(photometric, samples or 1)
    if not samples:
        samples = wanted
    elif samples == 1 and holds is not None and wanted == 3:
        samples = 3 if holds >= (2 if photometric in SHARED_COLOURS else 3) else 1
    elif samples == 3 and holds is not None and wanted == 1:
        samples = 3 if holds >= 3 else 1
    if samples in (1, 3) and SAMPLES.get(photometric) != samples:
        photometric = "MONOCHROME2" if samples == 1 else "RGB"
    mended += ["SamplesPerPixel"] * (samples != declared)
    mended += ["PhotometricInterpretation"] * (photometric != said)
    return samples, photometric
