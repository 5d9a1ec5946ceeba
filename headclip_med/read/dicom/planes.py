"""Where each frame of an object lies, and what tells it from others at the same place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import items, numbers, texts

SPLIT_KEYWORDS = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "StackID",
    "EchoNumbers",
    "EchoTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "InversionTime",
    "TriggerTime",
    "ImageType",
    "ConvolutionKernel",
    "AcquisitionTime",
    "ContentTime",
)
"""Elements that tell frames at one position apart, the most telling first."""

# Where an enhanced object keeps what a single-frame one has at its top: (group, element).
FUNCTIONAL_GROUPS = {
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "TemporalPositionIndex": (("FrameContentSequence", "TemporalPositionIndex"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "TriggerTime": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "ImageType": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
    ),
}

UNIT_TOLERANCE = 2e-3
"""Direction cosines written with three decimals still count as unit vectors."""

FARTHEST_MM = 1e6
"""A position a kilometre away is damage, and its arithmetic could overflow."""


@dataclass(frozen=True)
class Plane:
    """Where one frame lies: the three elements of the Image Plane Module (PS3.3 C.7.6.2)."""

    position_lps_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """One frame of an object.

    Attributes:
        number: One-based; None for single-frame objects.
        plane: None where the object does not say, or says something impossible.
        splits: The values of ``SPLIT_KEYWORDS``, as text.
    """

    number: int | None
    plane: Plane | None
    splits: tuple[str, ...]


def read_frames(dataset: Dataset, count: int) -> tuple[Frame, ...]:
    """Read what a header says about each of its frames."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(per_frame) != count:
        if "NumberOfFrames" not in dataset or count == 1:
            plane = _plane(dataset, dataset, dataset)
            number = 1 if "NumberOfFrames" in dataset else None
            splits = tuple("\\".join(texts(dataset, keyword)) for keyword in SPLIT_KEYWORDS)
            return (Frame(number, plane, splits),)
        return tuple(Frame(number, None, ()) for number in range(1, count + 1))
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    return tuple(
        _enhanced_frame(number, [own, *shared[:1]]) for number, own in enumerate(per_frame, start=1)
    )


def _enhanced_frame(number: int, groups: list[Dataset]) -> Frame:
    plane = _plane(
        find_group(groups, "PlanePositionSequence"),
        find_group(groups, "PlaneOrientationSequence"),
        find_group(groups, "PixelMeasuresSequence"),
    )
    splits = []
    for keyword in SPLIT_KEYWORDS:
        places = FUNCTIONAL_GROUPS.get(keyword, ())
        values = [texts(find_group(groups, group), element) for group, element in places]
        splits.append("\\".join(next(filter(None, values), ())))
    return Frame(number, plane, tuple(splits))


def find_group(groups: list[Dataset], keyword: str) -> Dataset:
    """Find a functional group: the frame's own, else the shared one, else an empty one."""
    for group in groups:
        for item in items(group, keyword):
            return item
    return Dataset()


def _plane(position: Dataset, orientation: Dataset, measures: Dataset) -> Plane | None:
    """Read a plane, or None where a part is missing, not finite, or no right-angled plane."""
    origin = numbers(position, "ImagePositionPatient")
    cosines = numbers(orientation, "ImageOrientationPatient")
    spacing = numbers(measures, "PixelSpacing")
    if len(origin) != 3 or len(cosines) != 6 or len(spacing) != 2:
        return None
    if max(map(abs, (*origin, *spacing))) > FARTHEST_MM or min(spacing) < 1 / FARTHEST_MM:
        return None
    axes = np.array(cosines).reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 2 * UNIT_TOLERANCE:
        return None
    return Plane((origin[0], origin[1], origin[2]), cosines, (spacing[0], spacing[1]))
