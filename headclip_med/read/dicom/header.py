"""What a DICOM file's header says about each of its frames; no pixel is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydicom import uid as uids
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom import vocabulary
from headclip_med.read.dicom.elements import items, numbers, text, texts, uid, whole
from headclip_med.read.dicom.image_header import ImageHeader, stamp_of
from headclip_med.read.dicom.opening import BROKEN, open_object
from headclip_med.read.dicom.pixel_element import PixelElement
from headclip_med.read.dicom.pixels.codings import find_coding_problem
from headclip_med.read.dicom.pixels.description import PIXEL_KEYWORDS, describe_plain
from headclip_med.read.dicom.pixels.layout import SAMPLES, PixelLayout, read_layout
from headclip_med.read.dicom.planes import Frame
from headclip_med.read.dicom.planes.frames import FRAME_KEYWORDS, read_frames
from headclip_med.read.dicom.planes.groups import find_group
from headclip_med.read.dicom.planes.width import says_one
from headclip_med.read.guards import ReadLimits, check_volume_size, silence, translate
from headclip_med.read.isolation.channel import seal

HEADER_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Modality", "BodyPartExamined", "AnatomicRegionSequence"),
    *("Manufacturer", "ManufacturerModelName", "SeriesDescription", "InstanceNumber"),
    *("WindowCenter", "WindowWidth"),
    *("SeriesNumber", "ImagerPixelSpacing", "PatientID", "PatientName"),
    *("PixelPresentation", *FRAME_KEYWORDS, *PIXEL_KEYWORDS),
)


def read_header(path: Path, limits: ReadLimits) -> ImageHeader:
    """Read one object's header.

    Raises:
        UnreadableInput: It is damaged, no image, a result of ours, or claims more than the limits.
    """
    stamp = stamp_of(path)
    with silence(), disable_value_validation():
        with open_object(path, limits, keywords=HEADER_KEYWORDS) as (dataset, element, _):
            pass
        with translate("broken-dicom", *BROKEN):
            return _header(path, stamp, dataset, element, limits)


def _header(
    path: Path,
    stamp: tuple[int, int] | None,
    dataset: Dataset,
    element: PixelElement | None,
    limits: ReadLimits,
) -> ImageHeader:
    _check_kind(dataset)
    layout = read_layout(dataset, element)
    _check_size(dataset, layout, limits)
    problem = find_coding_problem(text(dataset.file_meta, "TransferSyntaxUID"), layout, element)
    if problem is None:
        shape = (layout.frames, layout.rows, layout.columns, 3 if layout.is_colour else 1)
        check_volume_size(shape, limits, stored_bytes=stamp[0] if stamp else None)
    frames = read_frames(dataset, layout.frames, (layout.rows, layout.columns))
    if text(dataset, "SOPClassUID") in vocabulary.PROJECTIONS:
        frames = tuple(replace(frame, plane=None) for frame in frames)
    _check_planes(frames, limits)
    study, series = text(dataset, "StudyInstanceUID"), text(dataset, "SeriesInstanceUID")
    modality = text(dataset, "Modality").upper()
    described = None if problem else describe_plain(dataset, element, layout)
    is_capture = text(dataset, "SOPClassUID") in vocabulary.CAPTURE_CLASSES
    return ImageHeader(
        path=path,
        series_key=(study, series or f"in {path.parent}"),
        patient_key=_patient_key(dataset),
        sop_class_uid=text(dataset, "SOPClassUID"),
        series_number=_series_number(dataset),
        sop_instance_uid=uid(dataset, "SOPInstanceUID"),
        study_instance_uid=uid(dataset, "StudyInstanceUID"),
        series_instance_uid=uid(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=uid(dataset, "FrameOfReferenceUID"),
        modality=modality if modality in vocabulary.MODALITIES else None,
        body_part=_body_part(dataset),
        window=_window(dataset) or _shared_window(dataset),
        instance_number=whole(dataset, "InstanceNumber", 0),
        rows=layout.rows,
        columns=layout.columns,
        is_colour=layout.is_colour,
        is_localizer="LOCALIZER" in map(str.upper, texts(dataset, "ImageType")),
        is_capture=is_capture,
        is_map=_is_map(dataset),
        frames=frames,
        detector_spacing_mm=_detector_spacing(dataset),
        pixel_bytes=element.available if element else 0,
        pixels=None if described is None else seal(described),
        may_be_page=_may_be_page(dataset, layout, frames, modality),
        stamp=stamp,
        problem=problem,
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


def _check_size(dataset: Dataset, layout: PixelLayout, limits: ReadLimits) -> None:
    if not ("Rows" in dataset and "Columns" in dataset):
        # The meta information comes first, so it survives where a file is cut short.
        kind = uid(dataset.file_meta, "MediaStorageSOPClassUID") or uid(dataset, "SOPClassUID")
        is_whole = kind is not None and uid(dataset, "SOPInstanceUID") is not None
        is_image = "Image" in uids.UID(kind or "").name
        raise UnreadableInput(
            "The DICOM object has no rows and columns, so it holds no image."
            if is_whole
            else "What can be read of the DICOM object names neither what it is nor an image's "
            "rows and columns: its header is damaged, or was never whole.",
            "Leave it out, or export it again if it should.",
            code=("no-pixel-data" if is_image else "not-an-image") if is_whole else "broken-dicom",
        )
    if not (1 <= layout.rows <= limits.side_px and 1 <= layout.columns <= limits.side_px):
        raise _impossible(f"rows or columns outside 1 to {limits.side_px}")
    if layout.rows * layout.columns > limits.image_px:
        raise _impossible(f"more than {limits.image_px} pixels in a frame")
    if not 1 <= layout.frames <= limits.frames:
        raise _impossible(f"a number of frames outside 1 to {limits.frames}")
    if layout.samples != SAMPLES.get(layout.photometric):
        raise _impossible("a number of samples per pixel that no image has")
    if layout.bits not in (*range(1, 17), 32, 64):
        raise _impossible("a number of bits per pixel that no image has")
    if layout.frame_bits * layout.frames > 8 * limits.decoded_bytes:
        raise _impossible(f"more than {limits.decoded_bytes >> 20} MiB of pixels")


def _check_planes(frames: Sequence[Frame], limits: ReadLimits) -> None:
    """Refuse an object whose frames would all become volumes of their own."""
    planes = {
        tuple(round(number, 2) for number in (*frame.plane.orientation, *frame.plane.spacing_mm))
        for frame in frames
        if frame.plane is not None
    }
    if len(planes) > limits.volumes:
        raise UnreadableInput(
            f"The frames of the object lie in {len(planes)} orientations or spacings, so it would "
            f"give more than the {limits.volumes} volumes that are read of one object.",
            "Export them as separate series, or raise ReadLimits.volumes.",
            code="too-many-volumes",
        )


def _impossible(what: str) -> UnreadableInput:
    return UnreadableInput(
        f"The header claims {what}, so the image is not decoded.",
        "Export it again from its source.",
        code="impossible-size",
    )


def _is_map(dataset: Dataset) -> bool:
    words = {word.upper() for word in texts(dataset, "ImageType")}
    shown = text(dataset, "PixelPresentation").upper()
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        group = find_group(items(dataset, keyword)[:1], "CTImageFrameTypeSequence")
        words |= {word.upper() for word in texts(group, "FrameType")}
    is_computed = "ORIGINAL" not in words and bool(words & vocabulary.MAPS)
    return is_computed or shown in ("COLOR", "MIXED", "TRUE_COLOR")


def _may_be_page(
    dataset: Dataset, layout: PixelLayout, frames: Sequence[Frame], modality: str
) -> bool:
    """Tell whether only the picture can show that it is a page of tiles."""
    is_slice = len(frames) == 1 and frames[0].plane is not None and frames[0].tile is None
    is_grey_mr = modality == "MR" and not layout.is_colour
    return is_slice and is_grey_mr and not says_one(dataset, (layout.rows, layout.columns))


def _patient_key(dataset: Dataset) -> str:
    """Tell patients apart without saying who they are."""
    said = [text(dataset, f"Patient{what}").upper().strip("^ ") for what in ("ID", "Name")]
    return hashlib.sha256("\x1f".join(said).encode()).hexdigest() if any(said) else ""


def _series_number(dataset: Dataset) -> str:
    said = text(dataset, "SeriesNumber")
    return str(whole(dataset, "SeriesNumber", 0)) if said else ""


def _detector_spacing(dataset: Dataset) -> tuple[float, float] | None:
    spacing = numbers(dataset, "ImagerPixelSpacing")
    return (spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None


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
