"""Where frames lie: rounded and comma numbers, lone slices, detectors, pages of tiles."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, NuclearMedicineImageStorage

from headclip_med.errors import UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.read import find_inputs, read_volume
from headclip_med.write import folder_of
from tests.phantoms import edit, make_grid, make_voxels, read_at, write_phantom
from tests.read.dicom.test_multiframe import item, write_enhanced

Change = Callable[[Dataset, int], object]


@pytest.mark.parametrize("degrees", [30, 12, -41])
@pytest.mark.parametrize("decimals", [2, 3])
def test_rounded_cosines_are_normalised_and_told(
    tmp_path: Path, degrees: float, decimals: int
) -> None:
    angle = np.radians(degrees)
    across, normal = (np.cos(angle), 0, np.sin(angle)), (-np.sin(angle), 0, np.cos(angle))
    paths = write_phantom(tmp_path, make_grid(across=across, step_lps_mm=5 * np.array(normal)))
    written = [f"{cosine:.{decimals}f}" for cosine in (*across, 0, 1, 0)]
    edit(paths, lambda dataset, _: setattr(dataset, "ImageOrientationPatient", written))
    volume = read_volume(tmp_path)
    assert volume.grid.is_patient
    assert len(volume.voxels) == 5
    assert volume.grid.pixel_spacing_mm == pytest.approx((0.8, 0.5), abs=1e-12)
    np.testing.assert_allclose(volume.grid.slice_thicknesses_mm, 5, atol=0.01)
    length = np.linalg.norm([float(cosine) for cosine in written[:3]])
    assert volume.reading.mended_orientation == (abs(length**2 - 1) > 4e-3)
    assert volume.reading.tilt_degrees is None


def put(path: Path, keyword: str, text: str) -> None:
    """Put a text of the same length into the place of an element's numbers."""
    old = "\\".join(map(str, np.atleast_1d(read_at(path)[keyword].value))).encode()
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, text.ljust(len(old)).encode()))


def test_decimal_commas_are_read_and_told(tmp_path: Path) -> None:
    grid = make_grid(origin_lps_mm=(-20.25, -30.5, 40.75))
    for index, path in enumerate(write_phantom(tmp_path, grid)):
        place = "\\".join(f"{x:g}" for x in grid.origins_lps_mm[index])
        put(path, "ImagePositionPatient", place.replace(".", ","))
        put(path, "PixelSpacing", "0,8\\0,5")
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.grid.origins_lps_mm, grid.origins_lps_mm)
    assert volume.grid.pixel_spacing_mm == (0.8, 0.5)
    assert volume.reading.has_decimal_commas


@pytest.mark.parametrize("spacing", ["0,8,5\\0,5", "1.000,8\\0,5", "0,8\\wide"])
def test_numbers_that_no_comma_explains_are_no_geometry(tmp_path: Path, spacing: str) -> None:
    (path,) = write_phantom(tmp_path, make_grid(shape=(1, 6, 7)))
    edit([path], setting(PixelSpacing=["0.8123456789", "0.5123456789"]))
    put(path, "PixelSpacing", spacing)
    assert not read_volume(path).grid.is_patient


THICK: dict[str, tuple[dict[str, object], float]] = {
    "thickness": ({"SliceThickness": "5"}, 5),
    "spacing": ({"SliceThickness": "5", "SpacingBetweenSlices": "6"}, 6),
    "negative spacing": ({"SliceThickness": "5", "SpacingBetweenSlices": "-6"}, 6),
    "no spacing": ({"SliceThickness": "5", "SpacingBetweenSlices": "0"}, 5),
    "none": ({"SliceThickness": None}, 1),
    "absurd": ({"SliceThickness": "123456"}, 1),
}


@pytest.mark.parametrize("said", THICK)
def test_a_lone_slice_is_as_thick_as_its_header_says(tmp_path: Path, said: str) -> None:
    elements, thick_mm = THICK[said]
    (path,) = write_phantom(tmp_path, make_grid(shape=(1, 6, 7)))
    edit([path], lambda dataset, _: [setattr(dataset, *one) for one in elements.items()])
    volume = read_volume(path)
    assert volume.grid.slice_thicknesses_mm.tolist() == [pytest.approx(thick_mm)]
    assert volume.grid.voxel_volumes_mm3.tolist() == [pytest.approx(thick_mm * 0.4)]
    np.testing.assert_allclose(volume.grid.affine_lps[:3, 0], [0, 0, thick_mm])
    np.testing.assert_allclose(volume.grid.affine_ras[:3, 2], [0, 0, thick_mm])
    assert volume.reading.lacks_thickness == (said in ("none", "absurd"))


