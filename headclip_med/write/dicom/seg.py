"""Lesion candidates as a DICOM segmentation that goes back into the study they came from.

One binary segment per candidate (PS3.3 A.51). Each of its frames names the image, and of
multi-frame objects the frame, that it was found on; masks are bound to sources by identifier, never
by the order of a list.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from jaxtyping import UInt8
from pydicom.sr.codedict import codes

from headclip_med.findings import Lesion, Screening
from headclip_med.mapped import release
from headclip_med.volume import SliceSource
from headclip_med.write.dicom.source import (
    copy_patient_and_study,
    derived_uid,
    quiet,
    read_sources,
    stand_ins,
)
from headclip_med.write.dicom.spacing import keep_spacing
from headclip_med.write.outputs import Writer, WrittenOutput

MOST_SEGMENTS = 50
"""Candidates beyond share the last one: viewers list every segment, and hundreds help nobody."""

RESEARCH_ONLY = "RESEARCH ONLY - not for clinical use"
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
"""Between the hues of one candidate and the next: none comes again, and they never crowd."""

CHROMA = 60.0
SERIES_NUMBER = 9001
"""Behind every series of a scanner."""


def run_key(screening: Screening, version: str) -> str:
    """Name what was computed from what: equal for equal sources, model, settings and version."""
    # By their content, too: two patients may bear the same UIDs, and their results must not.
    sources = sorted(f"{s.sop_instance_uid} {s.frame}" for s in screening.volume.sources)
    sources.append(screening.volume.content_digest)
    what = [sources, dict(screening.model), dict(screening.settings), screening.threshold, version]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Part:
    """One object: the slices it is about, those with candidates, and a digest of its pixels."""

    name: str
    slices: range
    marked: list[int] = field(default_factory=list)
    ranks: set[int] = field(default_factory=set)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)


class SegWriter(Writer):
    """``seg.dcm``: the lesion candidates of a screening that was read from DICOM.

    Images that lie in the patient give one ``seg.dcm``. Those that do not (radiographs, ultrasound,
    photographs) share no space, so each slice with a candidate gives its own object of one series:
    ``seg.dcm`` if it is the only one, else ``seg-001.dcm`` and so on by slice.

    UIDs follow from the source images, the model, the settings and the version; that of an object
    from its pixels too, so two contents never share one. Stamps are those of the images. Two runs
    therefore write the same bytes, whatever the order of the files.
    """

    def begin(self) -> None:
        """Read the sources' headers.

        Raises:
            UnreadableInput: They cannot be referred to; see ``read_sources``.
        """
        lesions = self.screening.lesions
        self._key = run_key(self.screening, self.version)
        self._rank_of_id = np.zeros(max(one.id for one in lesions) + 1, dtype=np.uint8)
        for place, lesion in enumerate(lesions, start=1):
            self._rank_of_id[lesion.id] = min(place, MOST_SEGMENTS)
        with quiet():
            self.sources = read_sources(self.screening.volume)
        self._parts: list[_Part] = []
        self._mended: set[str] = set()
        if self.sources.frame_of_reference_uid is not None:
            self._parts.append(_Part("seg.dcm", range(len(self.screening.labels))))

    def add(self, slices: range) -> None:
        """See which candidates lie on the next slices."""
        in_patient = self.sources.frame_of_reference_uid is not None
        for index in slices:
            ranks = self._ranks(index)
            present = np.flatnonzero(np.bincount(ranks.reshape(-1))[1:]) + 1
            if len(present) and not in_patient:
                self._parts.append(_Part(f"seg-{index + 1:03d}.dcm", range(index, index + 1)))
            if len(present):
                self._parts[-1].marked.append(index)
                self._parts[-1].ranks.update(present.tolist())
            if in_patient or len(present):
                self._parts[-1].digest.update(ranks.tobytes())

    def end(self) -> WrittenOutput:
        """Write the files."""
        if len(self._parts) == 1:
            self._parts[0] = replace(self._parts[0], name="seg.dcm")
        segments: dict[int, tuple[str, int]] = {}
        for instance, part in enumerate(self._parts, start=1):
            number_of_rank = {rank: n for n, rank in enumerate(sorted(part.ranks), start=1)}
            with quiet():
                built = self._build(part, number_of_rank, instance)
                built.save_as(self.folder / part.name, enforce_file_format=True)
            for place, lesion in enumerate(self.screening.lesions, start=1):
                rank = min(place, MOST_SEGMENTS)
                if rank in number_of_rank:
                    segments.setdefault(lesion.id, (part.name, number_of_rank[rank]))
        files = {Path(part.name).stem: part.name for part in self._parts}
        return WrittenOutput(files, segments=segments, notes=self._notes())

    def _notes(self) -> tuple[str, ...]:
        """Sentences on what had to be derived or mended; no patient values."""
        if not self._mended:
            return self.sources.notes
        names = ", ".join(sorted(self._mended))
        mended = (
            f"What the source says is not valid DICOM and was mended in the segmentation: {names}."
        )
        return (*self.sources.notes, mended)

    def _ranks(self, index: int) -> UInt8[np.ndarray, "rows columns"]:
        """Mark each pixel with its lesion's place in the list, from 1, at most the last segment."""
        return np.asarray(self._rank_of_id[self.screening.labels[index]])

    def _build(self, part: _Part, number_of_rank: Mapping[int, int], instance: int) -> Segmentation:
        numbers = np.zeros(MOST_SEGMENTS + 1, dtype=np.uint8)
        numbers[list(number_of_rank)] = list(number_of_rank.values())
        unique = derived_uid(self._key, part.digest.hexdigest(), instance)
        uids = {index: derived_uid(unique, "stand-in", index) for index in part.slices}
        headers = stand_ins(self.screening.volume, self.sources, uids)
        date, time = self.sources.stamp
        built = Segmentation(
            source_images=[headers[index - part.slices.start] for index in part.marked],
            pixel_array=self._pixels(part, numbers),
            segmentation_type="BINARY",
            segment_descriptions=[
                self._describe(rank, number, unique) for rank, number in number_of_rank.items()
            ],
            series_instance_uid=derived_uid(self._key, "series"),
            series_number=SERIES_NUMBER,
            series_description=f"Lesion candidates - {RESEARCH_ONLY}",
            sop_instance_uid=unique,
            instance_number=instance,
            manufacturer="headclip_med",
            manufacturer_model_name=self._model("name"),
            software_versions=self.version,
            device_serial_number="none",
            content_label="LESION_CANDIDATE",
            content_description=RESEARCH_ONLY,
            content_creator_name="headclip_med^Automatic",
            content_date=date,
            content_time=time,
        )
        images = self.screening.volume.sources
        self._refer(built, {uid: images[index] for index, uid in uids.items()})
        keep_spacing(built, headers, self.screening.volume.grid)
        _pin(built, unique)
        self._mended.update(copy_patient_and_study(self.sources, built))
        return built

    def _pixels(
        self, part: _Part, numbers: UInt8[np.ndarray, "ranks"]
    ) -> UInt8[np.ndarray, "marked rows columns"]:
        """Mark the slices with candidates by segment; all others are left out of the object."""
        labels = self.screening.labels
        pixels = np.empty((len(part.marked), *labels.shape[1:]), dtype=np.uint8)
        for place, index in enumerate(part.marked):
            pixels[place] = numbers[self._ranks(index)]
            release(labels)
        return pixels

    def _describe(self, rank: int, number: int, unique: str) -> SegmentDescription:
        lesions = self.screening.lesions[rank - 1 :]
        shared = rank == MOST_SEGMENTS and len(lesions) > 1
        described = SegmentDescription(
            segment_number=number,
            segment_label=f"Lesion candidate {rank}" + " and further" * shared,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=self._algorithm(),
            tracking_uid=derived_uid(unique, "segment", rank),
            tracking_id=f"headclip_med {self._key[:12]} candidate {rank}",
            display_color=_colour(rank),
        )
        described.SegmentDescription = f"{RESEARCH_ONLY}. {_measures(lesions[0])}"
        return described

    def _algorithm(self) -> highdicom.AlgorithmIdentificationSequence:
        plain = {**self.screening.model, **self.screening.settings}
        parameters = {
            name: str(value)[:256]
            for name, value in sorted(plain.items())
            if isinstance(value, str | int | float)
        }
        return highdicom.AlgorithmIdentificationSequence(
            name=self._model("name"),
            family=codes.cid7162.ArtificialIntelligence,
            version=self.version,
            source="headclip_med",
            parameters={**parameters, "threshold": f"{self.screening.threshold:.6g}"},
        )

    def _model(self, name: str) -> str:
        return str(self.screening.model.get(name, "headclip"))[:64]

    def _refer(self, built: pydicom.Dataset, source_of: dict[str, SliceSource]) -> None:
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
            self._point(item, source.sop_instance_uid)
            # Single-frame classes forbid the number, even where the object counts its one frame.
            if self.sources.objects[str(source.sop_instance_uid)].is_multi_frame:
                item.ReferencedFrameNumber = source.frame
        objects = []
        for uid in dict.fromkeys(source.sop_instance_uid for source in source_of.values()):
            item = pydicom.Dataset()
            self._point(item, uid)
            objects.append(item)
        built.SourceImageSequence = objects
        built.ReferencedSeriesSequence[0].ReferencedInstanceSequence = objects

    def _point(self, item: pydicom.Dataset, uid: str | None) -> None:
        item.ReferencedSOPInstanceUID = uid
        item.ReferencedSOPClassUID = self.sources.objects[str(uid)].sop_class_uid


def _colour(rank: int) -> CIELabColor:
    """Give each candidate a colour of its own, neighbours in the list far apart."""
    angle = rank * GOLDEN_ANGLE
    lightness = (70.0, 55.0, 85.0)[rank % 3]
    return CIELabColor(lightness, CHROMA * math.cos(angle), CHROMA * math.sin(angle))


def _measures(lesion: Lesion) -> str:
    size = {"mm3": "volume {:.0f} mm3", "px": "area {:.0f} pixels"}[lesion.unit].format(lesion.size)
    return f"Highest heatmap value {lesion.max_score:.3f}, {size}."


def _pin(built: pydicom.Dataset, unique: str) -> None:
    """Take out what differs from run to run: clocks and random UIDs."""
    for item in (built, *built.get("ContributingEquipmentSequence", [])):
        for keyword in ("InstanceCreationDate", "InstanceCreationTime", "ContributionDateTime"):
            if keyword in item:
                delattr(item, keyword)
    organization = derived_uid(unique, "dimension organization")
    built.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    for dimension in built.get("DimensionIndexSequence", []):
        dimension.DimensionOrganizationUID = organization
