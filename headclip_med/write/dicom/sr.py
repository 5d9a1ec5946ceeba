"""What was found as a structured report: measurements that other programs read (PS3.16 TID 1500).

A group of measurements for the study, and one for each candidate. Where a code of DICOM or SNOMED
says what a number is, it is used; ``PRIVATE`` holds the others, which the report declares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pydicom
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    ReferencedSegmentationFrame,
    SourceImageForMeasurement,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from headclip_med.findings import Lesion
from headclip_med.volume import SliceSource
from headclip_med.write.dicom.run import MAKER, RESEARCH_ONLY, DicomRun
from headclip_med.write.dicom.seg import MOST_SEGMENTS
from headclip_med.write.dicom.source import TYPE_2, derived_uid, quiet
from headclip_med.write.outputs import Writer, WrittenOutput
from headclip_med.write.result import rounded

SCHEME = "99HEADCLIP"
"""Of the codes that no standard has."""

PRIVATE = {
    name: Code(name, SCHEME, meaning)
    for name, meaning in {
        "SCORE": "Anomaly score",
        "THRESHOLD": "Heatmap value from which a voxel belongs to a candidate",
        "PVALUE": "p-value among normal studies",
        "ALPHA": "Share of normal studies that may be flagged",
        "NORMALS": "Normal studies of the same kind",
        "FLAGGED": "Score flagged against normal studies",
    }.items()
}
IMAGING = Code("363679005", "SCT", "Imaging")
MM = codes.UCUM.Millimeter
ONE = codes.UCUM.NoUnits
PIXELS = Code("{pixels}", "UCUM", "pixels")

CENTRES = {
    "lps_mm": tuple(
        (Code(f"CENTRE_{axis}", SCHEME, f"Centre, {axis} of the patient: {where}"), MM)
        for axis, where in (("X", "to the left"), ("Y", "to the back"), ("Z", "to the head"))
    ),
    "column_row_slice": tuple(
        (Code(f"CENTRE_{axis}", SCHEME, f"Centre, {axis.lower()} from 0"), unit)
        for axis, unit in (("COLUMN", PIXELS), ("ROW", PIXELS), ("SLICE", ONE))
    ),
}
"""Three numbers each, with their unit, by what a centre counts in."""

Group = (
    MeasurementsAndQualitativeEvaluations
    | PlanarROIMeasurementsAndQualitativeEvaluations
    | VolumetricROIMeasurementsAndQualitativeEvaluations
)


class SrWriter(Writer):
    """``sr.dcm``: score, candidates and calibration, also where there is no candidate.

    A candidate refers to its segment where a segmentation was written; it says in which image it is
    highest, and where its centre lies. The ``MOST_SEGMENTS`` highest have a group each; how many
    there are is stated.
    """

    def begin(self) -> None:
        """Read the sources' headers.

        Raises:
            UnreadableInput: They cannot be referred to; see ``read_sources``.
        """
        self._run = DicomRun(self.screening, self.version)

    def add(self, slices: range) -> None:
        """Nothing: what is reported stands beside the slices."""

    def end(self) -> WrittenOutput:
        """Write the file."""
        with quiet():
            names = sorted({file for file, _ in self.segments.values()})
            self._segs = {
                name: pydicom.dcmread(self.folder / name, stop_before_pixels=True) for name in names
            }
            self._build().save_as(self.folder / "sr.dcm", enforce_file_format=True)
        return WrittenOutput({"sr": "sr.dcm"}, notes=self._run.notes)

    def _build(self) -> Comprehensive3DSR:
        run = self._run
        observer = DeviceObserverIdentifyingAttributes(
            uid=derived_uid(MAKER, run.model_name, self.version),
            name=f"{MAKER}: {RESEARCH_ONLY}",
            manufacturer_name=MAKER,
            model_name=run.model_name,
        )
        report = MeasurementReport(
            observation_context=ObservationContext(
                observer_device_context=ObserverContext(codes.DCM.Device, observer)
            ),
            procedure_reported=IMAGING,
            imaging_measurements=[self._study(), *self._candidates()],
            title=codes.DCM.ImagingMeasurementReport,
        )
        content = hashlib.sha256(report[0].to_json(suppress_invalid_tags=True).encode())
        unique = derived_uid(run.key, "sr", content.hexdigest())
        built = Comprehensive3DSR(
            evidence=[*self._images(), *self._segs.values()],
            content=report[0],
            is_complete=True,
            **run.in_series("sr", "Measurements", unique),
        )
        scheme = pydicom.Dataset()
        scheme.CodingSchemeDesignator = SCHEME
        scheme.CodingSchemeName = f"Private codes of {MAKER}"
        scheme.CodingSchemeResponsibleOrganization = MAKER
        built.CodingSchemeIdentificationSequence = [scheme]
        run.finish(built, is_image=False)
        return built

    def _images(self) -> Iterator[pydicom.Dataset]:
        """Name the source objects as what the report rests on."""
        header = self._run.sources.header
        for uid, source in self._run.sources.objects.items():
            image = pydicom.Dataset()
            for keyword in TYPE_2:
                setattr(image, keyword, "")
            image.StudyInstanceUID = header.StudyInstanceUID
            image.SeriesInstanceUID = header.SeriesInstanceUID
            image.SOPClassUID, image.SOPInstanceUID = source.sop_class_uid, uid
            yield image

    def _study(self) -> Group:
        """Group what was measured on all images together."""
        screening, used = self.screening, self.screening.calibration
        measured = [
            Measurement(PRIVATE["SCORE"], rounded(screening.score), ONE),
            Measurement(PRIVATE["THRESHOLD"], rounded(screening.threshold), ONE),
            Measurement(codes.SCT.NumberOfLesions, len(screening.lesions), ONE),
        ]
        for name, value in (
            ("PVALUE", used.p_value),
            ("ALPHA", used.alpha),
            ("NORMALS", used.studies),
        ):
            if used.code is None and value is not None:
                measured.append(Measurement(PRIVATE[name], rounded(float(value)), ONE))
        answers = [codes.SCT.No, codes.SCT.Yes]
        flagged = [] if used.flagged is None else [answers[used.flagged]]
        parameters = [f"{name}={value}" for name, value in self._run.parameters.items()]
        if used.code is None:
            parameters.append(f"calibration={used.digest}")
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                derived_uid(self._run.key, "study"), f"{MAKER} {self._run.key[:12]} study"
            ),
            algorithm_id=AlgorithmIdentification(
                name=self._run.model_name,
                version=self.version,
                parameters=parameters,
                family=codes.cid7162.ArtificialIntelligence,
                manufacturer=MAKER,
            ),
            measurements=measured,
            qualitative_evaluations=[
                QualitativeEvaluation(PRIVATE["FLAGGED"], answer) for answer in flagged
            ],
            source_images=[
                SourceImageForMeasurementGroup(source.sop_class_uid, uid)
                for uid, source in self._run.sources.objects.items()
            ],
        )

    def _candidates(self) -> Iterator[Group]:
        for rank, lesion in enumerate(self.screening.lesions[:MOST_SEGMENTS], start=1):
            peak = self._reference(lesion.peak_slice)
            measured = [
                _size(lesion),
                Measurement(
                    codes.DCM.Saliency,
                    rounded(lesion.max_score),
                    ONE,
                    derivation=codes.SCT.Maximum,
                    referenced_images=[SourceImageForMeasurement(*peak)],
                ),
                *(
                    Measurement(name, rounded(value), unit)
                    for value, (name, unit) in zip(
                        lesion.centre, CENTRES[lesion.frame], strict=True
                    )
                ),
            ]
            yield self._group(rank, lesion, measured)

    def _group(self, rank: int, lesion: Lesion, measured: list[Measurement]) -> Group:
        found = self.segments.get(lesion.id)
        run, what = self._run, {"finding_type": codes.SCT.Lesion, "measurements": measured}
        what["finding_category"] = codes.SCT.MorphologicallyAbnormalStructure
        if found is None:
            uid = derived_uid(run.key, "candidate", rank)
            name = f"{MAKER} {run.key[:12]} candidate {rank}"
            return MeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(uid, name),
                source_images=[SourceImageForMeasurementGroup(*self._reference(lesion.peak_slice))],
                **what,
            )
        file, number = found
        seg = self._segs[file]
        segment = seg.SegmentSequence[number - 1]
        what["tracking_identifier"] = TrackingIdentifier(segment.TrackingUID, segment.TrackingID)
        if lesion.unit == "mm3":
            return VolumetricROIMeasurementsAndQualitativeEvaluations(
                referenced_segment=ReferencedSegment(
                    seg.SOPClassUID,
                    seg.SOPInstanceUID,
                    number,
                    source_series=SourceSeriesForSegmentation(run.sources.header.SeriesInstanceUID),
                ),
                **what,
            )
        place, source = _first_frame(seg, number)
        frames = [source.ReferencedFrameNumber] if "ReferencedFrameNumber" in source else None
        image = SourceImageForSegmentation(
            source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID, frames
        )
        frame = ReferencedSegmentationFrame(
            seg.SOPClassUID, seg.SOPInstanceUID, place, number, image
        )
        # PS3.3 C.18.4: the number of the segment stands only where that of the frame does not.
        del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **what)

    def _reference(self, index: int) -> tuple[str, str, list[int] | None]:
        """Name class, object and frame of a slice."""
        source: SliceSource = self.screening.volume.sources[index]
        uid = str(source.sop_instance_uid)
        return self._run.sources.objects[uid].sop_class_uid, uid, self._run.frames(source)


def _first_frame(seg: pydicom.Dataset, number: int) -> tuple[int, pydicom.Dataset]:
    """Find the first frame of a segment, from 1, and what refers to its source image."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    for place, groups in enumerate(seg.PerFrameFunctionalGroupsSequence, start=1):
        identified = groups if "SegmentIdentificationSequence" in groups else shared
        if identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            return place, groups.DerivationImageSequence[0].SourceImageSequence[0]
    raise LookupError(number)


def _size(lesion: Lesion) -> Measurement:
    if lesion.unit == "mm3":
        return Measurement(codes.SCT.Volume, rounded(lesion.size), codes.UCUM.CubicMillimeter)
    return Measurement(codes.SCT.Area, rounded(lesion.size), PIXELS)
