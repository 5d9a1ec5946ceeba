"""DICOM series: which slices form a volume, in which order, and where each of them lies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from headclip_med.errors import UnreadableInput, UnusableGeometry
from headclip_med.geometry import Grid
from headclip_med.read import find_inputs, read_volume
from headclip_med.volume import Volume
from headclip_med.write.dicom.series import write_ct_series
from tests.phantoms import edit, make_grid, make_voxels, read_at, write_phantom


def assert_same(volume: Volume, voxels: np.ndarray, grid: Grid) -> None:
    """Every voxel holds its value at its place in the patient."""
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.grid.origins_lps_mm, grid.origins_lps_mm, atol=1e-6)
    np.testing.assert_allclose(volume.grid.row_step_lps_mm, grid.row_step_lps_mm, atol=1e-6)
    np.testing.assert_allclose(volume.grid.column_step_lps_mm, grid.column_step_lps_mm, atol=1e-6)


def turned(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, then y, then z."""
    turns = []
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        one, two = (index for index in range(3) if index != axis)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    return np.asarray(turns[2] @ turns[1] @ turns[0])


def test_a_series_is_read_in_hounsfield_units_where_it_lies(tmp_path: Path) -> None:
    grid = make_grid()
    paths = write_phantom(tmp_path, grid)
    volume = read_volume(tmp_path)
    assert_same(volume, make_voxels(), grid)
    assert volume.voxels.dtype == np.float32
    assert (volume.origin, volume.modality, volume.body_part) == ("dicom", "CT", "HEAD")
    assert volume.window == (40, 80)
    assert (volume.part, volume.name, volume.notes) == (1, None, ())
    assert volume.study_instance_uid == read_at(paths[0]).StudyInstanceUID
    assert volume.series_instance_uid == read_at(paths[0]).SeriesInstanceUID
    assert [source.path for source in volume.sources] == list(paths)
    assert [source.sop_instance_uid for source in volume.sources] == [
        read_at(path).SOPInstanceUID for path in paths
    ]
    assert {source.frame for source in volume.sources} == {None}
    # The lesion: slice 0, row 0, column 1 lies half a millimetre to the left of the first voxel.
    lesion = np.argwhere(volume.voxels == 2000).astype(float)
    np.testing.assert_allclose(volume.grid.to_lps_mm(lesion), [[-19.5, -30, 40]])


@pytest.mark.parametrize(
    "degrees", [(0, 0, 0), (90, 0, 0), (0, 90, 0), (180, 0, 0), (25, -17, 10), (-70, 140, 33)]
)
def test_any_orientation_keeps_every_voxel_in_its_place(
    tmp_path: Path, degrees: tuple[float, float, float]
) -> None:
    axes = turned(degrees)
    grid = make_grid(across=axes[:, 0], down=axes[:, 1], step_lps_mm=3 * axes[:, 2])
    write_phantom(tmp_path, grid)
    volume = read_volume(tmp_path)
    assert_same(volume, make_voxels(), grid)
    assert volume.notes == ()


def test_a_series_stored_from_the_top_down_is_ordered_by_position(tmp_path: Path) -> None:
    grid = make_grid(step_lps_mm=(0, 0, -3))
    write_phantom(tmp_path, grid)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, make_voxels()[::-1])
    np.testing.assert_allclose(volume.grid.origins_lps_mm, grid.origins_lps_mm[::-1])
    assert volume.notes == (
        "The series is numbered against its slice positions; slices follow position.",
    )


def test_a_tilted_series_keeps_the_place_of_every_slice(tmp_path: Path) -> None:
    grid = make_grid(step_lps_mm=(0, 1.2, 3))
    write_phantom(tmp_path, grid)
    volume = read_volume(tmp_path)
    assert_same(volume, make_voxels(), grid)
    assert volume.notes == (
        "The slices are sheared (a gantry tilt of about 21.8 degrees); each is worked on where it "
        "lies.",
    )  # arctan(1.2 / 3)


