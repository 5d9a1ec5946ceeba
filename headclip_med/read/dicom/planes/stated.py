"""Planes as elements state them: numbers, decimal commas among them."""

from __future__ import annotations

import math
from dataclasses import replace

from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import numbers, texts
from headclip_med.read.dicom.planes.plane import Plane, make_plane

THINNEST_MM, THICKEST_MM = 1e-6, 1e3
"""Slices thicker or thinner than this are damage."""


def read_plane(
    position: Dataset, orientation: Dataset, measures: Dataset, *, of: str = "Patient"
) -> Plane | None:
    """Read a plane, or None where a part is missing, not finite, or no right-angled plane.

    Args:
        position: Holds the position; in a single-frame object all three are the object itself.
        orientation: Holds the direction cosines.
        measures: Holds spacing and thickness.
        of: Whose frame it lies in: ``Patient``, or ``Volume`` (ultrasound, PS3.3 C.8.24.3).
    """
    origin, has_commas = decimals(position, f"ImagePosition{of}")
    cosines, more = decimals(orientation, f"ImageOrientation{of}")
    spacing, most = decimals(measures, "PixelSpacing")
    plane = make_plane(origin, cosines, spacing, read_step(measures))
    if plane is None:
        return None
    return replace(plane, has_commas=has_commas or more or most, in_patient=of == "Patient")


def read_step(measures: Dataset) -> float | None:
    """Read how far apart slices are, or else how thick one is; the sign plays no part."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        for step in decimals(measures, keyword)[0][:1]:
            if THINNEST_MM < abs(step) < THICKEST_MM:
                return abs(step)
    return None


def decimals(dataset: Dataset, keyword: str) -> tuple[tuple[float, ...], bool]:
    """Read an element's numbers, decimal commas among them.

    Returns:
        The numbers, empty where there are none, and whether they were written with commas.
    """
    if found := numbers(dataset, keyword):
        return found, False
    try:
        # One comma a number: more would be a list, or thousands.
        found = tuple(float(piece.replace(",", ".", 1)) for piece in texts(dataset, keyword))
    except ValueError:
        return (), False
    return (found, bool(found)) if all(map(math.isfinite, found)) else ((), False)
