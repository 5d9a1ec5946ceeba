"""How much a file may claim before it is refused: input comes from strangers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadLimits:
    """Bounds that ordinary studies stay far below and decompression bombs do not."""

    file_bytes: int = 4 << 30
    """Largest file that is opened."""
    inflated_bytes: int = 512 << 20
    """Largest deflated DICOM object, once inflated: a megabyte can inflate to a gigabyte."""
    side_px: int = 20_000
    """Most rows, and most columns; film scanners and mammography stay below 8,000."""
    frames: int = 20_000
    """Most frames in one object."""
    decoded_bytes: int = 2 << 30
    """Largest pixel data of one file, once decoded."""
    volume_bytes: int = 8 << 30
    """Largest volume in float32: 8,192 slices of 512 x 512."""
    image_px: int = 89_478_485
    """Most pixels in one photograph; Pillow's own threshold for a decompression bomb."""
    time_points: int = 64
    """Most volumes that a four-dimensional NIfTI may hold; more is a functional series."""


DEFAULT_LIMITS = ReadLimits()
"""What every reader uses unless told otherwise."""
