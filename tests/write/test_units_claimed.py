"""No output claims millimetres of what has no place in the patient, whatever kind it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, UltrasoundImageStorage

from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs
from headclip_med.settings import ScreenSettings
from tests.bright import BrightModel, write_picture
from tests.phantoms import edit, make_grid, write_phantom
from tests.read.dicom.test_multiframe import item, write_enhanced
from tests.read.dicom.test_planes import write_nuclear


def write_single(path: Path, uid: str, modality: str, change: Callable[[Dataset], object]) -> Path:
    (single,) = write_phantom(path.parent, make_grid(shape=(1, 6, 7)))

    def become(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID, dataset.Modality = uid, modality
        dataset.ImagerPixelSpacing = ["0.14", "0.1"]
        change(dataset)

    edit([single], become)
    return single


def without_place(dataset: Dataset) -> None:
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient


def radiograph(folder: Path) -> Path:
    """Its pixel spacing is calibrated, and yet of nothing at a known depth."""
    return write_single(folder / "dx", DigitalXRayImageStorageForPresentation, "DX", without_place)


def radiograph_with_plane(folder: Path) -> Path:
    """Some write the elements of a slice into a shadow."""
    return write_single(
        folder / "dx", DigitalXRayImageStorageForPresentation, "DX", lambda dataset: None
    )


def ultrasound(folder: Path) -> Path:
    """Calibrated in a region: in centimetres, of the image's own plane."""

    def change(dataset: Dataset) -> None:
        without_place(dataset)
        dataset.SequenceOfUltrasoundRegions = item(
            RegionSpatialFormat=1, RegionDataType=1, PhysicalUnitsXDirection=3,
            PhysicalUnitsYDirection=3, PhysicalDeltaX=0.05, PhysicalDeltaY=0.05,
        )  # fmt: skip

    return write_single(folder / "us", UltrasoundImageStorage, "US", change)


def ultrasound_volume(folder: Path) -> Path:
    """Its frame is the probe's."""
    path = write_enhanced(folder / "volume", make_grid())

    def become(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.6.2", "US"
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationVolumeSequence = item(ImageOrientationVolume=[1, 0, 0, 0, 1, 0])
        del shared.PlaneOrientationSequence
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            place = list(frame.PlanePositionSequence[0].ImagePositionPatient)
            frame.PlanePositionVolumeSequence = item(ImagePositionVolume=place)
            del frame.PlanePositionSequence

    edit([path], become)
    return path


def projections(folder: Path) -> Path:
    return write_nuclear(folder / "nm.dcm", spacing="4.5", kind="TOMO")


def photograph(folder: Path) -> Path:
    write_picture(folder / "photo.png", 200)
    return folder / "photo.png"


KINDS = (radiograph, radiograph_with_plane, ultrasound, ultrasound_volume, projections, photograph)


def named(value: object, name: str = "") -> list[tuple[str, object]]:
    """All values of a JSON document, by their names."""
    if isinstance(value, dict):
        return [pair for key, part in value.items() for pair in named(part, key)]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [pair for part in value for pair in named(part, name)]
    return [(name, value)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_output_claims_millimetres(kind: Callable[[Path], Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ScreenSettings(threshold=0.01, minimum_size=0.0)
    screener = Screener(model=BrightModel(), out=out, settings=settings)
    (tmp_path / "in").mkdir()
    (row,) = screen_inputs(find_inputs([kind(tmp_path / "in")]), screener).rows
    assert row.lesions
    result = json.loads((out / row.folder / "result.json").read_text("utf-8"))
    told = {"detector_spacing_mm", "volume_spacing_mm"}  # say themselves of what they are
    claims = {name: value for name, value in named(result) if name.endswith(("_mm", "_mm3"))}
    assert {name for name, value in claims.items() if value is not None} <= told
    assert {one["unit"] for one in result["lesions"]} == {"px"}
    assert {one["frame"] for one in result["lesions"]} == {"column_row_slice"}
    header = nibabel.load(out / row.folder / "heatmap.nii.gz").header
    assert header.get_xyzt_units() == ("unknown", "unknown")
    assert header.get_zooms() == (1, 1, 1)
    assert int(header["sform_code"]) == int(header["qform_code"]) == 0
    segmentations = [pydicom.dcmread(one) for one in (out / row.folder).glob("seg*.dcm")]
    assert bool(segmentations) == (kind is not photograph)
    for one in segmentations:
        words = {element.keyword for element in one.iterall()}
        assert not words & {"PixelMeasuresSequence", "PixelSpacing", "PlanePositionSequence"}
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert {line["size_unit"] for line in csv.DictReader(file)} == {"px"}
    page = (out / "index.html").read_text("utf-8")
    assert "mm³" not in page
    assert "LPS, mm" not in page


@pytest.mark.parametrize("kind", [radiograph, radiograph_with_plane])
def test_spacing_at_the_detector_is_named(kind: Callable[[Path], Path], tmp_path: Path) -> None:
    (one,) = find_inputs([kind(tmp_path)]).readable
    assert one.read().reading.detector_spacing_mm == (0.14, 0.1)
    np.testing.assert_array_equal(one.read().grid.pixel_spacing_mm, (1, 1))
