"""Segmentations of generated objects of every kind of image: valid, whatever faults these have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    OphthalmicPhotography8BitImageStorage,
    OphthalmicPhotography16BitImageStorage,
    PositronEmissionTomographyImageStorage,
    RTImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLEndoscopicImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
    XRay3DAngiographicImageStorage,
    XRay3DCraniofacialImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from headclip_med.geometry import Grid
from headclip_med.read import find_inputs
from headclip_med.volume import Volume
from headclip_med.write import write_screening
from headclip_med.write.dicom.source import quiet
from headclip_med.write.dicom.spacing import common_step_mm
from tests.phantoms import edit, make_grid, write_phantom
from tests.write.dicom.faults import FAULTS, item
from tests.write.dicom.places import points_by_segment, sorted_points
from tests.write.dicom.test_seg import (
    STACKS,
    ct_volume,
    screening_of,
    stack,
    two_lesions,
    write_segmentation,
)
from tests.write.dicom.test_seg_everywhere import (
    complaints,
    points,
    read_back,
    read_by_dcmqi,
    screened,
)


class Kind(NamedTuple):
    """One kind of image object.

    ``form`` is ``slices`` (a file each, in the patient), ``frames`` (functional groups, in the
    patient), ``nuclear`` (placed by its detector), ``flat`` (no place) or ``film`` (several flat
    frames).
    """

    sop_class: str
    modality: str
    form: str = "flat"
    is_colour: bool = False


KINDS = {
    "CT": Kind(CTImageStorage, "CT", "slices"),
    "MR": Kind(MRImageStorage, "MR", "slices"),
    "PT": Kind(PositronEmissionTomographyImageStorage, "PT", "slices"),
    "secondary capture in the patient": Kind(SecondaryCaptureImageStorage, "OT", "slices"),
    "NM": Kind(NuclearMedicineImageStorage, "NM", "nuclear"),
    "NM projections": Kind(NuclearMedicineImageStorage, "NM", "film"),
    "enhanced CT": Kind(EnhancedCTImageStorage, "CT", "frames"),
    "enhanced MR": Kind(EnhancedMRImageStorage, "MR", "frames"),
    "enhanced MR in colour": Kind(EnhancedMRColorImageStorage, "MR", "frames", True),
    "enhanced PT": Kind(EnhancedPETImageStorage, "PT", "frames"),
    "converted CT": Kind(LegacyConvertedEnhancedCTImageStorage, "CT", "frames"),
    "converted MR": Kind(LegacyConvertedEnhancedMRImageStorage, "MR", "frames"),
    "converted PT": Kind(LegacyConvertedEnhancedPETImageStorage, "PT", "frames"),
    "XA volume": Kind(XRay3DAngiographicImageStorage, "XA", "frames"),
    "craniofacial volume": Kind(XRay3DCraniofacialImageStorage, "DX", "frames"),
    "tomosynthesis": Kind(BreastTomosynthesisImageStorage, "MG", "frames"),
    "CR": Kind(ComputedRadiographyImageStorage, "CR"),
    "DX": Kind(DigitalXRayImageStorageForPresentation, "DX"),
    "DX for processing": Kind(DigitalXRayImageStorageForProcessing, "DX"),
    "MG": Kind(DigitalMammographyXRayImageStorageForPresentation, "MG"),
    "MG for processing": Kind(DigitalMammographyXRayImageStorageForProcessing, "MG"),
    "IO": Kind(DigitalIntraOralXRayImageStorageForPresentation, "IO"),
    "RTIMAGE": Kind(RTImageStorage, "RTIMAGE"),
    "XA": Kind(XRayAngiographicImageStorage, "XA", "film"),
    "XA, one frame": Kind(XRayAngiographicImageStorage, "XA"),
    "RF": Kind(XRayRadiofluoroscopicImageStorage, "RF", "film"),
    "enhanced XA": Kind(EnhancedXAImageStorage, "XA", "film"),
    "enhanced RF": Kind(EnhancedXRFImageStorage, "RF", "film"),
    "US": Kind(UltrasoundImageStorage, "US"),
    "US in colour": Kind(UltrasoundImageStorage, "US", "flat", True),
    "US film": Kind(UltrasoundMultiFrameImageStorage, "US", "film"),
    "US film in colour": Kind(UltrasoundMultiFrameImageStorage, "US", "film", True),
    "secondary capture": Kind(SecondaryCaptureImageStorage, "OT"),
    "secondary capture in colour": Kind(SecondaryCaptureImageStorage, "OT", "flat", True),
    "secondary captures, bytes": Kind(
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage, "OT", "film"
    ),
    "secondary captures, words": Kind(
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "OT", "film"
    ),
    "secondary captures, colour": Kind(
        MultiFrameTrueColorSecondaryCaptureImageStorage, "OT", "film", True
    ),
    "photograph": Kind(VLPhotographicImageStorage, "XC", "flat", True),
    "endoscopy": Kind(VLEndoscopicImageStorage, "ES", "flat", True),
    "microscopy": Kind(VLMicroscopicImageStorage, "GM", "flat", True),
    "fundus": Kind(OphthalmicPhotography8BitImageStorage, "OP", "flat", True),
    "fundus, film": Kind(OphthalmicPhotography16BitImageStorage, "OP", "film"),
}

ODD_IMAGES: tuple[dict[str, object], ...] = (
    {},
    {"PatientOrientation": ["left", "down"]},
    {"PatientOrientation": ["A"]}, {"PatientOrientation": ["LAR", "FF"]},
    {"PatientOrientation": ["L", "R"]}, {"PatientOrientation": ["Le", "D", "V"]},
    {"PatientOrientation": b"L\\F\\"},
    {"PatientOrientation": ["", ""], "Laterality": "left"},
    {"BodyPartExamined": "", "Laterality": "R"},
    {"BodyPartExamined": "HAND", "ImageLaterality": "L"},
    {"LossyImageCompression": "01"},
    {"LossyImageCompression": "01", "LossyImageCompressionRatio": ["10", "7.5"],
     "LossyImageCompressionMethod": ["ISO_10918_1", "ISO_15444_1"]},
    {"LossyImageCompression": "01", "LossyImageCompressionRatio": "0",
     "LossyImageCompressionMethod": "JPEG"},
    {"LossyImageCompression": "yes"},
    {"SliceThickness": "-5"}, {"SliceThickness": "0.000012345678901234"}, {"SliceThickness": ""},
    {"PositionReferenceIndicator": "sternal notch, and whatever else may be written at length"},
    {"ContentDate": "2024-05-06", "ContentTime": "about noon"},
    {"FrameOfReferenceUID": ""},
)  # fmt: skip
"""What the image itself says that a segmentation of it might repeat."""


def write_kind(folder: Path, kind: Kind, **changes: object) -> None:
    """Write a small series of a kind, with a header changed in all of its files."""
    count = 1 if kind.form == "flat" else 4
    paths = write_phantom(folder, make_grid(shape=(count, 24, 20)))
    if kind.form in ("frames", "nuclear", "film"):
        paths = (_joined(paths, kind.form),)

    def become(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(kind.sop_class)
        dataset.Modality, dataset.Manufacturer = kind.modality, "a maker"
        if kind.form in ("flat", "film"):
            for name in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
                         "PixelSpacing", "PositionReferenceIndicator"):  # fmt: skip
                dataset.pop(name, None)
        if kind.is_colour:
            _coloured(dataset)
        for keyword, value in changes.items():
            _set(dataset, keyword, value)

    with quiet():
        edit(paths, become)


def _set(dataset: Dataset, keyword: str, value: object) -> None:
    if isinstance(value, bytes):
        vr, tag = dictionary_VR(keyword), tag_for_keyword(keyword)
        dataset[keyword] = RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True)
    elif value is None:
        dataset.pop(keyword, None)
    else:
        setattr(dataset, keyword, value)


def _joined(paths: tuple[Path, ...], form: str) -> Path:
    """Put single slices into one object."""
    slices = [pydicom.dcmread(path) for path in paths]
    whole, places = slices[0], [one.ImagePositionPatient for one in slices]
    whole.PixelData = b"".join(one.PixelData for one in slices)
    whole.NumberOfFrames = len(slices)
    if form == "nuclear":
        whole.DetectorInformationSequence = [
            item(
                ImagePositionPatient=places[0],
                ImageOrientationPatient=whole.ImageOrientationPatient,
            )
        ]
        whole.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
        whole.SpacingBetweenSlices, whole.SliceVector = "3", [1, 2, 3, 4]
        del whole.ImagePositionPatient, whole.ImageOrientationPatient
    if form == "frames":
        whole.SharedFunctionalGroupsSequence = [
            item(
                PlaneOrientationSequence=[
                    item(ImageOrientationPatient=whole.ImageOrientationPatient)
                ],
                PixelMeasuresSequence=[
                    item(PixelSpacing=whole.PixelSpacing, SliceThickness=whole.SliceThickness)
                ],
            )
        ]
        whole.PerFrameFunctionalGroupsSequence = [
            item(PlanePositionSequence=[item(ImagePositionPatient=place)]) for place in places
        ]
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            del whole[name]
    for path in paths[1:]:
        path.unlink()
    whole.save_as(paths[0])
    return paths[0]


def _coloured(dataset: Dataset) -> None:
    grey = np.frombuffer(dataset.PixelData, "<u2").astype(np.uint8)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration, dataset.PixelRepresentation = 0, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = np.repeat(grey, 3).tobytes()
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        dataset.pop(name, None)


def faulty(number: int) -> Iterator[dict[str, object]]:
    """Four headers for a kind: sound, and three with faults, others for every kind."""
    yield {}
    faults, odd = cycle(FAULTS.values()), cycle(ODD_IMAGES)
    pairs = [(next(faults), next(odd)) for _ in range(3 * len(KINDS))]
    for patient, image in pairs[3 * number : 3 * number + 3]:
        yield {**patient, **image}


@pytest.mark.slow  # 168 objects, two other programs on each
@pytest.mark.parametrize(("number", "name"), list(enumerate(KINDS)), ids=list(KINDS))
def test_the_segmentation_of_any_kind_of_image_is_valid(
    number: int, name: str, tmp_path: Path, dciodvfy: str
) -> None:
    kind = KINDS[name]
    for variant, changes in enumerate(faulty(number)):
        folder = tmp_path / str(variant)
        write_kind(folder / "in", kind, **changes)
        (one,) = find_inputs([folder / "in"]).readable
        volume = one.read()
        assert volume.grid.is_patient == (kind.form in ("slices", "frames", "nuclear"))
        written = write_screening(screened(volume), folder / "out", outputs=["seg"])
        objects = [path for path in written.outputs.values() if path.endswith(".dcm")]
        assert objects, (name, changes, written.result["skipped_outputs"])
        for path in objects:
            assert complaints(dciodvfy, written.folder / path) == [], (name, changes)
            if volume.grid.is_patient:
                who = read_back(written.folder / path, volume, folder / "dcmqi")
                assert who == "by dcmqi"


@pytest.mark.parametrize("name", [name for name in STACKS if name != "tilted"])
def test_every_stack_at_right_angles_is_read_back_exactly(name: str, tmp_path: Path) -> None:
    volume, found = _read_by_dcmqi(STACKS[name](), tmp_path)
    for number, segment in found.items():
        np.testing.assert_allclose(segment, _marked(volume, number), atol=0.001)
    assert len(found) == 2


UNEVEN_MM: dict[str, list[float]] = {
    "a slice is missing": [0, 3, 6, 12, 15, 18, 21, 24],
    "from the head down": [0, -3, -6, -12, -15, -18, -21, -24],
    "thin slices at the base": [0, 1.5, 3, 6, 9, 12, 15, 18],
    "steps of two scans": [0, 1.08, 2.16, 6.16, 10.16, 14.16, 18.16, 22.16],
    "nearly even": [0, 3, 6.004, 9, 12, 15.004, 18, 24],
}


@pytest.mark.parametrize("thickness_mm", ["1", "5", None])
@pytest.mark.parametrize("name", UNEVEN_MM)
def test_uneven_slices_are_read_back_exactly_whatever_thickness_they_claim(
    name: str, thickness_mm: str | None, tmp_path: Path
) -> None:
    grid = stack()
    origins = grid.origins_lps_mm[:1] + np.outer(UNEVEN_MM[name], [0, 0, 1.0])
    volume, found = _read_by_dcmqi(
        replace(grid, origins_lps_mm=origins), tmp_path, SliceThickness=thickness_mm
    )
    for number, segment in found.items():
        np.testing.assert_allclose(segment, _marked(volume, number), atol=0.005)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("places_mm", "step_mm"),
    [
        ([0, 2, 4, 6], 2),
        ([6, 4, 0, 2], 2),
        ([0, 2, 6], 2),
        ([0, 2, 5], 1),
        ([0, 1.08, 5.08], 5.08 / 33),  # and 7 of these are 1.0776
        ([0, 0.5, 3000], None),
        ([0, 0, 3], None),
        ([0], None),
    ],
)
def test_the_common_step_is_the_largest_of_which_all_are_whole_numbers_apart(
    places_mm: list[float], step_mm: float | None
) -> None:
    grid = replace(stack(), origins_lps_mm=np.outer(places_mm, [0, 0, 1.0]))
    found = common_step_mm(grid)
    assert found == (None if step_mm is None else pytest.approx(step_mm))


@pytest.mark.parametrize("lean_mm", [0.02, 0.1, 1.2])
def test_what_dcmqi_drops_of_a_leaning_stack_is_the_lean_and_nothing_else(
    lean_mm: float, tmp_path: Path
) -> None:
    volume, found = _read_by_dcmqi(stack(step=(0, lean_mm, 3.0)), tmp_path)
    seg = points_by_segment(pydicom.dcmread(tmp_path / "seg.dcm"))
    for number, segment in found.items():
        true = _marked(volume, number)
        np.testing.assert_allclose(sorted_points(seg[number]), true, atol=0.001)
        first = min(origin[2] for origin in volume.grid.origins_lps_mm[1:2])  # the first marked
        dropped = (true[:, 2] - first) / 3.0 * lean_mm
        np.testing.assert_allclose(segment[:, [0, 2]], true[:, [0, 2]], atol=0.001)
        np.testing.assert_allclose(segment[:, 1], true[:, 1] - dropped, atol=0.001)
    assert len(found) == 2


def test_dcmqi_reads_nothing_of_a_stack_that_leans_towards_its_first_row(tmp_path: Path) -> None:
    _, found = _read_by_dcmqi(stack(step=(0, -1.2, 3.0)), tmp_path)
    assert found == {}


def _read_by_dcmqi(
    grid: Grid, folder: Path, **changes: object
) -> tuple[Volume, dict[int, np.ndarray]]:
    """Write a segmentation of a stack, and give where another program sees each segment."""
    volume = ct_volume(folder / "in", grid, **changes)
    write_segmentation(folder, screening_of(volume, two_lesions(grid.shape)), "1")
    images = read_by_dcmqi(folder / "seg.dcm", folder / "dcmqi")
    return volume, {number: points(image) for number, image in enumerate(images, start=1)}


def _marked(volume: Volume, number: int) -> np.ndarray:
    where = np.argwhere(two_lesions(volume.grid.shape) == number)
    return sorted_points(volume.grid.to_lps_mm(where.astype(float)))
