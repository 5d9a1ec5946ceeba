"""Label maps, fractions of the heatmap and parametric maps: read back exactly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from highdicom.pm import ParametricMap
from highdicom.seg import segread

from headclip_med.findings import Screening
from headclip_med.volume import Heatmap
from headclip_med.write import WrittenScreening, write_screening
from headclip_med.write.dicom.source import derived_uid
from tests.write.dicom.places import sorted_points
from tests.write.dicom.test_seg import STACKS, ct_volume, screening_of, two_lesions
from tests.write.dicom.test_seg_everywhere import points, read_by_dcmqi

EVEN = ["axial", "sagittal", "oblique", "reversed"]
UIDS = [derived_uid("slice", index) for index in range(8)]


def noisy(name: str, folder: Path) -> Screening:
    """Two candidates under a heatmap whose every voxel has a value of its own."""
    grid = STACKS[name]()
    screening = screening_of(ct_volume(folder / "in", grid), two_lesions(grid.shape))
    count = int(np.prod(grid.shape))
    heat = np.arange(count, dtype=np.float32).reshape(grid.shape) / np.float32(count)
    return replace(screening, heatmap=Heatmap(heat, grid))


def written(name: str, output: str, folder: Path) -> tuple[Screening, WrittenScreening]:
    screening = noisy(name, folder)
    return screening, write_screening(screening, folder / "out", outputs=[output])


@pytest.mark.parametrize("name", STACKS)
def test_highdicom_reads_a_label_map_exactly(name: str, tmp_path: Path) -> None:
    screening, done = written(name, "seg-labelmap", tmp_path)
    seg = segread(done.folder / "seg-labelmap.dcm")
    assert seg.SegmentationType == "LABELMAP"
    found = seg.get_pixels_by_source_instance(UIDS[1:3] + UIDS[4:7], combine_segments=True)
    np.testing.assert_array_equal(found, screening.labels[[1, 2, 4, 5, 6]])
    assert all(one["segment"] is None for one in done.result["lesions"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", EVEN)
def test_dcmqi_reads_a_label_map_exactly(name: str, tmp_path: Path) -> None:
    screening, done = written(name, "seg-labelmap", tmp_path)
    (image,) = read_by_dcmqi(done.folder / "seg-labelmap.dcm", tmp_path / "dcmqi")
    values = sitk.GetArrayFromImage(image)
    for number in (1, 2):
        marked = sitk.GetImageFromArray((values == number).astype(np.uint8))
        marked.CopyInformation(image)
        true = np.argwhere(screening.labels == number).astype(float)
        expected = sorted_points(screening.volume.grid.to_lps_mm(true))
        np.testing.assert_allclose(points(marked), expected, atol=0.001)


def test_a_candidate_is_the_same_one_in_both_forms_and_has_a_colour_of_its_own(
    tmp_path: Path,
) -> None:
    screening = noisy("axial", tmp_path)
    done = write_screening(screening, tmp_path / "out", outputs=["seg", "seg-labelmap"])
    binary, labels = (
        pydicom.dcmread(done.folder / f"{name}.dcm") for name in ("seg", "seg-labelmap")
    )
    of_labels = [one for one in labels.SegmentSequence if one.SegmentNumber > 0]
    for one, other in zip(binary.SegmentSequence, of_labels, strict=True):
        assert one.TrackingUID == other.TrackingUID
        assert one.RecommendedDisplayCIELabValue == other.RecommendedDisplayCIELabValue
    colours = {tuple(one.RecommendedDisplayCIELabValue) for one in binary.SegmentSequence}
    assert len(colours) == 2
    assert binary.SOPInstanceUID != labels.SOPInstanceUID
    assert binary.SeriesInstanceUID != labels.SeriesInstanceUID


@pytest.mark.parametrize("name", STACKS)
def test_highdicom_reads_fractions_of_the_heatmap_in_255_steps(name: str, tmp_path: Path) -> None:
    screening, done = written(name, "seg-fractional", tmp_path)
    seg = segread(done.folder / "seg-fractional.dcm")
    assert (seg.SegmentationType, seg.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    found = seg.get_pixels_by_source_instance(UIDS, rescale_fractional=True)[..., 0]
    assert np.abs(found - screening.heatmap.values).max() <= 0.5 / 255 + 1e-6
    (segment,) = seg.SegmentSequence
    assert "not a calibrated probability" in segment.SegmentDescription
    assert "RESEARCH ONLY" in segment.SegmentDescription


def test_a_heatmap_that_is_0_everywhere_has_no_fractions(tmp_path: Path) -> None:
    screening = noisy("axial", tmp_path)
    nothing = replace(
        screening, heatmap=Heatmap(np.zeros((8, 12, 15), np.float32), STACKS["axial"]())
    )
    done = write_screening(nothing, tmp_path / "out", outputs=["seg-fractional"])
    assert not (done.folder / "seg-fractional.dcm").exists()
    codes = {one["output"]: one["code"] for one in done.result["skipped_outputs"]}  # type: ignore[attr-defined]
    assert codes["seg-fractional"] == "empty-heatmap"


@pytest.mark.parametrize("name", STACKS)
def test_a_parametric_map_holds_every_value_at_its_place_and_ascends(
    name: str, tmp_path: Path
) -> None:
    screening, done = written(name, "pm", tmp_path)
    read = ParametricMap.from_dataset(pydicom.dcmread(done.folder / "pm.dcm"))
    grid, heights = screening.volume.grid, []
    pixels = read.pixel_array
    for frame, values in zip(read.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        index = UIDS.index(source.ReferencedSOPInstanceUID)
        np.testing.assert_array_equal(values, screening.heatmap.values[index])
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(place, grid.origins_lps_mm[index], atol=1e-6)
        heights.append(place @ grid.normal_lps)
    assert len(heights) == 8
    assert (np.diff(heights) > 0).all()
    shared = read.SharedFunctionalGroupsSequence[0]
    assert shared.FrameAnatomySequence[0].FrameLaterality == "U"
    (mapping,) = shared.RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("130404", "DCM")
    assert read.ContentQualification == "RESEARCH"
    assert any("misplace" in note for note in done.notes) == (name not in EVEN)


@pytest.mark.parametrize("name", EVEN)
def test_dcmqi_reads_a_parametric_map_exactly(name: str, tmp_path: Path) -> None:
    screening, done = written(name, "pm", tmp_path)
    out = tmp_path / "dcmqi"
    out.mkdir()
    program = Path(sys.executable).with_name("paramap2itkimage")
    command = [program, "--inputDICOM", done.folder / "pm.dcm", "--outputDirectory", out,
               "--outputType", "nrrd"]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True)
    (path,) = out.glob("*.nrrd")
    image = sitk.ReadImage(path)
    values = sitk.GetArrayFromImage(image).reshape(-1)
    index = np.indices(image.GetSize()[::-1]).reshape(3, -1).T
    lps = [image.TransformIndexToPhysicalPoint(tuple(map(int, one[::-1]))) for one in index]
    heat = screening.heatmap.values.reshape(-1)
    everywhere = np.indices(screening.labels.shape).reshape(3, -1).T.astype(float)
    expected = screening.volume.grid.to_lps_mm(everywhere)[np.argsort(heat)]
    np.testing.assert_array_equal(np.sort(values), np.sort(heat))
    np.testing.assert_allclose(np.array(lps)[np.argsort(values)], expected, atol=0.001)