def test_a_lone_frame_is_as_thick_as_its_measures_say(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(shape=(1, 6, 7)))

    def change(dataset: Dataset, _: int) -> None:
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness, measures.SpacingBetweenSlices = "4", "4.4"
        del dataset.SliceThickness

    edit([path], change)
    assert read_volume(path).grid.slice_thicknesses_mm.tolist() == [4.4]


def test_lone_slices_that_differ_in_thickness_alone_have_a_folder_each(tmp_path: Path) -> None:
    folders = set()
    for thickness in ("2", "5"):
        (path,) = write_phantom(tmp_path / thickness, make_grid(shape=(1, 6, 7)))
        edit([path], setting(SliceThickness=thickness, SeriesInstanceUID=""))
        folders.add(folder_of(read_volume(path)))
    assert len(folders) == 2


def test_equal_images_of_two_patients_have_a_folder_each(tmp_path: Path) -> None:
    for patient in ("A", "B"):
        paths = write_phantom(tmp_path / patient)
        edit(paths, setting(PatientID=patient, PatientName=f"{patient}^Test"))
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    volumes = [one.read() for one in inputs.readable]
    assert len({volume.content_digest for volume in volumes}) == 2
    folders = {folder_of(volume).as_posix() for volume in volumes}
    assert len(folders) == 2
    assert [folder_of(one.read()) for one in find_inputs([tmp_path]).readable] == [
        folder_of(volume) for volume in volumes
    ]


def setting(**values: object) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def write_nuclear(path: Path, *, spacing: str, kind: str = "RECON TOMO", times: int = 1) -> Path:
    """Write a reconstruction of four slices, stored from the last to the first."""
    single = write_phantom(path.parent / "single", make_grid(shape=(1, 3, 4)))[0]
    frames = np.arange(4 * times * 12, dtype="<u2").reshape(-1, 3, 4)

    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
            NuclearMedicineImageStorage
        )
        dataset.Modality, dataset.ImageType = "NM", ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
        plane = {key: dataset[key].value for key in ("ImagePositionPatient",
                                                     "ImageOrientationPatient")}  # fmt: skip
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
        dataset.DetectorInformationSequence = item(**plane)
        dataset.SpacingBetweenSlices = spacing
        dataset.NumberOfFrames = 4 * times
        dataset.SliceVector = [4, 3, 2, 1] * times
        dataset.TimeSlotVector = [slot + 1 for slot in range(times) for _ in range(4)]
        dataset.RescaleIntercept, dataset.PixelRepresentation = "0", 0
        dataset.PixelData = frames.tobytes()

    edit([single], change)
    return Path(single.replace(path))


@pytest.mark.parametrize(("spacing", "order"), [("4.5", [3, 2, 1, 0]), ("-4.5", [0, 1, 2, 3])])
def test_a_nuclear_reconstruction_lies_where_its_detector_says(
    tmp_path: Path, spacing: str, order: list[int]
) -> None:
    volume = read_volume(write_nuclear(tmp_path / "nm.dcm", spacing=spacing))
    step = float(spacing)
    expected = sorted(40 + step * index for index in range(4))
    np.testing.assert_allclose(volume.grid.origins_lps_mm[:, 2], expected)
    assert volume.voxels[:, 0, 0].tolist() == [12 * frame for frame in order]
    assert [source.frame for source in volume.sources] == [frame + 1 for frame in order]


def test_the_gates_of_a_nuclear_reconstruction_are_parts(tmp_path: Path) -> None:
    inputs = find_inputs([write_nuclear(tmp_path / "nm.dcm", spacing="4.5", times=3)])
    assert [one.slices for one in inputs.readable] == [4, 4, 4]


def test_nuclear_projections_lie_nowhere(tmp_path: Path) -> None:
    volume = read_volume(write_nuclear(tmp_path / "nm.dcm", spacing="4.5", kind="TOMO"))
    assert not volume.grid.is_patient
    assert len(volume.voxels) == 4


