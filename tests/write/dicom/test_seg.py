"""Lesion candidates as DICOM segmentations: right place, right source, valid, and repeatable."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
)

from headclip_med.errors import UnreadableInput
from headclip_med.findings import Box, Lesion, Screening, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.volume import Heatmap, SliceSource, Volume
from headclip_med.write import write_screening
from headclip_med.write.dicom.seg import MOST_SEGMENTS, SegWriter
from headclip_med.write.dicom.source import derived_uid
from headclip_med.write.outputs import WrittenOutput
from headclip_med.write.result import result_schema
from tests.write.dicom.faults import FAULTS
from tests.write.dicom.places import points_by_segment, sorted_points

ROWS, COLUMNS = 12, 15
PATIENT = {"PatientName": "Doe^Jane", "PatientID": "MRN77", "AccessionNumber": "ACC42"}
WINDOW = WindowUsed("brain", 0.0, 80.0, "a CT of the head")


def stack(
    slices: int = 8,
    *,
    column: tuple[float, float, float] = (0.7, 0, 0),
    row: tuple[float, float, float] = (0, 0.9, 0),
    step: tuple[float, float, float] = (0, 0, 3.0),
    missing_after: int | None = None,
) -> Grid:
    numbers = np.arange(slices, dtype=float)
    if missing_after is not None:
        numbers[missing_after + 1 :] += 1
    origins = np.array([-31.25, 12.5, 101.75]) + numbers[:, None] * np.array(step)
    return Grid(origins, np.array(row, float), np.array(column, float), ROWS, COLUMNS)


def oblique() -> Grid:
    turn = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.35, 0.8, -0.4], [-0.1, 0.5, 0.85]]))[0]
    column, row = 0.7 * turn[:, 0], 0.9 * turn[:, 1]
    step = 3 * np.cross(turn[:, 0], turn[:, 1])
    return stack(column=tuple(column), row=tuple(row), step=tuple(step))


STACKS: dict[str, Callable[[], Grid]] = {
    "axial": stack,
    "sagittal": lambda: stack(column=(0, 0.7, 0), row=(0, 0, -0.9), step=(3.0, 0, 0)),
    "oblique": oblique,
    "reversed": lambda: stack(step=(0, 0, -3.0)),
    "tilted": lambda: stack(step=(0, 1.2, 3.0)),
    "gapped": lambda: stack(missing_after=3),
}


def ct_slice(grid: Grid, index: int, sop: str) -> Dataset:
    header = study_header(CTImageStorage, sop)
    header.Modality, header.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = derived_uid("for"), ""
    header.ImagePositionPatient = [f"{x:.10g}" for x in grid.origins_lps_mm[index]]
    across, down = grid.column_step_lps_mm, grid.row_step_lps_mm
    cosines = [*(across / np.linalg.norm(across)), *(down / np.linalg.norm(down))]
    header.ImageOrientationPatient = [f"{x:.12f}" for x in cosines]
    header.PixelSpacing = [f"{mm:.10g}" for mm in grid.pixel_spacing_mm]
    header.SliceThickness, header.KVP, header.AcquisitionNumber = "3", "120", 1
    header.RescaleIntercept, header.RescaleSlope, header.PatientPosition = "0", "1", "HFS"
    header.InstanceNumber = index + 1
    return with_pixels(header, grid.rows, grid.columns)


def study_header(sop_class: str, sop: str) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID, header.SOPInstanceUID = sop_class, sop
    header.StudyInstanceUID, header.SeriesInstanceUID = derived_uid("study"), derived_uid("series")
    for keyword, value in PATIENT.items():
        setattr(header, keyword, value)
    header.PatientBirthDate, header.PatientSex = "19610203", "F"
    header.PatientIdentityRemoved, header.DeidentificationMethod = "YES", "phantom"
    header.StudyDate, header.StudyTime, header.StudyID = "20240506", "070809", "S1"
    header.ContentDate, header.ContentTime = "20240506", "071000"
    header.ReferringPhysicianName, header.StudyDescription = "Ref^Doctor", "Head"
    header.Manufacturer, header.SeriesNumber, header.BodyPartExamined = "phantom", 2, "HEAD"
    return header


def with_pixels(header: Dataset, rows: int, columns: int, frames: int = 1) -> Dataset:
    header.Rows, header.Columns, header.SamplesPerPixel = rows, columns, 1
    header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelData = bytes(2 * rows * columns * frames)
    return header


def save(header: Dataset, path: Path) -> None:
    header.save_as(path, enforce_file_format=True)


def ct_volume(folder: Path, grid: Grid, **changes: object) -> Volume:
    """Write a CT series under names that sort unlike the slices, and describe it as read."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for index in range(len(grid.origins_lps_mm)):
        header = ct_slice(grid, index, derived_uid("slice", index))
        for keyword, value in changes.items():
            if isinstance(value, bytes):  # what no library would write
                tag, vr = tag_for_keyword(keyword), dictionary_VR(keyword)
                header[keyword] = RawDataElement(
                    BaseTag(tag), vr, len(value), value, 0, False, True
                )
            elif value is None and keyword in header:
                delattr(header, keyword)
            elif value is not None:
                setattr(header, keyword, value)
        path = folder / f"{(index * 5) % 8}{index}.dcm"
        save(header, path)
        sources.append(SliceSource(path, header.SOPInstanceUID))
    return volume_of(grid, sources)


