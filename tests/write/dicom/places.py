"""Where a segmentation marks, told from its own frames."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset


def points_by_segment(seg: Dataset) -> dict[int, np.ndarray]:
    """Where each segment's voxels are in the patient, from the object's own frames."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    found: dict[int, list[np.ndarray]] = {}
    for frame, mask in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        identified = frame if "SegmentIdentificationSequence" in frame else shared
        number = identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = frame if "PlanePositionSequence" in frame else shared
        origin = np.array(place.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(mask)
        places = origin + np.outer(columns * column_mm, cosines[:3])
        found.setdefault(number, []).append(places + np.outer(rows * row_mm, cosines[3:]))
    return {number: np.concatenate(places) for number, places in found.items()}


def sorted_points(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 2).T)]
