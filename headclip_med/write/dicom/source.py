"""The headers behind a volume's slices, reduced to what a result object needs from them.

Two things are kept apart on purpose. What describes the patient and the study is copied element by
element, unread, into the result. What the SEG library looks at is a stand-in per slice that holds
identifiers and geometry only: a header that breaks the standard then cannot stop the writing, and
no library can put a patient's values into a warning.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pydicom
from highdicom.base import SOPClass
from pydicom.config import disable_value_validation
from pydicom.tag import BaseTag
from pydicom.uid import UID, CTImageStorage, SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from headclip_med.errors import UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.volume import Volume
from headclip_med.write.dicom.mending import mend, mended_orientation
from headclip_med.write.dicom.texts import keep_bytes, stored_texts

SHARED = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "LongitudinalTemporalInformationModified",
    "OtherPatientIDs",
    "EthnicGroup",
    "BodyPartExamined",
)
"""What a result takes of its source beside the patient's and the study's modules."""

TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""May be empty, may not be missing; stripped sources miss them."""

NO_DATE = ("19000101", "000000")
"""Stands for "not known" in the two stamps that must not be empty."""

_CLOCK = re.compile(r"([01]\d|2[0-3])([0-5]\d){2}")


class SourceObject(NamedTuple):
    """What a reference to an image object needs."""

    sop_class_uid: str
    is_multi_frame: bool


