"""What a DICOM file's header says about each of its frames; no pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import uid as uids
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from headclip_med.errors import UnreadableInput
from headclip_med.read import vocabulary
from headclip_med.read.limits import ReadLimits
from headclip_med.read.objects import items, numbers, read_object, text, texts, uid, whole

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

HEADER_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Modality", "BodyPartExamined", "AnatomicRegionSequence"),
    *("Manufacturer", "ManufacturerModelName", "SeriesDescription", "InstanceNumber"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("WindowCenter", "WindowWidth", "SpecificCharacterSet"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *SPLIT_KEYWORDS,
)


def tags_of(keywords: Sequence[str]) -> tuple[int, ...]:
    """Look up the tags of some keywords."""
    return tuple(tag for tag in map(tag_for_keyword, keywords) if tag is not None)


HEADER_TAGS = tags_of(HEADER_KEYWORDS)
COLOURS = frozenset(
    {"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"}
)
UNIT_TOLERANCE = 2e-3
"""Direction cosines written with three decimals still count as unit vectors."""


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


@dataclass(frozen=True)
class Header:
    """One DICOM image object.

    Attributes:
        series_key: What its series is known by, even where the UIDs are not valid.
        is_capture: A screenshot or scan of film: its values have no unit whatever its modality.
        problem: Why its pixels cannot be used although the header can be read, or None.
    """

    path: Path = field(repr=False)
    series_key: tuple[str, str] = field(repr=False)
    sop_instance_uid: str | None
    study_instance_uid: str | None
    series_instance_uid: str | None
    frame_of_reference_uid: str | None
    modality: str | None
    body_part: str | None
    window: tuple[float, float] | None
    instance_number: int
    rows: int
    columns: int
    is_colour: bool
    is_localizer: bool
    is_capture: bool
    frames: tuple[Frame, ...]
    problem: UnreadableInput | None = field(default=None, compare=False)


def read_header(path: Path, limits: ReadLimits) -> Header:
    """Read one object's header.

    Raises:
        UnreadableInput: It is damaged, no image, a result of ours, or claims more than the limits.
    """
    dataset, rest = read_object(path, limits, tags=HEADER_TAGS, with_pixels=False)
    _check_kind(dataset)
    rows, columns, count = _check_size(dataset, limits)
    study, series = text(dataset, "StudyInstanceUID"), text(dataset, "SeriesInstanceUID")
    modality = text(dataset, "Modality").upper()
    photometric = text(dataset, "PhotometricInterpretation").upper()
    is_capture = text(dataset, "SOPClassUID") in vocabulary.CAPTURE_CLASSES
    return Header(
        path=path,
        series_key=(study, series or f"in {path.parent}"),
        sop_instance_uid=uid(dataset, "SOPInstanceUID"),
        study_instance_uid=uid(dataset, "StudyInstanceUID"),
        series_instance_uid=uid(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=uid(dataset, "FrameOfReferenceUID"),
        modality=modality if modality in vocabulary.MODALITIES else None,
        body_part=_body_part(dataset),
        window=_window(dataset) or _shared_window(dataset),
        instance_number=whole(dataset, "InstanceNumber", 0),
        rows=rows,
        columns=columns,
        is_colour=photometric in COLOURS,
        is_localizer="LOCALIZER" in map(str.upper, texts(dataset, "ImageType")),
        is_capture=is_capture,
        frames=_frames(dataset, count),
        problem=_find_problem(dataset, rest, rows * columns * count),
    )


def _check_kind(dataset: Dataset) -> None:
    kind = text(dataset, "SOPClassUID")
    if kind == uids.MediaStorageDirectoryStorage:
        raise UnreadableInput("A DICOMDIR is an index, not an image.", code="not-an-image")
    if kind == uids.VLWholeSlideMicroscopyImageStorage:
        raise UnreadableInput(
            "This is a tiled whole-slide image, which is not supported; export the region of "
            "interest as an ordinary image.",
            code="whole-slide-image",
        )
    if kind in vocabulary.OBJECTS_WITHOUT_IMAGE:
        raise UnreadableInput(
            "The object is no image to screen but a result about one (segmentation, report, "
            "presentation state, dose, plan or document); nothing needs to be done.",
            code="not-an-image",
        )
    makers = (text(dataset, "Manufacturer") + text(dataset, "ManufacturerModelName")).lower()
    if kind in vocabulary.CAPTURE_CLASSES and "headclip" in makers:
        raise UnreadableInput(
            "The image is a result of an earlier screening, which is not screened again; nothing "
            "needs to be done.",
            code="own-result",
        )


def _check_size(dataset: Dataset, limits: ReadLimits) -> tuple[int, int, int]:
    rows, columns = whole(dataset, "Rows", 0), whole(dataset, "Columns", 0)
    if not ("Rows" in dataset and "Columns" in dataset):
        has_class = uid(dataset, "SOPClassUID") is not None
        raise UnreadableInput(
            "The DICOM object has no rows and columns, so it holds no image; leave it out, or "
            "export it again if it should.",
            code="not-an-image" if has_class else "broken-dicom",
        )
    count = whole(dataset, "NumberOfFrames", 1)
    bits = whole(dataset, "BitsAllocated", 16)
    samples = whole(dataset, "SamplesPerPixel", 1)
    if not (1 <= rows <= limits.side_px and 1 <= columns <= limits.side_px):
        raise _impossible(f"rows or columns outside 1 to {limits.side_px}")
    if not 1 <= count <= limits.frames:
        raise _impossible(f"a number of frames outside 1 to {limits.frames}")
    if samples not in (1, 3) or bits not in (1, 8, 16, 32, 64):
        raise _impossible("a number of samples or bits per pixel that no image has")
    if rows * columns * count * samples * bits > 8 * limits.decoded_bytes:
        raise _impossible(f"more than {limits.decoded_bytes >> 20} MiB of pixels")
    return rows, columns, count


def _impossible(what: str) -> UnreadableInput:
    return UnreadableInput(
        f"The header claims {what}, so the image is not decoded; export it again from its source.",
        code="impossible-size",
    )


def _find_problem(dataset: Dataset, rest: int, pixels: int) -> UnreadableInput | None:
    """Compare the bytes behind the header with what uncompressed pixels would need."""
    syntax = uids.UID(str(dataset.file_meta.TransferSyntaxUID))
    if rest <= 8:
        return UnreadableInput(
            "The file ends before its pixel data; it was cut short or never held an image. Copy "
            "or export it again.",
            code="no-pixel-data",
        )
    if syntax.is_private or (syntax.is_transfer_syntax and syntax.is_encapsulated):
        return None
    bits = pixels * whole(dataset, "BitsAllocated", 16) * whole(dataset, "SamplesPerPixel", 1)
    if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3  # two luminance samples share one pair of colours
    if 8 * rest < bits:
        return UnreadableInput(
            "The file is cut short: its pixel data ends early. Copy or export it again.",
            code="truncated-file",
        )
    return None


def _body_part(dataset: Dataset) -> str | None:
    named = text(dataset, "BodyPartExamined").upper().replace(" ", "").replace("_", "")
    if named in vocabulary.BODY_PARTS:
        return named
    for region in items(dataset, "AnatomicRegionSequence"):
        return vocabulary.BODY_PART_OF_CODE.get(text(region, "CodeValue"))
    return None


def _window(dataset: Dataset) -> tuple[float, float] | None:
    centre, width = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centre or not width or width[0] <= 0:
        return None
    return centre[0], width[0]


def _shared_window(dataset: Dataset) -> tuple[float, float] | None:
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        found = _window(find_group(items(dataset, keyword)[:1], "FrameVOILUTSequence"))
        if found:
            return found
    return None


def _frames(dataset: Dataset, count: int) -> tuple[Frame, ...]:
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(per_frame) != count:
        if "NumberOfFrames" not in dataset or count == 1:
            plane = _plane(dataset, dataset, dataset)
            number = 1 if "NumberOfFrames" in dataset else None
            return (Frame(number, plane, _splits(dataset)),)
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


def _splits(dataset: Dataset) -> tuple[str, ...]:
    return tuple("\\".join(texts(dataset, keyword)) for keyword in SPLIT_KEYWORDS)


def _plane(position: Dataset, orientation: Dataset, measures: Dataset) -> Plane | None:
    """Read a plane, or None where a part is missing, not finite, or no right-angled plane."""
    origin = numbers(position, "ImagePositionPatient")
    cosines = numbers(orientation, "ImageOrientationPatient")
    spacing = numbers(measures, "PixelSpacing")
    if len(origin) != 3 or len(cosines) != 6 or len(spacing) != 2 or min(spacing) <= 0:
        return None
    axes = np.array(cosines).reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 2 * UNIT_TOLERANCE:
        return None
    return Plane((origin[0], origin[1], origin[2]), cosines, (spacing[0], spacing[1]))
