"""What all DICOM objects made of one screening share: names, sources, stamps and their patient."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import TypedDict

import highdicom
import pydicom
from highdicom.base import SOPClass
from pydicom.sr.codedict import codes

from headclip_med.findings import Screening
from headclip_med.volume import SliceSource
from headclip_med.write.dicom.source import (
    SourceObject,
    copy_patient_and_study,
    derived_uid,
    quiet,
    read_sources,
)
from headclip_med.write.dicom.spacing import keep_spacing

RESEARCH_ONLY = "RESEARCH ONLY - not for clinical use"
MAKER = "headclip_med"

SERIES_NUMBERS = {
    "seg": 9001,
    "seg-labelmap": 9002,
    "seg-fractional": 9003,
    "sr": 9004,
    "sc": 9005,
    "pm": 9006,
}
"""Of each kind of object, behind every series of a scanner."""

CLOCKS = ("InstanceCreationDate", "InstanceCreationTime", "ContributionDateTime")
"""What says when a program ran, and differs from run to run."""

STAMPS = ("ContentDate", "ContentTime"), ("DateOfSecondaryCapture", "TimeOfSecondaryCapture")
"""What says the same and must be there: results have the images' instead."""


class InSeries(TypedDict):
    """What places an object in its series; arguments of every class of highdicom."""

    series_instance_uid: str
    series_number: int
    series_description: str
    sop_instance_uid: str
    instance_number: int
    manufacturer: str
    manufacturer_model_name: str
    software_versions: str
    device_serial_number: str


class Content(TypedDict):
    """What names the content of a segmentation or a map; arguments of their classes."""

    content_label: str
    content_description: str
    content_creator_name: str
    content_date: str
    content_time: str


def run_key(screening: Screening, version: str) -> str:
    """Name what was computed from what: equal for equal sources, model, settings and version."""
    # By their content, too: two patients may bear the same UIDs, and their results must not.
    sources = sorted(f"{s.sop_instance_uid} {s.frame}" for s in screening.volume.sources)
    sources.append(screening.volume.content_digest)
    what = [sources, dict(screening.model), dict(screening.settings), screening.threshold, version]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