@dataclass(frozen=True, eq=False)
class SourceImages:
    """What is known of the objects behind a volume.

    Attributes:
        header: The header of the first slice's object, without pixels.
        objects: Each object, by SOP instance UID.
        frame_of_reference_uid: None where the images have no place in the patient.
        derives_frame_of_reference: The images have a place and name no frame of reference, or name
            it as something else too, so it is derived from their series.
        texts: Bytes of the header's texts, by ``stored_texts``.
    """

    header: pydicom.Dataset
    objects: dict[str, SourceObject]
    frame_of_reference_uid: str | None
    derives_frame_of_reference: bool = False
    texts: dict[BaseTag, bytes] = field(default_factory=dict, repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be derived, in sentences without any patient value."""
        if not self.derives_frame_of_reference:
            return ()
        return (
            "The source has positions but names no frame of reference of its own; that of the "
            "results is derived from the series, so viewers may ask before they overlay the two.",
        )

    @property
    def stamp(self) -> tuple[str, str]:
        """Date and time of the images, as DICOM writes them.

        Results carry these and not the clock's, or two runs would differ.
        """
        for kind in ("Content", "Acquisition", "Series", "Study"):
            date = str(self.header.get(f"{kind}Date", "") or "")
            time = str(self.header.get(f"{kind}Time", "") or "")
            if _is_date(date):
                return date, time[:6] if _CLOCK.fullmatch(time[:6]) else NO_DATE[1]
        return NO_DATE


@contextmanager
def quiet() -> Iterator[None]:
    """Take values as they are: the DICOM libraries quote those that they dislike in warnings."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def derived_uid(*parts: object) -> str:
    """Derive a UID from what it stands for: a UUID made of a SHA-256 (PS3.5 B.2)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def read_sources(volume: Volume) -> SourceImages:
    """Read the headers behind a volume's slices again.

    Raises:
        UnreadableInput: A file changed since it was read, or lacks an identifier that a result must
            refer to.
    """
    header = pydicom.dcmread(volume.sources[0].path, stop_before_pixels=True, force=True)
    texts = stored_texts(header)
    if not all(header.get(f"{level}InstanceUID") for level in ("Study", "Series")):
        raise UnreadableInput(
            "The source names no study or no series, so no DICOM result can refer to it.",
            "Use the NIfTI heatmap instead.",
            code="no-study",
        )
    if not all(
        UID(str(header[f"{level}InstanceUID"].value)).is_valid for level in ("Study", "Series")
    ):
        raise UnreadableInput(
            "The source's study or series has an identifier that is no valid UID, which no DICOM "
            "result may repeat.",
            "Use the NIfTI heatmap, or give the series valid identifiers.",
            code="invalid-uid",
        )
    if (header.get("Rows"), header.get("Columns")) != (volume.grid.rows, volume.grid.columns):
        raise UnreadableInput(
            "The slices were not screened on the pixels of their source, so a segmentation would "
            "not fit it.",
            "Use the NIfTI heatmap instead.",
            code="other-matrix",
        )
    objects = _objects(volume)
    if not volume.grid.is_patient:
        return SourceImages(header, objects, None, texts=texts)
    named = str(header.get("FrameOfReferenceUID", "") or "")
    others = {header.StudyInstanceUID, header.SeriesInstanceUID, *objects}
    if UID(named).is_valid and named not in others:
        return SourceImages(header, objects, named, texts=texts)
    derived = derived_uid("frame of reference", header.SeriesInstanceUID)
    return SourceImages(header, objects, derived, True, texts)


def stand_ins(
    volume: Volume, sources: SourceImages, uids: Mapping[int, str]
) -> list[pydicom.Dataset]:
    """Build a small single-frame header for each of some slices.

    It holds only what places a segmentation: whatever the source is (a file per slice, an enhanced
    multi-frame object, some frames of a longer one), the segmentation sees the same.

    Args:
        volume: Whose slices.
        sources: Their headers.
        uids: The SOP instance UID of each stand-in, all different, by slice.
    """
    grid = volume.grid
    orientation = [*_cosines(grid.column_step_lps_mm), *_cosines(grid.row_step_lps_mm)]
    headers = []
    for index, uid in uids.items():
        header = pydicom.Dataset()
        for keyword in TYPE_2:
            setattr(header, keyword, "")
        header.StudyInstanceUID = sources.header.StudyInstanceUID
        header.SeriesInstanceUID = sources.header.SeriesInstanceUID
        header.SOPInstanceUID, header.Modality = uid, "OT"
        header.Rows, header.Columns = grid.rows, grid.columns
        _copy_lossy_flags(sources.header, header)
        if sources.frame_of_reference_uid is None:
            header.SOPClassUID = SecondaryCaptureImageStorage
        else:
            header.SOPClassUID = CTImageStorage
            header.FrameOfReferenceUID = sources.frame_of_reference_uid
            header.PositionReferenceIndicator = ""
            header.ImagePositionPatient = [_decimal(x) for x in grid.origins_lps_mm[index]]
            header.ImageOrientationPatient = orientation
            header.PixelSpacing = [_decimal(mm) for mm in grid.pixel_spacing_mm]
            header.SliceThickness = _decimal(_slice_thickness_mm(sources.header, grid))
        headers.append(header)
    return headers


def copy_patient_and_study(
    sources: SourceImages, result: SOPClass, *, is_image: bool = True
) -> tuple[str, ...]:
    """Put a result into its study: copy what describes the patient and the study, mended.

    These are the modules Patient, Clinical Trial Subject, General Study, Patient Study and Clinical
    Trial Study (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1 to C.7.2.3); of images also what they show.

    Args:
        sources: What is copied from.
        result: What is copied to.
        is_image: Whether the result shows a part of the body.

    Returns:
        The keywords of what had to be mended.
    """
    header = pydicom.Dataset(sources.header)
    # The modules are looked up by the class of the object, and its identifier is logged.
    header.SOPClassUID, header.SOPInstanceUID = result.SOPClassUID, result.SOPInstanceUID
    copied = _Copied()
    copied.copy_patient_and_study_information(header)
    for keyword in SHARED:
        if keyword in header:
            copied[keyword] = header[keyword]
    mended = mend(copied)
    for keyword in TYPE_2:
        copied.setdefault(keyword, "")
    if not is_image:
        copied.pop("BodyPartExamined", None)
    for element in copied:
        result.add(element)
    if is_image and sources.frame_of_reference_uid is None:
        # PS3.3 C.7.6.1: required where nothing else tells how the image lies.
        result.PatientOrientation, is_mended = mended_orientation(sources.header)
        mended += ("PatientOrientation",) * is_mended
    keep_bytes(sources.texts, result, mended)
    return mended


class _Copied(SOPClass):
    """Attributes on their way from one object to another."""

    def __init__(self) -> None:
        pydicom.Dataset.__init__(self)


def _objects(volume: Volume) -> dict[str, SourceObject]:
    objects: dict[str, SourceObject] = {}
    for source in volume.sources:
        uid = source.sop_instance_uid
        if uid in objects:
            continue
        if uid is None or not UID(uid).is_valid:
            raise UnreadableInput(
                "A source image has no valid SOP instance UID, so no DICOM result can refer to it.",
                "Use the NIfTI heatmap instead.",
                code="no-instance-uid",
            )
        header = pydicom.dcmread(
            source.path,
            stop_before_pixels=True,
            force=True,
            specific_tags=["SOPClassUID", "SOPInstanceUID", "NumberOfFrames"],
        )
        if header.get("SOPInstanceUID") != uid or not header.get("SOPClassUID"):
            raise UnreadableInput(
                "A source file is not the one that was read, so a segmentation could refer to "
                "the wrong image.",
                "Screen again while nobody changes the folder.",
                code="source-changed",
            )
        frames = int(header.get("NumberOfFrames") or 1)
        objects[uid] = SourceObject(str(header.SOPClassUID), frames > 1)
    return objects


def _copy_lossy_flags(source: pydicom.Dataset, header: pydicom.Dataset) -> None:
    """Keep the warning that pixels were compressed with loss; its details only if complete."""
    details = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
    if source.get("LossyImageCompression") == "01" and all(source.get(name) for name in details):
        for keyword in ("LossyImageCompression", *details):
            header[keyword] = source[keyword]


def _slice_thickness_mm(header: pydicom.Dataset, grid: Grid) -> float:
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    measures = shared[0].get("PixelMeasuresSequence") or [pydicom.Dataset()]
    for holder in (header, measures[0]):
        try:
            thickness_mm = float(str(holder.get("SliceThickness")))
        except ValueError:  # none, or no number
            continue
        if 0 < thickness_mm < 1000:
            return thickness_mm
    return float(np.median(grid.slice_thicknesses_mm))


def _cosines(step_lps_mm: np.ndarray) -> list[str]:
    return [_decimal(part) for part in step_lps_mm / np.linalg.norm(step_lps_mm)]


def _decimal(number: float) -> str:
    """Write a number as a decimal string, without the last bits that vector lengths leave."""
    return str(format_number_as_ds(round(float(number), 12) + 0.0))


def _is_date(text: str) -> bool:
    try:
        return len(text) == 8 and bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False