def test_a_missing_slice_is_told_and_nothing_is_moved(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path)
    paths[2].unlink()
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, make_voxels()[[0, 1, 3, 4]])
    np.testing.assert_allclose(volume.grid.slice_positions_mm, [40, 43, 49, 52])
    assert volume.notes == (
        "The step after slice 1 (counted from 0) is 6.00 mm where 3.00 mm is usual: slices may be "
        "missing.",
    )


def test_many_odd_steps_are_counted_not_listed(tmp_path: Path) -> None:
    grid = make_grid(shape=(12, 2, 2))
    grid.origins_lps_mm[:, 2] = np.cumsum([1, 1, 1, 1, 1, 1, 1, 5, 6, 7, 8, 9])
    write_phantom(tmp_path, grid)
    notes = read_volume(tmp_path).notes
    assert len(notes) == 4
    assert notes[-1] == "5 of 11 steps between slices differ from the usual one."


def test_jitter_of_a_fiftieth_of_a_millimetre_is_no_gap(tmp_path: Path) -> None:
    grid = make_grid()
    grid.origins_lps_mm[::2, 2] += 0.02
    write_phantom(tmp_path, grid)
    volume = read_volume(tmp_path)
    assert volume.notes == ()
    assert volume.grid.is_even


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset, index: setattr(dataset, "InstanceNumber", 7),
        lambda dataset, index: setattr(dataset, "InstanceNumber", [4, 1, 3, 5, 2][index]),
        lambda dataset, index: delattr(dataset, "InstanceNumber"),
        lambda dataset, index: setattr(dataset, "InstanceNumber", None),
        lambda dataset, index: setattr(dataset, "SliceLocation", str(-index)),
        lambda dataset, index: setattr(dataset, "AcquisitionTime", f"12000{index}"),
    ],
    ids=["equal", "unrelated", "absent", "empty", "slice-location", "times"],
)
def test_numbers_and_times_play_no_part_in_the_order(
    tmp_path: Path, change: Callable[[Dataset, int], object]
) -> None:
    grid = make_grid()
    edit(write_phantom(tmp_path, grid), change)
    assert_same(read_volume(tmp_path), make_voxels(), grid)


@tries(max_examples=12)
@given(order=st.permutations(range(5)), deep=st.booleans())
def test_names_and_folders_play_no_part_in_the_outcome(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], deep: bool
) -> None:
    base = tmp_path_factory.mktemp("series")
    paths = write_phantom(base / "plain")
    for index, place in enumerate(order):
        folder = base / "mixed" / (f"d{place % 2}" if deep else ".")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths[index], folder / f"IM{place}")
    plain, mixed = read_volume(base / "plain"), read_volume(base / "mixed")
    assert plain.content_digest == mixed.content_digest
    assert [s.sop_instance_uid for s in plain.sources] == [
        s.sop_instance_uid for s in mixed.sources
    ]


def test_copies_of_the_same_object_are_read_once(tmp_path: Path) -> None:
    grid = make_grid()
    for path in write_phantom(tmp_path, grid):
        shutil.copy(path, path.with_suffix(".copy"))
    volume = read_volume(tmp_path)
    assert_same(volume, make_voxels(), grid)
    assert volume.notes == ("5 file(s) repeat an object of this series and were left out.",)


def test_a_copy_with_other_pixels_is_told(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path)
    for suffix in (".same", ".other"):
        shutil.copy(paths[2], paths[2].with_suffix(suffix))
    edit([paths[2].with_suffix(".other")], lambda one, _: setattr(one, "PixelData", b"\1" * 84))
    volume = read_volume(tmp_path)
    assert len(volume.voxels) == 5
    repeated, differing = volume.notes
    assert repeated.startswith("2 file(s) repeat an object")
    assert differing[:1] in "12"  # whichever of the two contents is kept
    assert "of them differ from the one that was kept" in differing