def volume_of(grid: Grid, sources: list[SliceSource], modality: str = "CT") -> Volume:
    return Volume(
        np.full(grid.shape, 40, dtype=np.float32),
        grid,
        tuple(sources),
        "dicom",
        modality=modality,
        study_instance_uid=derived_uid("study"),
        series_instance_uid=derived_uid("series"),
    )


def two_lesions(shape: tuple[int, ...]) -> np.ndarray:
    """Ids of two shapes that no flip or turn maps onto themselves."""
    labels = np.zeros(shape, dtype=np.int32)
    labels[1, 2:5, 3:9] = labels[2, 2:4, 3:6] = labels[4, 3, 3] = 1
    labels[5, 8:11, 1:3] = labels[6, 10, 2] = 2
    return labels


def screening_of(volume: Volume, labels: np.ndarray, **model: object) -> Screening:
    heat = np.where(labels > 0, 0.9 - 0.1 * labels, 0.1).astype(np.float32).clip(0, 1)
    lesions = []
    for number in np.unique(labels[labels > 0]).tolist():
        where = np.argwhere(labels == number)
        x, y, z = volume.grid.to_lps_mm(where.astype(float)).mean(axis=0).tolist()
        first, last = int(where[0, 0]), int(where[-1, 0])
        score = float(heat[labels == number].max())
        lesions.append(
            Lesion(
                number, 2.0 * len(where), "mm3", (x, y, z), "lps_mm", score, (first, last), first
            )
        )
    return Screening(
        volume,
        Heatmap(heat, volume.grid),
        heat.max(axis=(1, 2)).astype(np.float64),
        0.8,
        0.5,
        labels,
        tuple(lesions),
        WINDOW,
        Box(0, 1, 0, 1),
        {"name": "headclip-mini", "method": "headclip", "backbone_digest": "ab" * 32, **model},
        {"window": "auto", "pooled_slices": 3},
        {"model": 1.5},
    )


