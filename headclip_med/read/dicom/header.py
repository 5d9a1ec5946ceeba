"""What a DICOM file's header says about each of its frames; no pixel is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import uid as uids
from pydicom.dataset import Dataset

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom import vocabulary
from headclip_med.read.dicom.elements import (
    BROKEN,
    items,
    numbers,
    read_object,
    text,
    texts,
    uid,
    whole,
)
from headclip_med.read.dicom.planes import SPLIT_KEYWORDS, Frame, find_group, read_frames
from headclip_med.read.guards import ReadLimits, translate

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
COLOURS = frozenset(
    {"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"}
)


@dataclass(frozen=True)
class ImageHeader:
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


def read_header(path: Path, limits: ReadLimits) -> ImageHeader:
    """Read one object's header.

    Raises:
        UnreadableInput: It is damaged, no image, a result of ours, or claims more than the limits.
    """
    dataset, rest = read_object(path, limits, keywords=HEADER_KEYWORDS, with_pixels=False)
    with translate("broken-dicom", *BROKEN):
        return _header(path, dataset, rest, limits)


def _header(path: Path, dataset: Dataset, rest: int, limits: ReadLimits) -> ImageHeader:
    _check_kind(dataset)
    rows, columns, count = _check_size(dataset, limits)
    study, series = text(dataset, "StudyInstanceUID"), text(dataset, "SeriesInstanceUID")
    modality = text(dataset, "Modality").upper()
    photometric = text(dataset, "PhotometricInterpretation").upper()
    is_capture = text(dataset, "SOPClassUID") in vocabulary.CAPTURE_CLASSES
    return ImageHeader(
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
        frames=read_frames(dataset, count),
        problem=_find_problem(dataset, rest, rows * columns * count),
    )


def _check_kind(dataset: Dataset) -> None:
    kind = text(dataset, "SOPClassUID")
    media_kind = text(dataset.file_meta, "MediaStorageSOPClassUID")
    if uids.MediaStorageDirectoryStorage in (kind, media_kind):
        raise UnreadableInput(
            "A DICOMDIR is an index, not an image.",
            "Give the folder it describes.",
            code="dicom-index",
        )
    if kind == uids.VLWholeSlideMicroscopyImageStorage:
        raise UnreadableInput(
            "This is a tiled whole-slide image, which is not supported.",
            "Export the region of interest as an ordinary image.",
            code="whole-slide-image",
        )
    if kind in vocabulary.OBJECTS_WITHOUT_IMAGE:
        raise UnreadableInput(
            "The object is no image to screen but a result about one (segmentation, report, "
            "presentation state, dose, plan or document).",
            "Nothing needs to be done.",
            code="not-an-image",
        )
    makers = (text(dataset, "Manufacturer") + text(dataset, "ManufacturerModelName")).lower()
    if kind in vocabulary.CAPTURE_CLASSES and "headclip" in makers:
        raise UnreadableInput(
            "The image is a result of an earlier screening, which is not screened again.",
            "Nothing needs to be done.",
            code="own-result",
        )


def _check_size(dataset: Dataset, limits: ReadLimits) -> tuple[int, int, int]:
    rows, columns = whole(dataset, "Rows", 0), whole(dataset, "Columns", 0)
    if not ("Rows" in dataset and "Columns" in dataset):
        # The meta information comes first, so it survives where a file is cut short.
        kind = uid(dataset.file_meta, "MediaStorageSOPClassUID") or uid(dataset, "SOPClassUID")
        is_whole = kind is not None and uid(dataset, "SOPInstanceUID") is not None
        is_document = is_whole and "Image" not in uids.UID(kind or "").name
        raise UnreadableInput(
            "The DICOM object has no rows and columns, so it holds no image.",
            "Leave it out, or export it again if it should.",
            code="not-an-image" if is_document else "broken-dicom",
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
        f"The header claims {what}, so the image is not decoded.",
        "Export it again from its source.",
        code="impossible-size",
    )


def _find_problem(dataset: Dataset, rest: int, pixels: int) -> UnreadableInput | None:
    """Compare the bytes behind the header with what uncompressed pixels would need."""
    syntax = uids.UID(str(dataset.file_meta.TransferSyntaxUID))
    rest -= 8 if syntax == uids.ImplicitVRLittleEndian else 12  # the element's own header
    if rest <= 0:
        return UnreadableInput(
            "The file ends before its pixel data; it was cut short or never held an image.",
            "Copy or export it again.",
            code="no-pixel-data",
        )
    if syntax.is_private or (syntax.is_transfer_syntax and syntax.is_encapsulated):
        return None
    bits = pixels * whole(dataset, "BitsAllocated", 16) * whole(dataset, "SamplesPerPixel", 1)
    if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3  # two luminance samples share one pair of colours
    if 8 * rest < bits:
        return UnreadableInput(
            "The file is cut short: its pixel data ends early.",
            "Copy or export it again.",
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