def test_one_uid_at_several_places_is_refused(tmp_path: Path) -> None:
    uid = generate_uid()
    edit(write_phantom(tmp_path), lambda dataset, index: setattr(dataset, "SOPInstanceUID", uid))
    with pytest.raises(UnreadableInput, match="same SOP instance UID but differ in place"):
        read_volume(tmp_path)


SPLITS: dict[str, Callable[[Dataset, int], object]] = {
    "acquisition": lambda dataset, phase: setattr(dataset, "AcquisitionNumber", phase),
    "temporal position": lambda d, phase: setattr(d, "TemporalPositionIdentifier", phase),
    "echo": lambda dataset, phase: setattr(dataset, "EchoTime", str(9.5 + phase)),
    "b-value": lambda dataset, phase: setattr(dataset, "DiffusionBValue", 1000.0 * phase),
    "trigger": lambda dataset, phase: setattr(dataset, "TriggerTime", str(100 * phase)),
    "image type": lambda dataset, phase: setattr(
        dataset, "ImageType", ["ORIGINAL", "PRIMARY", "MP"[phase % 2]]
    ),
}


def write_phases(folder: Path, change: Callable[[Dataset, int], object], phases: int = 2) -> None:
    """Write one series that shows the same places several times; each phase is 10 HU brighter."""
    for phase in range(phases):
        paths = write_ct_series(folder / str(phase), make_voxels() + 10 * phase, make_grid())

        def join(dataset: Dataset, index: int, phase: int = phase) -> None:
            dataset.SeriesInstanceUID = "2.25.1"
            change(dataset, phase)

        edit(paths, join)


@pytest.mark.parametrize("split", SPLITS)
def test_phases_of_one_series_become_parts(tmp_path: Path, split: str) -> None:
    write_phases(tmp_path, SPLITS[split])
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    assert [(one.part, one.slices) for one in inputs.readable] == [(1, 5), (2, 5)]
    volumes = [one.read() for one in inputs.readable]
    brighter = {float((volume.voxels - make_voxels()).mean()) for volume in volumes}
    assert brighter == {0, 10}
    assert all("2 stacks at the same positions" in volume.notes[0] for volume in volumes)
    assert volumes[0].series_instance_uid == volumes[1].series_instance_uid == "2.25.1"


def test_ten_phases_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_phases(tmp_path, lambda d, phase: setattr(d, "TemporalPositionIdentifier", phase), 11)
    means = [float(one.read().voxels.mean()) for one in find_inputs([tmp_path]).readable]
    np.testing.assert_allclose(np.diff(means), 10, atol=1e-3)