def write_segmentation(folder: Path, screening: Screening, version: str) -> WrittenOutput:
    """Write the objects, the slices in two blocks."""
    writer = SegWriter(screening, folder, frozenset(), version)
    writer.begin()
    count = len(screening.labels)
    writer.add(range(count // 2))
    writer.add(range(count // 2, count))
    return writer.end()


@pytest.mark.parametrize("name", STACKS)
def test_a_segmentation_lies_where_the_lesion_was_found(name: str, tmp_path: Path) -> None:
    grid = STACKS[name]()
    labels = two_lesions(grid.shape)
    written = write_segmentation(
        tmp_path, screening_of(ct_volume(tmp_path / "in", grid), labels), "1"
    )
    assert tuple(written.files.values()) == ("seg.dcm",)
    assert written.segments == {1: ("seg.dcm", 1), 2: ("seg.dcm", 2)}
    assert written.notes == ()
    found = points_by_segment(pydicom.dcmread(tmp_path / "seg.dcm"))
    for number in (1, 2):
        true = grid.to_lps_mm(np.argwhere(labels == number).astype(float))
        assert np.abs(sorted_points(found[number]) - sorted_points(true)).max() < 1e-3


@pytest.mark.parametrize("name", STACKS)
def test_each_frame_names_the_image_it_was_found_on(name: str, tmp_path: Path) -> None:
    grid = STACKS[name]()
    labels = two_lesions(grid.shape)
    write_segmentation(tmp_path, screening_of(ct_volume(tmp_path / "in", grid), labels), "1")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    expected = {
        (derived_uid("slice", index), number): labels[index] == number
        for index in range(8)
        for number in (1, 2)
        if (labels[index] == number).any()
    }
    for frame, mask in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert image.ReferencedSOPClassUID == CTImageStorage
        mine = expected.pop((image.ReferencedSOPInstanceUID, number))
        np.testing.assert_array_equal(mask, mine)
    assert not expected
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == derived_uid("series")
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence] == [
        derived_uid("slice", index) for index in range(8)
    ]


@pytest.mark.parametrize(("name", "spacing_mm"), [("axial", 3), ("gapped", 3), ("tilted", None)])
def test_the_spacing_is_that_of_the_stack_whichever_slices_hold_candidates(
    name: str, spacing_mm: float | None, tmp_path: Path
) -> None:
    grid = STACKS[name]()
    labels = np.zeros(grid.shape, dtype=np.int32)
    labels[[0, 1, 5], 2:5, 3:9] = 1
    write_segmentation(tmp_path, screening_of(ct_volume(tmp_path / "in", grid), labels), "1")
    shared = pydicom.dcmread(tmp_path / "seg.dcm").SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].get("SpacingBetweenSlices") == spacing_mm


def test_a_lone_slice_keeps_its_step(tmp_path: Path) -> None:
    grid = Grid(
        np.array([[-10.0, -20, 30]]), np.array([0, 0.8, 0]), np.array([0.6, 0, 0]), 8, 10,
        lone_step_lps_mm=np.array([0, 0, 5.0]),
    )  # fmt: skip
    volume = ct_volume(tmp_path / "ct", grid)
    labels = np.zeros(grid.shape, np.int32)
    labels[0, 2:5, 3:6] = 1
    write_segmentation(tmp_path, screening_of(volume, labels), "1")
    measures = pydicom.dcmread(tmp_path / "seg.dcm").SharedFunctionalGroupsSequence[0]
    assert float(measures.PixelMeasuresSequence[0].SpacingBetweenSlices) == 5


def test_a_segmentation_says_what_it_is_and_belongs_to_the_study(tmp_path: Path) -> None:
    grid = stack()
    volume = ct_volume(tmp_path / "in", grid)
    write_segmentation(tmp_path, screening_of(volume, two_lesions(grid.shape)), "0.9")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (seg.SegmentationType, seg.Modality) == ("BINARY", "SEG")
    assert {keyword: seg[keyword].value for keyword in PATIENT} == PATIENT
    assert (seg.StudyInstanceUID, seg.StudyDate) == (derived_uid("study"), "20240506")
    assert seg.SeriesInstanceUID != derived_uid("series")
    assert (seg.ContentDate, seg.ContentTime) == ("20240506", "071000")
    assert "RESEARCH ONLY - not for clinical use" in seg.SeriesDescription
    assert seg.ContentDescription == "RESEARCH ONLY - not for clinical use"
    first, second = seg.SegmentSequence
    assert first.SegmentLabel == "Lesion candidate 1"
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("headclip-mini", "0.9")
    assert algorithm.AlgorithmSource == "headclip_med"
    assert "threshold=0.5" in algorithm.AlgorithmParameters
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert first.TrackingUID != second.TrackingUID


def test_two_runs_write_the_same_bytes_whatever_the_files_are_called(tmp_path: Path) -> None:
    grid = stack()
    labels = two_lesions(grid.shape)
    one = ct_volume(tmp_path / "one", grid)
    write_segmentation(tmp_path / "one", screening_of(one, labels), "1")
    other = ct_volume(tmp_path / "other", grid)
    renamed = [
        replace(source, path=source.path.rename(source.path.with_name(f"z{9 - place}.dcm")))
        for place, source in enumerate(other.sources)
    ]
    again = replace(other, sources=tuple(renamed))
    write_segmentation(tmp_path / "other", screening_of(again, labels), "1")
    assert (tmp_path / "one/seg.dcm").read_bytes() == (tmp_path / "other/seg.dcm").read_bytes()


def test_another_model_setting_version_or_content_never_shares_a_uid(tmp_path: Path) -> None:
    grid = stack()
    volume = ct_volume(tmp_path / "in", grid)
    labels = two_lesions(grid.shape)
    moved = np.roll(labels, 1, axis=2)
    base = screening_of(volume, labels)
    runs = [
        (base, "1"),
        (base, "2"),
        (screening_of(volume, labels, weights_digest="cd" * 32), "1"),
        (replace(base, settings={"window": "bone"}), "1"),
        (replace(base, threshold=0.4), "1"),
        (screening_of(volume, moved), "1"),
    ]
    series, objects = [], []
    for screening, version in runs:
        write_segmentation(tmp_path, screening, version)
        seg = pydicom.dcmread(tmp_path / "seg.dcm")
        series.append(seg.SeriesInstanceUID)
        objects.append(seg.SOPInstanceUID)
    assert len(set(objects)) == len(runs)
    assert len(set(series)) == len(runs) - 1
    assert series[0] == series[-1]  # the series says what was computed from what


def enhanced_ct(path: Path, grid: Grid) -> Dataset:
    """Write an enhanced CT whose frames are the grid's slices, last first, after two others."""
    header = study_header(EnhancedCTImageStorage, derived_uid("enhanced"))
    frames = []
    elsewhere = grid.origins_lps_mm[:2] + np.array([0, 0, 500.0])
    origins = [*elsewhere, *grid.origins_lps_mm[::-1]]
    for origin in origins:
        position, item = Dataset(), Dataset()
        position.ImagePositionPatient = [f"{x:.10g}" for x in origin]
        item.PlanePositionSequence = Sequence([position])
        frames.append(item)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [f"{mm:.10g}" for mm in grid.pixel_spacing_mm]
    measures.SliceThickness = "2.5"
    orientation.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    header.PerFrameFunctionalGroupsSequence = Sequence(frames)
    header.NumberOfFrames, header.FrameOfReferenceUID = len(frames), derived_uid("for")
    header.Modality = "CT"
    save(with_pixels(header, grid.rows, grid.columns, len(frames)), path)
    return header


def test_some_frames_of_a_multi_frame_object_are_referenced_by_number(tmp_path: Path) -> None:
    grid = stack()
    path = tmp_path / "enhanced.dcm"
    uid = enhanced_ct(path, grid).SOPInstanceUID
    volume = volume_of(grid, [SliceSource(path, uid, 10 - index) for index in range(8)])
    labels = two_lesions(grid.shape)
    write_segmentation(tmp_path, screening_of(volume, labels), "1")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    found = points_by_segment(seg)
    true = grid.to_lps_mm(np.argwhere(labels == 1).astype(float))
    np.testing.assert_allclose(sorted_points(found[1]), sorted_points(true), atol=1e-3)
    for frame, mask in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert image.ReferencedSOPInstanceUID == uid
        assert image.ReferencedSOPClassUID == EnhancedCTImageStorage
        mine = labels[10 - image.ReferencedFrameNumber] == number
        np.testing.assert_array_equal(mask, mine)
    (reference,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert reference.ReferencedSOPInstanceUID == uid
    shared = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(shared.SliceThickness) == 2.5


def radiograph(path: Path, *, body_part: str = "CHEST") -> Volume:
    header = study_header(ComputedRadiographyImageStorage, derived_uid("radiograph"))
    header.BodyPartExamined = body_part
    header.Modality, header.ViewPosition, header.PatientOrientation = "CR", "AP", ["L", "F"]
    header.PixelSpacing = ["0", "0"]  # as a real one had
    header.NumberOfFrames = 1  # no attribute of radiographs, and yet seen on single-frame objects
    header.LossyImageCompression = "01"  # without ratio and method
    save(with_pixels(header, ROWS, COLUMNS), path)
    grid = Grid.of_pixels(slices=1, rows=ROWS, columns=COLUMNS)
    return volume_of(grid, [SliceSource(path, header.SOPInstanceUID, 1)], "CR")


def ultrasound(path: Path, frames: int) -> Volume:
    header = study_header(UltrasoundMultiFrameImageStorage, derived_uid("cine"))
    header.Modality, header.NumberOfFrames, header.FrameTime = "US", frames, "33"
    header.FrameIncrementPointer = pydicom.datadict.tag_for_keyword("FrameTime")
    save(with_pixels(header, ROWS, COLUMNS, frames), path)
    grid = Grid.of_pixels(slices=frames, rows=ROWS, columns=COLUMNS)
    sources = [SliceSource(path, header.SOPInstanceUID, frame + 1) for frame in range(frames)]
    return volume_of(grid, sources, "US")


def test_a_radiograph_gets_a_segmentation_without_a_frame_of_reference(tmp_path: Path) -> None:
    volume = radiograph(tmp_path / "cr.dcm")
    labels = two_lesions((8, ROWS, COLUMNS))[1:2]
    written = write_segmentation(tmp_path, screening_of(volume, labels), "1")
    assert tuple(written.files.values()) == ("seg.dcm",)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert "FrameOfReferenceUID" not in seg
    np.testing.assert_array_equal(seg.pixel_array.reshape(ROWS, COLUMNS), labels[0] == 1)
    image = (
        seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    )
    assert image.ReferencedSOPClassUID == ComputedRadiographyImageStorage
    assert image.SpatialLocationsPreserved == "YES"
    assert "ReferencedFrameNumber" not in image


def test_a_cine_gets_one_segmentation_for_each_frame_with_a_candidate(tmp_path: Path) -> None:
    volume = ultrasound(tmp_path / "us.dcm", 8)
    labels = np.zeros(volume.grid.shape, dtype=np.int32)
    labels[1, 2:5, 3:9], labels[6, 1:3, 2:4], labels[6, 8, 9] = 3, 1, 2
    written = write_segmentation(tmp_path, screening_of(volume, labels), "1")
    assert tuple(written.files.values()) == ("seg-002.dcm", "seg-007.dcm")
    assert written.segments == {1: ("seg-007.dcm", 1), 2: ("seg-007.dcm", 2), 3: ("seg-002.dcm", 1)}
    objects = [pydicom.dcmread(tmp_path / name) for name in written.files.values()]
    assert len({seg.SeriesInstanceUID for seg in objects}) == 1
    assert len({seg.SOPInstanceUID for seg in objects}) == 2
    for seg, frame in zip(objects, (2, 7), strict=True):
        item = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
        assert item.SourceImageSequence[0].ReferencedFrameNumber == frame
    np.testing.assert_array_equal(objects[0].pixel_array.reshape(ROWS, COLUMNS), labels[1] == 3)


def test_a_hundred_candidates_share_the_last_segment(tmp_path: Path) -> None:
    grid = stack()
    volume = ct_volume(tmp_path / "in", grid)
    labels = np.zeros(grid.shape, dtype=np.int32)
    labels[:, ::3, ::4] = np.arange(1, 129).reshape(8, 4, 4)
    written = write_segmentation(tmp_path, screening_of(volume, labels), "1")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert len(seg.SegmentSequence) == MOST_SEGMENTS
    assert seg.SegmentSequence[-1].SegmentLabel == "Lesion candidate 50 and further"
    assert written.segments[49] == ("seg.dcm", 49)
    assert written.segments[50] == written.segments[128] == ("seg.dcm", 50)
    assert len(points_by_segment(seg)[50]) == 128 - 49


BROKEN = {
    "no birth date": {"PatientBirthDate": None},
    "no patient at all": dict.fromkeys(["PatientName", "PatientID", "PatientSex", "StudyID"]),
    "a sex no standard knows": {"PatientSex": "weiblich"},
    "no dates": dict.fromkeys(["StudyDate", "ContentDate", "StudyTime", "ContentTime"]),
    "no thickness": {"SliceThickness": None},
    "lossy without a ratio": {"LossyImageCompression": "01"},
    "no body part": {"BodyPartExamined": None},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_header_that_breaks_the_standard_is_mended(name: str, tmp_path: Path) -> None:
    grid = stack()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom dislikes these values as much
        volume = ct_volume(tmp_path / "in", grid, **BROKEN[name])
    write_segmentation(tmp_path, screening_of(volume, two_lesions(grid.shape)), "1")
    assert len(points_by_segment(pydicom.dcmread(tmp_path / "seg.dcm"))) == 2


def test_a_missing_frame_of_reference_is_derived_and_said(tmp_path: Path) -> None:
    grid = stack()
    volume = ct_volume(tmp_path / "in", grid, FrameOfReferenceUID=None)
    written = write_screening(screening_of(volume, two_lesions(grid.shape)), tmp_path / "out")
    seg = pydicom.dcmread(written.folder / "seg.dcm")
    assert seg.FrameOfReferenceUID == derived_uid("frame of reference", derived_uid("series"))
    assert any("frame of reference" in note for note in written.result["notes"])  # type: ignore[attr-defined]


def test_values_of_a_patient_reach_no_warning_log_or_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(1)
    grid = stack()
    secrets = {
        "PatientName": "A=B=C=D^secret",
        "PatientBirthDate": "secret99",
        "PatientSex": "secret",
        "StudyTime": "secrets",
        "AccessionNumber": "secret far beyond sixteen characters",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = ct_volume(tmp_path / "in", grid, **secrets)
    caplog.clear()
    capfd.readouterr()
    screening = screening_of(volume, two_lesions(grid.shape))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        written = write_screening(screening, tmp_path / "out")
    assert "seg" in written.outputs
    seen = "".join([caplog.text, *capfd.readouterr(), *map(str, warned), str(written)])
    assert "secret" not in seen
    assert "secret" not in "".join(str(path) for path in (tmp_path / "out").rglob("*"))


def test_a_file_that_changed_since_it_was_read_is_not_referred_to(tmp_path: Path) -> None:
    grid = stack()
    volume = ct_volume(tmp_path / "in", grid)
    save(ct_slice(grid, 3, derived_uid("another")), volume.sources[3].path)
    screening = screening_of(volume, two_lesions(grid.shape))
    with pytest.raises(UnreadableInput, match="not the one that was read"):
        write_segmentation(tmp_path, screening, "1")
    written = write_screening(screening, tmp_path / "out")
    assert "seg" not in written.outputs
    assert any("not the one that was read" in note for note in written.notes)
    (skipped,) = (one for one in written.result["skipped_outputs"] if one["output"] == "seg")  # type: ignore[attr-defined]
    assert (skipped["output"], skipped["code"]) == ("seg", "source-changed")
    assert (written.folder / "heatmap.nii.gz").exists()


def test_a_source_without_a_valid_identifier_is_not_referred_to(tmp_path: Path) -> None:
    volume = ct_volume(tmp_path / "in", stack())
    nameless = [replace(source, sop_instance_uid=None) for source in volume.sources]
    screening = screening_of(replace(volume, sources=tuple(nameless)), two_lesions((8, 12, 15)))
    with pytest.raises(UnreadableInput, match="no valid SOP instance UID"):
        write_segmentation(tmp_path, screening, "1")


@pytest.mark.parametrize("uid", ["1.2.a", "1..2", "1.02.3", "1." * 40 + "1", "1.2\\3"])
@pytest.mark.parametrize("level", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_no_segmentation_is_written_under_an_identifier_that_is_none(
    level: str, uid: str, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = ct_volume(tmp_path / "in", stack(), **{level: uid.encode()})
    screening = screening_of(volume, two_lesions((8, ROWS, COLUMNS)))
    with pytest.raises(UnreadableInput) as caught:
        write_segmentation(tmp_path, screening, "1")
    assert caught.value.code == "invalid-uid"


def test_the_box_around_a_candidate_ends_where_it_ends() -> None:
    marked = np.zeros((4, 5), dtype=np.int32)
    assert Box.around(marked) is None
    marked[3, 0] = 7
    assert Box.around(marked) == Box(3, 4, 0, 1)
    marked[1, 4] = 2
    assert Box.around(marked) == Box(1, 4, 0, 5)


def test_a_library_that_fails_costs_the_segmentation_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AttributeError("Doe^Jane is not a name")

    monkeypatch.setattr("headclip_med.write.dicom.seg.Segmentation", broken)
    grid = stack()
    volume = ct_volume(tmp_path / "in", grid)
    written = write_screening(screening_of(volume, two_lesions(grid.shape)), tmp_path / "out")
    (note,) = written.notes
    assert "AttributeError" in note
    assert "Doe" not in note
    (skipped,) = (one for one in written.result["skipped_outputs"] if one["output"] == "seg")  # type: ignore[attr-defined]
    assert (skipped["output"], skipped["code"]) == ("seg", "bad-headers")
    assert skipped["advice"]
    assert {path.name for path in written.folder.iterdir()} == {
        "heatmap.nii.gz",
        "overlay.png",
        "result.json",
        "slices",
        "view.html",
    }


def test_the_result_of_each_kind_of_dicom_follows_the_schema(tmp_path: Path) -> None:
    volumes = {
        "ct": ct_volume(tmp_path / "ct", stack()),
        "gapped": ct_volume(tmp_path / "gapped", STACKS["gapped"]()),
        "cine": ultrasound(tmp_path / "us.dcm", 8),
    }
    for name, volume in volumes.items():
        screening = screening_of(volume, two_lesions(volume.grid.shape))
        written = write_screening(screening, tmp_path / name / "out")
        jsonschema.validate(written.result, result_schema())
        assert any(output.startswith("seg") for output in written.outputs)
        for path in written.outputs.values():
            assert (written.folder / path).exists()


def test_no_candidate_means_no_segmentation(tmp_path: Path) -> None:
    volume = ct_volume(tmp_path / "in", stack())
    nothing = np.zeros(volume.grid.shape, dtype=np.int32)
    written = write_screening(screening_of(volume, nothing), tmp_path / "out")
    assert "seg" not in written.outputs
    unasked = write_screening(
        screening_of(volume, two_lesions(nothing.shape)), tmp_path / "out", outputs=["heatmap"]
    )
    assert "seg" not in unasked.outputs


VALID_SOURCES: dict[str, Callable[[Path], Volume]] = {
    **{name: lambda path, made=made: ct_volume(path, made()) for name, made in STACKS.items()},
    "radiograph": lambda path: radiograph(path / "cr.dcm"),
    "radiograph of no known part": lambda path: radiograph(path / "cr.dcm", body_part=""),
    "cine": lambda path: ultrasound(path / "us.dcm", 8),
    "no body part": lambda path: ct_volume(path, stack(), BodyPartExamined=None),
    "nobody knows how it was de-identified": lambda path: ct_volume(
        path, stack(), DeidentificationMethod=""
    ),
    "nobody": lambda path: ct_volume(
        path, stack(), **dict.fromkeys(["PatientName", "PatientBirthDate", "StudyDate"])
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_of_the_source_is_in_the_segmentation(
    name: str, tmp_path: Path, dciodvfy: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom dislikes these values as much
        volume = ct_volume(tmp_path / "in", stack(), **FAULTS[name])
    written = write_segmentation(tmp_path, screening_of(volume, two_lesions((8, 12, 15))), "1")
    command = [dciodvfy, "-new", "seg.dcm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
    assert pydicom.dcmread(tmp_path / "seg.dcm").StudyInstanceUID == derived_uid("study")
    assert not any("Doe" in note or "1997" in note for note in written.notes)


def test_what_can_only_mean_one_thing_is_mended_and_the_rest_is_left_as_it_was(
    tmp_path: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = ct_volume(
            tmp_path / "in", stack(), StudyDate="1997.04.24", StudyTime="14:25:27.5",
            PatientSex="f", PatientAge="62 years", PatientComments="stays", StudyID="S" * 20,
        )  # fmt: skip
    written = write_segmentation(tmp_path, screening_of(volume, two_lesions((8, 12, 15))), "1")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (seg.StudyDate, seg.StudyTime, seg.PatientSex) == ("19970424", "142527.5", "F")
    assert (seg.StudyID, seg.PatientComments) == ("S" * 16, "stays")
    assert "PatientAge" not in seg
    for keyword, value in PATIENT.items():
        assert seg[keyword].value == value
    (note,) = written.notes
    assert note.endswith("PatientAge, PatientSex, StudyDate, StudyID, StudyTime.")


def test_each_segment_has_a_colour_of_its_own(tmp_path: Path) -> None:
    grid = stack()
    labels = np.zeros(grid.shape, dtype=np.int32)
    labels[:, ::3, ::4] = np.arange(1, 129).reshape(8, 4, 4)
    write_segmentation(tmp_path, screening_of(ct_volume(tmp_path / "in", grid), labels), "1")
    segments = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    lab = np.array([one.RecommendedDisplayCIELabValue for one in segments], dtype=float)
    scaled = lab / 65535 * [100, 255, 255]  # PS3.3 C.10.7.1.1
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    assert len(lab) == MOST_SEGMENTS
    assert apart[np.triu_indices(10, 1)].max() > 50
    assert apart[~np.eye(MOST_SEGMENTS, dtype=bool)].min() > 5
    assert np.diag(apart[:10, 1:11]).min() > 50, "neighbours in the list look unlike"


@pytest.mark.parametrize("name", VALID_SOURCES)
def test_an_independent_validator_finds_no_error(name: str, tmp_path: Path, dciodvfy: str) -> None:
    (tmp_path / "in").mkdir()
    volume = VALID_SOURCES[name](tmp_path / "in")
    labels = two_lesions((8, ROWS, COLUMNS))
    labels = labels[1 : 1 + volume.grid.shape[0]] if volume.grid.shape[0] == 1 else labels
    written = write_segmentation(tmp_path, screening_of(volume, labels), "1")
    for file in written.files.values():
        command = [dciodvfy, "-new", file]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if "DICOMDIR" not in line]
        assert [line for line in lines if line.startswith(("Error", "Warning"))] == []


INVALID_UIDS = ("1.2..3", "1.2.03", ".1.2", "1.2.", "1" * 65, "1.2.x", "2.25.-1", "../../x", "1 2")


@pytest.mark.parametrize("uid", INVALID_UIDS)
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_invalid_identifier_is_never_copied(tmp_path: Path, keyword: str, uid: str) -> None:
    grid = stack()
    with disable_value_validation():
        volume = ct_volume(tmp_path / "in", grid, **{keyword: uid})
    found = screening_of(volume, two_lesions(grid.shape))
    written = write_screening(found, tmp_path / "out", outputs=("seg",))
    skipped = {one["output"]: one for one in written.result["skipped_outputs"]}["seg"]  # type: ignore[attr-defined]
    assert skipped["code"] == "invalid-uid"
    assert uid not in skipped["reason"] + skipped["advice"]
    assert list((tmp_path / "out").rglob("seg.dcm")) == []


@pytest.mark.parametrize("uid", INVALID_UIDS)
def test_an_invalid_frame_of_reference_is_replaced(tmp_path: Path, uid: str) -> None:
    grid = stack()
    with disable_value_validation():
        volume = ct_volume(tmp_path / "in", grid, FrameOfReferenceUID=uid)
    written = write_screening(
        screening_of(volume, two_lesions(grid.shape)), tmp_path / "out", outputs=("seg",)
    )
    seg = pydicom.dcmread(written.folder / "seg.dcm")
    assert UID(seg.FrameOfReferenceUID).is_valid