def test_spacing_at_the_detector_is_named_and_no_size_in_the_patient(tmp_path: Path) -> None:
    (path,) = write_phantom(tmp_path, make_grid(shape=(1, 6, 7)))

    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID, dataset.Modality = DigitalXRayImageStorageForPresentation, "DX"
        del dataset.PixelSpacing, dataset.ImagePositionPatient, dataset.ImageOrientationPatient
        dataset.ImagerPixelSpacing = ["0.14", "0.1"]

    edit([path], change)
    volume = read_volume(path)
    assert not volume.grid.is_patient
    assert volume.reading.detector_spacing_mm == (0.14, 0.1)
    assert any("0.14, 0.1 mm at the detector" in note for note in volume.notes)


def test_a_tomosynthesis_lies_where_its_frames_say(tmp_path: Path) -> None:
    grid = make_grid(across=(0, 1, 0), down=(0, 0, -1), step_lps_mm=(1, 0, 0))
    path = write_enhanced(tmp_path / "dbt", grid)
    edit([path], setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.3", Modality="MG"))
    volume = read_volume(path)
    np.testing.assert_allclose(np.sort(volume.grid.origins_lps_mm[:, 0]), [-20, -19, -18, -17, -16])


def test_an_ultrasound_volume_is_in_order_in_its_own_frame(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "us", make_grid(), order=[3, 0, 4, 1, 2])

    def become_ultrasound(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.6.2", "US"
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationVolumeSequence = item(ImageOrientationVolume=[1, 0, 0, 0, 1, 0])
        del shared.PlaneOrientationSequence
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            place = frame.PlanePositionSequence[0].ImagePositionPatient
            frame.PlanePositionVolumeSequence = item(ImagePositionVolume=list(place))
            del frame.PlanePositionSequence

    edit([path], become_ultrasound)
    volume = read_volume(path)
    assert [source.frame for source in volume.sources] == [2, 4, 5, 1, 3]
    assert not volume.grid.is_patient
    assert volume.grid.pixel_spacing_mm == (1, 1)
    assert volume.reading.volume_spacing_mm == pytest.approx((3, 0.8, 0.5))


def csa(**tags: list[str]) -> bytes:
    """Write Siemens' header of an image (SV10), as its scanners do."""
    content = struct.pack("<4s4sII", b"SV10", b"\4\3\2\1", len(tags), 77)
    for name, values in tags.items():
        head = (name.encode(), len(values), b"FD", 4, len(values), 77)
        content += struct.pack("<64si4siii", *head)
        for value in values:
            text = value.encode() + b"\0"
            content += struct.pack("<4i", len(text), len(text), 77, len(text))
            content += text.ljust(-(-len(text) // 4) * 4, b"\0")
    return content


def write_page(path: Path, change: Change, *, slices: int = 5, side: int = 3) -> Path:
    """Write slices of 4 x 6 pixels as the tiles of one page; slice i holds i + 1 everywhere."""
    page = np.zeros((4 * side, 6 * side), "<i2")
    for index in range(slices):
        row, column = divmod(index, side)
        page[4 * row : 4 * row + 4, 6 * column : 6 * column + 6] = 1 + index
    single = write_phantom(path.parent / "single", make_grid(shape=(1, *page.shape)))[0]

    def fill(dataset: Dataset, index: int) -> None:
        dataset.Modality, dataset.PixelData = "MR", page.tobytes()
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        dataset.RescaleIntercept = "0"
        dataset.SpacingBetweenSlices = "3.3"
        change(dataset, index)

    edit([single], fill)
    return Path(single.replace(path))


def siemens(
    *, normal: tuple[str, ...] = ("0.0", "0.0", "1.0"), word: bool = True, count: int = 5
) -> Change:
    def change(dataset: Dataset, _: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", *["MOSAIC"] * word]
        block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        tags = csa(NumberOfImagesInMosaic=[str(count)], SliceNormalVector=list(normal))
        block.add_new(0x10, "OB", tags)

    return change


# The page's corner is that of a slice as large as it around the same centre: the first slice lies
# (12 - 4) / 2 rows of 0.8 mm and (18 - 6) / 2 columns of 0.5 mm inside of (-20, -30).
FIRST_LPS_MM = (-20 + 6 * 0.5, -30 + 4 * 0.8, 40)


@pytest.mark.parametrize("word", [True, False])
def test_a_mosaic_is_unpacked_where_its_slices_lie(tmp_path: Path, word: bool) -> None:
    path = write_page(tmp_path / "mosaic.dcm", siemens(word=word))
    volume = read_volume(path)
    assert volume.voxels.shape == (5, 4, 6)
    assert [set(values.ravel().tolist()) for values in volume.voxels] == [{1}, {2}, {3}, {4}, {5}]
    expected = np.array(FIRST_LPS_MM) + np.arange(5)[:, None] * [0, 0, 3.3]
    np.testing.assert_allclose(volume.grid.origins_lps_mm, expected)
    assert volume.grid.pixel_spacing_mm == (0.8, 0.5)
    assert volume.reading.tiles == 5
    assert {source.path for source in volume.sources} == {path}


def test_a_mosaic_may_run_against_its_normal(tmp_path: Path) -> None:
    change = siemens(normal=("0.0", "0.0", "-1.0"))
    volume = read_volume(write_page(tmp_path / "mosaic.dcm", change))
    assert volume.voxels[:, 0, 0].tolist() == [5, 4, 3, 2, 1]
    np.testing.assert_allclose(volume.grid.origins_lps_mm[-1], FIRST_LPS_MM)


def test_a_mosaic_is_unpacked_whichever_block_its_elements_stand_in(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        for group, creator in ((0x0029, "SOMEBODY ELSE"), (0x0019, "GEMS_ACQU_01")):
            block = dataset.private_block(group, creator, create=True)
            block.add_new(0x0A, "US", 99)
        siemens()(dataset, index)

    assert len(read_volume(write_page(tmp_path / "mosaic.dcm", change)).voxels) == 5


def test_a_number_of_another_vendor_is_no_count_of_tiles(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        block = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
        block.add_new(0x0A, "US", 9)

    assert read_volume(write_page(tmp_path / "slice.dcm", change)).voxels.shape == (1, 12, 18)


def test_mosaics_of_a_time_series_are_parts(tmp_path: Path) -> None:
    for number in range(3):

        def change(dataset: Dataset, index: int, number: int = number) -> None:
            siemens()(dataset, index)
            dataset.SOPInstanceUID = f"2.25.{number}"
            dataset.InstanceNumber = dataset.AcquisitionNumber = number + 1
            dataset.PixelData = bytes(np.frombuffer(dataset.PixelData, "<i2") + 10 * number)

        write_page(tmp_path / f"{number}.dcm", change)
    volumes = [one.read() for one in find_inputs([tmp_path]).readable]
    assert [volume.voxels[:, 0, 0].tolist() for volume in volumes] == [
        [1, 2, 3, 4, 5], [11, 12, 13, 14, 15], [21, 22, 23, 24, 25],
    ]  # fmt: skip


def uih(positions: int) -> Change:
    def change(dataset: Dataset, _: int) -> None:
        block = dataset.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", "5")
        places = [item(ImagePositionPatient=[-17, -26.8, 40 - 2 * i])[0] for i in range(positions)]
        block.add_new(0x51, "SQ", places)

    return change


def test_a_grid_is_unpacked_where_its_items_say(tmp_path: Path) -> None:
    volume = read_volume(write_page(tmp_path / "grid.dcm", uih(5)))
    assert volume.voxels[:, 0, 0].tolist() == [5, 4, 3, 2, 1]
    np.testing.assert_allclose(volume.grid.origins_lps_mm[0], (-17, -26.8, 32))


# The page has 12 x 18 pixels of 0.8 x 0.5 mm unless a kind says otherwise; its tiles are 4 x 6.
def matrix_of(rows: int, columns: int, spacing: list[str]) -> Change:
    """Frequency is encoded along rows; pixels of the image as they are stored."""
    return setting(AcquisitionMatrix=[0, columns, rows, 0], PixelSpacing=spacing)


def wide(modality: str, spacing: list[str]) -> Change:
    return setting(Modality=modality, PixelSpacing=spacing)


UNKNOWN: dict[str, Change] = {
    "the word alone": setting(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]),
    "no normal": siemens(normal=()),
    "a normal of another plane": siemens(normal=("1.0", "0.0", "0.0")),
    "a count that does not fit": siemens(count=20),
    "too few items": uih(4),
    "wider than any bore": wide("MR", ["60", "50"]),
    "a CT wider than any bore": wide("CT", ["90", "60"]),
    "a PET wider than any bore": wide("PT", ["90", "60"]),
    "three fields of view": setting(ReconstructionDiameter="16", PixelSpacing=["4", "2.6667"]),
    "two fields of view": setting(ReconstructionDiameter="24", PixelSpacing=["4", "2.6667"]),
    "fields of view of an enhanced object": setting(ReconstructionFieldOfView=[3.0, 3.2]),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_page_of_tiles_that_cannot_be_placed_is_refused_by_name(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(UnreadableInput, match="page of tiles") as refused:
        read_volume(write_page(tmp_path / "page.dcm", UNKNOWN[kind]))
    assert refused.value.code == "page-of-tiles"


def write_square(path: Path, rows: int, change: Change) -> Path:
    """Write one image of so many rows and columns, as an MR."""
    (single,) = write_phantom(path.parent / "single", make_grid(shape=(1, rows, rows)))
    edit([single], setting(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"))
    edit([single], change)
    return Path(single.replace(path))


@pytest.mark.parametrize(("acquired", "rows", "mm"), [(16, 32, 3.4), (16, 96, 3.4), (16, 64, 2.0)])
def test_pixels_that_nobody_scans_make_a_page_of_tiles(
    tmp_path: Path, acquired: int, rows: int, mm: float
) -> None:
    change = matrix_of(acquired, acquired, [str(mm)] * 2)
    with pytest.raises(UnreadableInput, match="page of tiles") as refused:
        read_volume(write_square(tmp_path / "page.dcm", rows, change))
    assert refused.value.code == "page-of-tiles"


HONEST: dict[str, Change] = {
    "interpolated twice": matrix_of(32, 32, ["2.9", "2.9"]),
    "interpolated four times": matrix_of(16, 16, ["0.9", "0.9"]),
    "few lines of phase": matrix_of(16, 64, ["3.5", "3.5"]),
    "one field of view": setting(ReconstructionDiameter="224", PixelSpacing=["3.5", "3.5"]),
    "cropped": setting(ReconstructionDiameter="448", PixelSpacing=["3.5", "3.5"]),
    "padded": setting(ReconstructionDiameter="200", PixelSpacing=["3.5", "3.5"]),
    "no diameter": setting(ReconstructionDiameter="0", PixelSpacing=["3.5", "3.5"]),
    "no matrix": setting(AcquisitionMatrix=[0, 0, 0, 0], PixelSpacing=["3.5", "3.5"]),
    "a widest CT": wide("CT", ["12.7", "12.7"]),
    "a radiograph of a whole body": setting(Modality="DX", PixelSpacing=["20", "20"]),
}


@pytest.mark.parametrize("kind", HONEST)
def test_an_image_of_one_slice_is_no_page(tmp_path: Path, kind: str) -> None:
    volume = read_volume(write_square(tmp_path / "slice.dcm", 64, HONEST[kind]))
    assert volume.voxels.shape == (1, 64, 64)
    assert volume.grid.is_patient


def test_the_word_on_an_enhanced_object_of_real_slices_is_passed_over(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid())
    edit([path], setting(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]))
    np.testing.assert_array_equal(read_volume(path).voxels, make_voxels())


def test_an_enhanced_object_whose_frames_are_pages_is_refused_by_name(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(shape=(1, 6, 6)))
    edit([path], setting(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]))
    with pytest.raises(UnreadableInput, match="page of tiles"):
        read_volume(path)


def test_a_grid_of_one_slice_keeps_the_step_of_its_affine() -> None:
    affine = np.array([[0, 0, 2, 7], [0, 3, 0, 8], [-4, 0, 0, 9], [0, 0, 0, 1.0]])
    grid = Grid.from_affine_lps(affine, shape=(1, 5, 6))
    np.testing.assert_array_equal(grid.affine_lps, affine)
    assert grid.slice_thicknesses_mm.tolist() == [4]
    assert grid.voxel_volumes_mm3.tolist() == [24]


def test_equal_files_of_two_patients_have_a_folder_each(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 1), np.int16), np.diag([2.0, 3, -4, 1]))
    folders = []
    for patient in ("a", "b"):
        (tmp_path / patient).mkdir()
        nibabel.save(image, tmp_path / patient / "scan.nii")
        folders.append(folder_of(read_volume(tmp_path / patient / "scan.nii")))
    assert folders[0] != folders[1]
    assert folders[0].parent == folders[1].parent  # the study is named by the content
    assert [folder_of(one.read()) for one in find_inputs([tmp_path]).readable] == folders
    assert read_volume(tmp_path / "a" / "scan.nii").grid.affine_lps[2, 0] == -4
