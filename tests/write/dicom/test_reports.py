"""Structured reports: what was measured, in codes, and what each number refers to."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR, srread

from headclip_med.calibration import CalibrationUsed, Stratum
from headclip_med.findings import Screening
from headclip_med.read import find_inputs
from headclip_med.write import write_screening
from headclip_med.write.dicom.seg import MOST_SEGMENTS
from headclip_med.write.dicom.source import derived_uid
from tests.write.dicom.test_seg import PATIENT, ct_volume, screening_of, stack, two_lesions
from tests.write.dicom.test_seg_everywhere import complaints, screened
from tests.write.dicom.test_seg_kinds import KINDS, write_kind

JUDGED = CalibrationUsed(
    None, Stratum("CT", "HEAD", "brain"), "ef" * 32, 0.0625, 1, 31, 0.1, (0.01, 0.2), True
)


def reported(
    screening: Screening, folder: Path, outputs: tuple[str, ...] = ("seg", "sr")
) -> tuple[Path, Comprehensive3DSR]:
    written = write_screening(screening, folder, outputs=outputs)
    assert written.outputs["sr"] == "sr.dcm", written.notes
    report = srread(written.folder / "sr.dcm")
    assert isinstance(report, Comprehensive3DSR)
    return written.folder, report


def two(folder: Path) -> Screening:
    return screening_of(ct_volume(folder / "in", stack()), two_lesions((8, 12, 15)))


def numbers(group: object) -> dict[str, tuple[float, str]]:
    measurements = group.get_measurements()  # type: ignore[attr-defined]
    return {one.name.value: (float(one.value), one.unit.value) for one in measurements}


def test_each_candidate_has_size_maximum_centre_segment_and_image(tmp_path: Path) -> None:
    screening = two(tmp_path)
    folder, report = reported(screening, tmp_path / "out")
    seg = pydicom.dcmread(folder / "seg.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for number, (group, lesion) in enumerate(zip(groups, screening.lesions, strict=True), start=1):
        x, y, z = lesion.centre
        assert numbers(group) == {
            "118565006": (lesion.size, "mm3"),
            "130404": (pytest.approx(lesion.max_score, abs=1e-6), "1"),
            "CENTRE_X": (pytest.approx(x, abs=1e-6), "mm"),
            "CENTRE_Y": (pytest.approx(y, abs=1e-6), "mm"),
            "CENTRE_Z": (pytest.approx(z, abs=1e-6), "mm"),
        }
        segment = group.reference_type
        assert segment.value == "121191"
        where = group.referenced_segment
        assert where.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert where[0].ReferencedSOPSequence[0].ReferencedSegmentNumber == number
        assert group.tracking_uid == seg.SegmentSequence[number - 1].TrackingUID
        (highest,) = [m for m in group.get_measurements() if m.name.value == "130404"]
        (image,) = highest.referenced_images
        assert image.referenced_sop_instance_uid == derived_uid("slice", lesion.peak_slice)
        assert group.finding_type.value == "52988006"


def test_the_study_has_its_score_and_without_a_calibration_no_p_value(tmp_path: Path) -> None:
    _, report = reported(two(tmp_path), tmp_path / "out")
    (study,) = report.content.get_image_measurement_groups()
    assert numbers(study) == {"SCORE": (0.8, "1"), "THRESHOLD": (0.5, "1"), "246206008": (2, "1")}
    assert study.get_qualitative_evaluations() == [] or all(
        one.name.value != "FLAGGED" for one in study.get_qualitative_evaluations()
    )


def test_a_calibrated_study_has_its_p_value_and_another_one_is_another_report(
    tmp_path: Path,
) -> None:
    screening = two(tmp_path)
    _, plain = reported(screening, tmp_path / "plain")
    _, report = reported(replace(screening, calibration=JUDGED), tmp_path / "judged")
    (study,) = report.content.get_image_measurement_groups()
    found = numbers(study)
    assert (found["PVALUE"], found["ALPHA"], found["NORMALS"]) == (
        (0.0625, "1"), (0.1, "1"), (31, "1"),
    )  # fmt: skip
    answers = {
        one.name.value: one.value.value
        for one in study.get_qualitative_evaluations()
        if one.name.scheme_designator == "99HEADCLIP"
    }
    assert answers == {"FLAGGED": "373066001"}
    assert "calibration=" + "ef" * 32 in report.to_json()
    assert report.SOPInstanceUID != plain.SOPInstanceUID
    assert report.SeriesInstanceUID == plain.SeriesInstanceUID


def test_an_uncalibrated_study_says_nothing_of_a_calibration(tmp_path: Path) -> None:
    other = CalibrationUsed("stale", Stratum("CT", "HEAD", "brain"), "ef" * 32)
    _, report = reported(replace(two(tmp_path), calibration=other), tmp_path / "out")
    assert "ef" * 32 not in report.to_json()


def test_there_is_a_report_where_there_is_no_candidate(tmp_path: Path, dciodvfy: str) -> None:
    volume = ct_volume(tmp_path / "in", stack())
    folder, report = reported(
        screening_of(volume, np.zeros((8, 12, 15), np.int32)), tmp_path / "out"
    )
    assert not (folder / "seg.dcm").exists()
    (study,) = report.content.get_image_measurement_groups()
    assert numbers(study)["246206008"] == (0, "1")
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence} == {
        derived_uid("slice", index) for index in range(8)
    }
    assert complaints(dciodvfy, folder / "sr.dcm") == []


def test_without_a_segmentation_a_candidate_refers_to_its_image_alone(tmp_path: Path) -> None:
    screening = two(tmp_path)
    _, report = reported(screening, tmp_path / "out", outputs=("sr",))
    assert report.content.get_volumetric_roi_measurement_groups() == []
    _, *groups = report.content.get_image_measurement_groups()
    for group, lesion in zip(groups, screening.lesions, strict=True):
        (image,) = group.source_images
        assert image.referenced_sop_instance_uid == derived_uid("slice", lesion.peak_slice)
        assert numbers(group)["118565006"] == (lesion.size, "mm3")


def test_in_flat_images_the_area_is_in_pixels_and_the_frame_is_named(tmp_path: Path) -> None:
    write_kind(tmp_path / "in", KINDS["US film"])
    (one,) = find_inputs([tmp_path / "in"]).readable
    folder, report = reported(screened(one.read()), tmp_path / "out")
    groups = report.content.get_planar_roi_measurement_groups()
    assert len(groups) == 2
    for group in groups:
        found = numbers(group)
        assert found["42798000"] == (1.0, "{pixels}")
        assert found["CENTRE_COLUMN"] == (0, "{pixels}")
        segment = group.referenced_segmentation_frame
        (reference,) = segment[0].ReferencedSOPSequence
        (seg,) = [
            found
            for path in folder.glob("seg*.dcm")
            if (found := pydicom.dcmread(path)).SOPInstanceUID == reference.ReferencedSOPInstanceUID
        ]
        frame = seg.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        (image,) = segment[1].ReferencedSOPSequence
        assert image.ReferencedSOPInstanceUID == source.ReferencedSOPInstanceUID
        assert image.ReferencedFrameNumber == source.ReferencedFrameNumber


def test_a_report_says_what_it_is_and_whose(tmp_path: Path) -> None:
    _, report = reported(two(tmp_path), tmp_path / "out")
    assert {keyword: report[keyword].value for keyword in PATIENT} == PATIENT
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert "RESEARCH ONLY" in report.SeriesDescription
    assert (report.ContentDate, report.ContentTime) == ("20240506", "071000")
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99HEADCLIP"
    assert report.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"


def test_hundreds_of_candidates_are_counted_and_the_highest_reported(tmp_path: Path) -> None:
    labels = np.zeros((8, 12, 15), dtype=np.int32)
    labels.reshape(-1)[: 2 * (MOST_SEGMENTS + 9) : 2] = np.arange(1, MOST_SEGMENTS + 10)
    volume = ct_volume(tmp_path / "in", stack())
    _, report = reported(screening_of(volume, labels), tmp_path / "out")
    (study,) = report.content.get_image_measurement_groups()
    assert numbers(study)["246206008"] == (MOST_SEGMENTS + 9, "1")
    assert len(report.content.get_volumetric_roi_measurement_groups()) == MOST_SEGMENTS


def test_dcmqi_reads_the_numbers(tmp_path: Path) -> None:
    screening = two(tmp_path)
    folder, _ = reported(screening, tmp_path / "out")
    program, out = Path(sys.executable).with_name("tid1500reader"), tmp_path / "read.json"
    subprocess.run(
        [program, "--inputDICOM", folder / "sr.dcm", "--outputMetadata", out],
        capture_output=True, check=True,
    )  # fmt: skip
    study, *candidates = json.loads(out.read_text())["Measurements"]
    assert float(study["measurementItems"][0]["value"]) == 0.8
    assert [one["ReferencedSegment"] for one in candidates] == [1, 2]
    sizes = [float(one["measurementItems"][0]["value"]) for one in candidates]
    assert sizes == [lesion.size for lesion in screening.lesions]
