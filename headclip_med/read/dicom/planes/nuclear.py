"""Reconstructed nuclear medicine: slices counted by vectors, placed by their detector.

PS3.3 C.8.4.8 (multi-frame vectors), C.8.4.15 (spacing, and its sign) and C.8.4.11 (detectors).
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import items, numbers, texts
from headclip_med.read.dicom.planes.plane import Plane, make_plane

SIGN_VECTORS = (
    *("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector"),
    *("RRIntervalVector", "TimeSlotVector", "AngularViewVector", "TimeSliceVector"),
)
"""Tell frames at one position apart."""

NUCLEAR_KEYWORDS = ("DetectorInformationSequence", "SliceVector", *SIGN_VECTORS)


def nuclear_frames(
    dataset: Dataset, count: int
) -> list[tuple[Plane | None, tuple[str, ...]]] | None:
    """Place the frames of a reconstructed tomography by its detector.

    Returns:
        Of each frame the plane and its place in the other vectors; None where the object is none
        of these, projections among them, which lie at no place in the patient.
    """
    detectors = items(dataset, "DetectorInformationSequence")
    kind = [word.upper() for word in texts(dataset, "ImageType")][2:3]
    if not detectors or not kind or not kind[0].startswith("RECON"):
        return None
    slices = numbers(dataset, "SliceVector") or tuple(range(1, count + 1))
    steps = numbers(dataset, "SpacingBetweenSlices")
    first = make_plane(
        numbers(detectors[0], "ImagePositionPatient"),
        numbers(detectors[0], "ImageOrientationPatient"),
        numbers(dataset, "PixelSpacing"),
        abs(steps[0]) if steps else None,
    )
    if first is None or len(slices) != count or (count > 1 and not (steps and steps[0])):
        return None
    # A positive spacing stacks along the normal, a negative one against it.
    step = np.cross(*first.axes) * (steps[0] if steps else 0.0)
    signs = [vector for keyword in SIGN_VECTORS if len(vector := texts(dataset, keyword)) == count]
    return [
        (_moved(first, step * (number - 1)), tuple(vector[index] for vector in signs))
        for index, number in enumerate(slices)
    ]


def _moved(plane: Plane, by_mm: np.ndarray) -> Plane:
    x, y, z = (np.array(plane.position_lps_mm) + by_mm).tolist()
    return Plane((x, y, z), plane.orientation, plane.spacing_mm, plane.step_mm, plane.is_mended)
