"""Whether an image is wider than what was scanned: then it shows several slices side by side."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import numbers, text
from headclip_med.read.dicom.planes.plane import Plane
from headclip_med.read.dicom.planes.stated import decimals

WIDTH_KEYWORDS = (
    "Modality",
    "AcquisitionMatrix",
    "ReconstructionDiameter",
    "ReconstructionFieldOfView",
)

WIDEST_MM: Mapping[str, float] = {"MR": 600.0, "CT": 1000.0, "PT": 1000.0}
"""No bore is wider, so an image that is, both ways, must be a page of several."""

WHOLE = 0.02
"""A page is so many times as wide as its field of view, but for rounding."""

COARSEST_MM = 6.0
"""No slice is scanned in coarser pixels, however finely it was interpolated."""

FEWEST_LINES = 16
"""A smaller acquisition matrix is none of an image."""


def shows_several(dataset: Dataset, size: tuple[int, int], plane: Plane) -> bool:
    """Tell whether an image of one plane must be a page of several slices.

    Its elements say it where it is wider than the bore, or both ways a whole multiple of its own
    field of view, or made from pixels that would be coarser than those of any scan: tiles keep the
    spacing of a slice, an interpolated slice does not.

    Args:
        dataset: The object's elements.
        size: Rows and columns.
        plane: Where it says that it lies.
    """
    pairs = tuple(zip(size, plane.spacing_mm, strict=True))
    widths_mm = [count * mm for count, mm in pairs]
    modality = text(dataset, "Modality").upper()
    if min(widths_mm) > WIDEST_MM.get(modality, float("inf")):
        return True
    return _is_multiple(dataset, widths_mm) or (modality == "MR" and _is_coarse(dataset, pairs))


def says_one(dataset: Dataset, size: tuple[int, int]) -> bool:
    """Tell whether elements say of an image, which is no page by them, that it is one slice.

    An acquisition matrix says so unless the image has twice its lines both ways, or more, as pages
    have and as interpolated slices do; a field of view always.

    Args:
        dataset: The object's elements.
        size: Rows and columns.
    """
    if any(min(decimals(dataset, one)[0], default=0) > 0 for one in WIDTH_KEYWORDS[2:]):
        return True
    lines = _acquired_lines(dataset)
    return lines is not None and any(
        count < 2 * own for count, own in zip(size, lines, strict=True)
    )


def _is_multiple(dataset: Dataset, widths_mm: list[float]) -> bool:
    for keyword in WIDTH_KEYWORDS[2:]:
        fields_mm = decimals(dataset, keyword)[0]
        if 0 < len(fields_mm) <= 2 and min(fields_mm) > 0:
            down_mm, across_mm = fields_mm[-1], fields_mm[0]
            times = [widths_mm[0] / down_mm, widths_mm[1] / across_mm]
            return all(round(time) > 1 and abs(time / round(time) - 1) < WHOLE for time in times)
    return False


def _is_coarse(dataset: Dataset, pairs: tuple[tuple[int, float], ...]) -> bool:
    """Tell whether the acquisition's own pixels would be too large, both ways."""
    lines = _acquired_lines(dataset)
    return lines is not None and all(
        count / own >= 2 and mm * count / own > COARSEST_MM
        for (count, mm), own in zip(pairs, lines, strict=True)
    )


def _acquired_lines(dataset: Dataset) -> tuple[float, float] | None:
    """Read how many lines were acquired, down and across; None where that is no image's."""
    matrix = numbers(dataset, "AcquisitionMatrix")  # frequency rows, columns; phase rows, columns
    if len(matrix) != 4:
        return None
    lines = max(matrix[0], matrix[2]), max(matrix[1], matrix[3])
    return lines if min(lines) >= FEWEST_LINES else None