def test_two_elements_together_tell_frames_apart(tmp_path: Path) -> None:
    def change(dataset: Dataset, phase: int) -> None:
        dataset.EchoTime = str(phase % 2)
        dataset.DiffusionBValue = float(phase // 2)

    write_phases(tmp_path, change, phases=4)
    assert [one.slices for one in find_inputs([tmp_path]).readable] == [5, 5, 5, 5]


def test_frames_that_nothing_tells_apart_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_phases(tmp_path, lambda dataset, phase: None)
    inputs = find_inputs([tmp_path])
    assert inputs.readable == ()
    assert {one.path for one in inputs.failures} == set(tmp_path.rglob("*.dcm"))
    assert {(one.code, one.is_error) for one in inputs.failures} == {("duplicate-positions", True)}
    with pytest.raises(UnusableGeometry, match="2 of 10 images of the series lie at the same"):
        read_volume(tmp_path)


def test_other_planes_matrices_spacings_and_frames_are_split_off(tmp_path: Path) -> None:
    grid = make_grid()
    write_phantom(tmp_path / "axial", grid)
    sagittal = make_grid(across=(0, 1, 0), down=(0, 0, -1), step_lps_mm=(-3, 0, 0), shape=(4, 6, 7))
    write_phantom(tmp_path / "sagittal", sagittal)
    write_phantom(tmp_path / "small", make_grid(shape=(3, 4, 4)))
    write_phantom(tmp_path / "coarse", make_grid(shape=(2, 6, 7), spacing_mm=(1, 1)))
    write_phantom(tmp_path / "elsewhere", make_grid(shape=(1, 6, 7)), study_seed="other")

    def join(dataset: Dataset, index: int) -> None:
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "2.25.7"

    edit(sorted(tmp_path.rglob("*.dcm")), join)
    inputs = find_inputs([tmp_path])
    assert [one.slices for one in inputs.readable] == [5, 4, 3, 2, 1]
    assert [one.part for one in inputs.readable] == [1, 2, 3, 4, 5]
    assert_same(inputs.readable[0].read(), make_voxels(), grid)
    assert_same(inputs.readable[1].read(), make_voxels((4, 6, 7)), sagittal)


def test_a_localizer_is_left_out_beside_a_scan_but_read_when_it_is_named(tmp_path: Path) -> None:
    grid = make_grid()
    write_phantom(tmp_path / "scan", grid)
    scout = write_phantom(tmp_path / "scout", make_grid(shape=(1, 9, 9), across=(0, 1, 0),
                                                        down=(0, 0, -1)))[0]  # fmt: skip

    def mark(dataset: Dataset, index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    edit([scout], mark)
    assert_same(read_volume(tmp_path), make_voxels(), grid)
    (failure,) = find_inputs([tmp_path]).failures
    assert (failure.code, failure.is_error, failure.path) == ("localizer", False, scout)
    alone = read_volume(scout)
    assert alone.notes == ("This is a localizer (scout), which only planned the scan.",)
    assert len(find_inputs([tmp_path / "scan", scout]).readable) == 2


def test_a_folder_may_hold_several_studies_and_series(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        write_phantom(tmp_path, make_grid(shape=(number, 2, 2)), study_seed=f"study {number}")
    inputs = find_inputs([tmp_path])
    assert sorted(one.slices for one in inputs.readable) == [1, 2, 3]
    keys = [(one.study_instance_uid or "", one.series_instance_uid) for one in inputs.readable]
    assert keys == sorted(keys)
    with pytest.raises(UnreadableInput, match=r"3 volumes \(from 3 series and 6 files\)") as told:
        read_volume(tmp_path)
    assert told.value.code == "several-volumes"
    assert "headclip screen" in str(told.value)


NO_PLANE: dict[str, Callable[[Dataset, int], object]] = {
    "position missing": lambda dataset, _: delattr(dataset, "ImagePositionPatient"),
    "position not a number": lambda d, _: setattr(d, "ImagePositionPatient", ["NaN", "0", "0"]),
    "position too far": lambda d, _: setattr(d, "ImagePositionPatient", ["1e300", "0", "0"]),
    "orientation missing": lambda dataset, _: delattr(dataset, "ImageOrientationPatient"),
    "orientation skewed": lambda dataset, _: setattr(
        dataset, "ImageOrientationPatient", ["1", "0", "0", "0.5", "0.5", "0"]
    ),
    "spacing missing": lambda dataset, _: delattr(dataset, "PixelSpacing"),
    "spacing zero": lambda dataset, _: setattr(dataset, "PixelSpacing", ["0", "0"]),
}


@pytest.mark.parametrize("fault", NO_PLANE)
def test_an_image_without_a_usable_plane_stands_alone_in_pixels(tmp_path: Path, fault: str) -> None:
    paths = write_phantom(tmp_path, make_grid(shape=(3, 6, 7)))
    edit(paths, NO_PLANE[fault])
    inputs = find_inputs([tmp_path])
    assert [one.slices for one in inputs.readable] == [1] * 3
    assert [one.paths[0] for one in inputs.readable] == list(paths)  # by instance number
    volume = inputs.readable[2].read()
    assert not volume.grid.is_patient
    assert volume.part == 3
    assert "no usable patient geometry" in volume.notes[0]
    np.testing.assert_array_equal(volume.voxels, make_voxels((3, 6, 7))[2:3])


def without_place(dataset: Dataset, index: int) -> None:
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    dataset.SliceLocation = str(3 * index)


def test_slices_that_state_no_place_are_one_volume_by_their_numbers(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path)
    edit(paths, without_place)
    (one,) = find_inputs([tmp_path]).readable
    volume = one.read()
    np.testing.assert_array_equal(volume.voxels, make_voxels())
    assert (volume.reading.unplaced, volume.reading.lacks_geometry) == (5, True)
    assert not volume.grid.is_patient
    assert volume.grid.pixel_spacing_mm == (1, 1)


@pytest.mark.parametrize("kind", ["CR", "few", "capture", "no numbers", "one number"])
def test_other_images_without_a_place_stay_alone(tmp_path: Path, kind: str) -> None:
    def change(dataset: Dataset, index: int) -> None:
        without_place(dataset, index)
        if kind == "CR":
            dataset.Modality = "CR"
        if kind == "no numbers":
            del dataset.InstanceNumber
        if kind == "one number":
            dataset.InstanceNumber = 1
        if kind == "capture":
            dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
            dataset.Manufacturer = dataset.ManufacturerModelName = "another's"

    count = 3 if kind == "few" else 5
    edit(write_phantom(tmp_path, make_grid(shape=(count, 6, 7))), change)
    assert [one.slices for one in find_inputs([tmp_path]).readable] == [1] * count


@pytest.mark.parametrize("fault", NO_PLANE)
def test_a_series_of_planes_that_are_none_is_one_refusal(tmp_path: Path, fault: str) -> None:
    edit(write_phantom(tmp_path), NO_PLANE[fault])
    inputs = find_inputs([tmp_path])
    if fault in ("position missing", "orientation missing"):  # nothing is claimed
        assert [one.slices for one in inputs.readable] == [5]
    else:
        assert not inputs.readable
        assert {one.code for one in inputs.failures} == {"broken-plane"}
        assert len(inputs.failures) == 5


def test_a_missing_frame_of_reference_is_told(tmp_path: Path) -> None:
    edit(write_phantom(tmp_path), lambda dataset, _: delattr(dataset, "FrameOfReferenceUID"))
    volume = read_volume(tmp_path)
    assert len(volume.voxels) == 5
    assert volume.notes == ("The series names no frame of reference.",)


def test_uids_that_could_name_a_file_elsewhere_are_not_handed_on(tmp_path: Path) -> None:
    def harm(dataset: Dataset, index: int) -> None:
        dataset.StudyInstanceUID = "../../../etc"
        dataset.SeriesInstanceUID = "<b>1</b>"

    edit(write_phantom(tmp_path), harm)
    volume = read_volume(tmp_path)
    assert len(volume.voxels) == 5  # still one series
    assert (volume.study_instance_uid, volume.series_instance_uid) == (None, None)


@pytest.mark.parametrize(
    ("stored", "read"),
    [("HEAD", "HEAD"), ("brain", "BRAIN"), ("Miller's left arm", None), ("", None)],
)
def test_a_body_part_that_is_no_defined_term_is_not_repeated(
    tmp_path: Path, stored: str, read: str | None
) -> None:
    edit(write_phantom(tmp_path), lambda dataset, _: setattr(dataset, "BodyPartExamined", stored))
    assert read_volume(tmp_path).body_part == read


def test_a_body_part_may_come_as_a_code(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        del dataset.BodyPartExamined
        region = Dataset()
        region.CodeValue, region.CodingSchemeDesignator = "69536005", "SCT"
        dataset.AnatomicRegionSequence = [region]

    edit(write_phantom(tmp_path), change)
    assert read_volume(tmp_path).body_part == "HEAD"


@pytest.mark.parametrize(("centre", "width"), [("40", "0"), ("NaN", "80"), ("", "")])
def test_an_impossible_window_is_no_window(tmp_path: Path, centre: str, width: str) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth = centre, width

    edit(write_phantom(tmp_path), change)
    assert read_volume(tmp_path).window is None


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth = ["35", "700"], ["75", "3200"]

    edit(write_phantom(tmp_path), change)
    assert read_volume(tmp_path).window == (35, 75)