class DicomRun:
    """One screening, as the DICOM objects see it that are made of it.

    UIDs follow from the source images, the model, the settings and the version; that of an object
    from its content too, so two contents never share one. Stamps are those of the images. Two runs
    therefore write the same bytes, whatever the order of the files.

    Args:
        screening: What was found.
        version: Of this software.

    Raises:
        UnreadableInput: The sources cannot be referred to; see ``read_sources``.
    """

    def __init__(self, screening: Screening, version: str) -> None:
        self.screening, self.version = screening, version
        self.key = run_key(screening, version)
        with quiet():
            self.sources = read_sources(screening.volume)
        self._mended: set[str] = set()

    @property
    def is_in_patient(self) -> bool:
        """Whether the images lie in the patient, and so share a space."""
        return self.sources.frame_of_reference_uid is not None

    @property
    def model_name(self) -> str:
        """Name the model, as far as DICOM has room for it."""
        return str(self.screening.model.get("name", "headclip"))[:64]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what had to be derived or mended; no patient values."""
        if not self._mended:
            return self.sources.notes
        names = ", ".join(sorted(self._mended))
        mended = (
            f"What the source says is not valid DICOM and was mended in the results' copy: {names}."
        )
        return (*self.sources.notes, mended)

    def in_series(self, kind: str, title: str, uid: str, instance: int = 1) -> InSeries:
        """Place an object in the series of its kind.

        Args:
            kind: Name of its output.
            title: Of the series, without that it is for research.
            uid: Of the object.
            instance: Its number.
        """
        apart = () if kind == "seg" else (kind,)
        return InSeries(
            series_instance_uid=derived_uid(self.key, *apart, "series"),
            series_number=SERIES_NUMBERS[kind],
            series_description=f"{title} - {RESEARCH_ONLY}",
            sop_instance_uid=uid,
            instance_number=instance,
            manufacturer=MAKER,
            manufacturer_model_name=self.model_name,
            software_versions=self.version,
            device_serial_number="none",
        )

    def content(self, label: str) -> Content:
        """Name the content of a segmentation or a map."""
        date, time = self.sources.stamp
        return Content(
            content_label=label,
            content_description=RESEARCH_ONLY,
            content_creator_name=f"{MAKER}^Automatic",
            content_date=date,
            content_time=time,
        )

    @cached_property
    def parameters(self) -> dict[str, str]:
        """What the outcome depends on beside the images, by name; 256 characters each at most."""
        plain = {**self.screening.model, **self.screening.settings}
        parameters = {
            name: str(value)[:256]
            for name, value in sorted(plain.items())
            if isinstance(value, str | int | float)
        }
        return {**parameters, "threshold": f"{self.screening.threshold:.6g}"}

    def algorithm(self) -> highdicom.AlgorithmIdentificationSequence:
        """Name model, version and parameters."""
        return highdicom.AlgorithmIdentificationSequence(
            name=self.model_name,
            family=codes.cid7162.ArtificialIntelligence,
            version=self.version,
            source=MAKER,
            parameters=self.parameters,
        )

    def point(self, item: pydicom.Dataset, uid: str | None) -> None:
        """Let an item of a sequence refer to a source object."""
        item.ReferencedSOPInstanceUID = uid
        item.ReferencedSOPClassUID = self.sources.objects[str(uid)].sop_class_uid

    def frames(self, source: SliceSource) -> list[int] | None:
        """Give the number of a slice's frame in its object, as a list; None of single frames."""
        # Single-frame classes forbid the number, even where the object counts its one frame.
        if source.frame is None or not self._object(source).is_multi_frame:
            return None
        return [source.frame]

    def place(self, built: pydicom.Dataset, headers: Mapping[int, pydicom.Dataset]) -> None:
        """Let the frames of an object refer to the true images, and say how those are spaced.

        Args:
            built: A segmentation or a map, built upon stand-ins.
            headers: The stand-in of each slice that it is about; see ``source.stand_ins``.
        """
        images = self.screening.volume.sources
        self._refer(built, {one.SOPInstanceUID: images[at] for at, one in headers.items()})
        keep_spacing(built, list(headers.values()), self.screening.volume.grid)

    def finish(self, built: SOPClass, *, is_image: bool = True) -> None:
        """Take out what differs from run to run, and put the object into its study.

        Args:
            built: With its own UID.
            is_image: Whether it shows a part of the body.
        """
        for item in (built, *built.get("ContributingEquipmentSequence", [])):
            for keyword in CLOCKS:
                if keyword in item:
                    delattr(item, keyword)
        for stamp in STAMPS:
            for keyword, value in zip(stamp, self.sources.stamp, strict=True):
                if keyword in built:
                    setattr(built, keyword, value)
        if "DimensionOrganizationSequence" in built:
            uid = derived_uid(built.SOPInstanceUID, "dimension organization")
            built.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
            for dimension in built.get("DimensionIndexSequence", []):
                dimension.DimensionOrganizationUID = uid
        if is_image and built.Modality == "OT":
            built.ImageLaterality = self._laterality
        self._mended.update(copy_patient_and_study(self.sources, built, is_image=is_image))

    @property
    def _laterality(self) -> str:
        """Name the side that is shown; empty where it is not said, or said wrongly."""
        header = self.sources.header
        said = {str(header.get(name, "") or "") for name in ("Laterality", "ImageLaterality")}
        sides = said & {"L", "R", "U", "B"}
        return sides.pop() if len(sides) == 1 else ""

    def _object(self, source: SliceSource) -> SourceObject:
        return self.sources.objects[str(source.sop_instance_uid)]

    def _refer(self, built: pydicom.Dataset, source_of: Mapping[str, SliceSource]) -> None:
        """Put the true objects and frames in the place of the stand-ins."""
        # Frames of the same slice share one item, so each is collected once before any is changed.
        items = {
            id(item): item
            for frame in built.PerFrameFunctionalGroupsSequence
            for derivation in frame.DerivationImageSequence
            for item in derivation.SourceImageSequence
        }
        for item in items.values():
            source = source_of[item.ReferencedSOPInstanceUID]
            self.point(item, source.sop_instance_uid)
            if frames := self.frames(source):
                (item.ReferencedFrameNumber,) = frames
        objects = []
        for uid in dict.fromkeys(source.sop_instance_uid for source in source_of.values()):
            item = pydicom.Dataset()
            self.point(item, uid)
            objects.append(item)
        built.SourceImageSequence = objects
        built.ReferencedSeriesSequence[0].ReferencedInstanceSequence = objects
