"""Objects of many frames: enhanced CT and MR by their functional groups, cine loops as stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import EnhancedCTImageStorage, RLELossless, UltrasoundMultiFrameImageStorage

from headclip_med.errors import UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.read import find_inputs, read_volume
from tests.phantoms import edit, make_grid, make_voxels, write_phantom

Change = Callable[[Dataset], object]


def item(**elements: object) -> list[Dataset]:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return [dataset]


def write_enhanced(
    path: Path, grid: Grid, *, order: Sequence[int] | None = None, phases: int = 1
) -> Path:
    """Write an enhanced CT; frame i holds slice ``order[i]``, and its own slope of 1 + phase."""
    voxels = make_voxels(grid.shape)
    single = pydicom.dcmread(write_phantom(path.parent / "single", grid)[0])
    for file in (path.parent / "single").iterdir():
        file.unlink()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(single, keyword)
    slope = single.RescaleSlope
    del single.RescaleSlope, single.RescaleIntercept
    frames = [(phase, index) for phase in range(phases) for index in order or range(len(voxels))]
    set_pixel_data(
        single, np.stack([voxels[index] + 1024 for _, index in frames]).astype(np.uint16),
        "MONOCHROME2", 16,
    )  # fmt: skip
    single.SOPClassUID = single.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    across = grid.column_step_lps_mm / np.linalg.norm(grid.column_step_lps_mm)
    down = grid.row_step_lps_mm / np.linalg.norm(grid.row_step_lps_mm)
    single.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=[*across, *down]),
        PixelMeasuresSequence=item(PixelSpacing=list(grid.pixel_spacing_mm)),
        FrameVOILUTSequence=item(WindowCenter="50", WindowWidth="350"),
    )
    single.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=item(
                ImagePositionPatient=list(grid.origins_lps_mm[index].astype(float))
            ),
            FrameContentSequence=item(TemporalPositionIndex=phase + 1),
            PixelValueTransformationSequence=item(
                RescaleSlope=slope * (1 + phase), RescaleIntercept="-1024"
            ),
        )[0]
        for phase, index in frames
    ]
    del single.WindowCenter, single.WindowWidth
    single.save_as(path)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_an_enhanced_ct_is_one_volume_in_order_of_position(
    tmp_path: Path, compressed: bool
) -> None:
    grid = make_grid(step_lps_mm=(0, 0.5, 2))
    order = [3, 0, 4, 1, 2]
    path = write_enhanced(tmp_path / "enhanced", grid, order=order)
    if compressed:
        edit([path], lambda dataset, _: dataset.compress(RLELossless, generate_instance_uid=False))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, make_voxels())
    np.testing.assert_allclose(volume.grid.origins_lps_mm, grid.origins_lps_mm)
    np.testing.assert_allclose(volume.grid.affine_lps, grid.affine_lps, atol=1e-9)
    assert [source.frame for source in volume.sources] == [2, 4, 5, 1, 3]
    assert len({source.sop_instance_uid for source in volume.sources}) == 1
    assert volume.window == (50, 350)


def test_the_phases_of_an_enhanced_object_are_parts_with_their_own_rescale(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(), phases=2)
    first, second = (one.read() for one in find_inputs([path]).readable)
    np.testing.assert_array_equal(first.voxels, make_voxels())
    np.testing.assert_array_equal(second.voxels, 2 * (make_voxels() + 1024) - 1024)
    assert [source.frame for source in second.sources] == [6, 7, 8, 9, 10]
    assert (first.part, second.part) == (1, 2)


def group(frame: Dataset, sequence: str, **elements: object) -> None:
    """Give a frame a functional group, or one that it has more elements."""
    if sequence not in frame:
        setattr(frame, sequence, item())
    for keyword, value in elements.items():
        setattr(frame[sequence].value[0], keyword, value)


KINDS: dict[str, Callable[[Dataset, int], object]] = {
    "EchoTime": lambda f, n: group(f, "MREchoSequence", EffectiveEchoTime=10.0 + n),
    "DiffusionBValue": lambda f, n: group(f, "MRDiffusionSequence", DiffusionBValue=500.0 * n),
    "DiffusionGradientOrientation": lambda f, n: group(
        f, "MRDiffusionSequence", DiffusionGradientDirectionSequence=item(
            DiffusionGradientOrientation=[[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]][n]
        ),
    ),
    "InversionTime": lambda f, n: group(f, "MRModifierSequence", InversionTimes=[100.0 + n]),
    "ComplexImageComponent": lambda f, n: group(
        f, "MRImageFrameTypeSequence", ComplexImageComponent=["MAGNITUDE", "PHASE", "REAL"][n]
    ),
    "ImageType": lambda f, n: group(
        f, "MRImageFrameTypeSequence", FrameType=["DERIVED", "PRIMARY", "DIXON", "WFI"[n]]
    ),
    "VelocityEncoding": lambda f, n: group(
        f, "MRVelocityEncodingSequence", VelocityEncodingDirection=[1.0 - n, n, 0.0]
    ),
    "ASLContext": lambda f, n: group(
        f, "MRArterialSpinLabelingSequence", ASLContext=["LABEL", "CONTROL", "M_ZERO_SCAN"][n]
    ),
    "FlipAngle": lambda f, n: group(
        f, "MRTimingAndRelatedParametersSequence", FlipAngle=5.0 + n
    ),
    "TemporalPositionTimeOffset": lambda f, n: group(
        f, "TemporalPositionSequence", TemporalPositionTimeOffset=2.5 * n
    ),
    "StackID": lambda f, n: group(f, "FrameContentSequence", StackID=str(n)),
    "AcquisitionNumber": lambda f, n: group(
        f, "FrameContentSequence", FrameAcquisitionNumber=n
    ),
    "NominalPercentageOfCardiacPhase": lambda f, n: group(
        f, "CardiacSynchronizationSequence", NominalPercentageOfCardiacPhase=10.0 * n
    ),
    "TriggerTime": lambda f, n: group(
        f, "CardiacSynchronizationSequence", NominalCardiacTriggerDelayTime=30.0 * n
    ),
    "AcquisitionDateTime": lambda f, n: group(
        f, "FrameContentSequence", FrameAcquisitionDateTime=f"2024010112000{n}"
    ),
}  # fmt: skip


def tell_apart(path: Path, phases: int, change: Callable[[Dataset, int, int], object]) -> Path:
    """Let frames differ in one group alone; ``change`` gets the frame, its phase and its slice."""

    def edit_frames(dataset: Dataset, _: int) -> None:
        frames = dataset.PerFrameFunctionalGroupsSequence
        count = len(frames) // phases
        for number, frame in enumerate(frames):
            del frame.FrameContentSequence
            change(frame, number // count, number % count)

    edit([path], edit_frames)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_group_tells_frames_apart_makes_volumes(tmp_path: Path, kind: str) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(), phases=3)
    tell_apart(path, 3, lambda frame, phase, _: KINDS[kind](frame, phase))
    inputs = find_inputs([path])
    assert not inputs.failures
    volumes = [one.read() for one in inputs.readable]
    first = {volume.sources[0].frame for volume in volumes}
    assert ([len(volume.voxels) for volume in volumes], first) == ([5, 5, 5], {1, 6, 11})
    assert {volume.reading.told_apart_by for volume in volumes} == {(kind,)}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_indices_alone_tell_frames_apart_whatever_they_point_to(tmp_path: Path, place: int) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(), phases=2)

    def index(frame: Dataset, phase: int, number: int) -> None:
        values = [number + 1, 1]
        values.insert(place, phase + 1)
        group(frame, "FrameContentSequence", DimensionIndexValues=values)

    volumes = [one.read() for one in find_inputs([tell_apart(path, 2, index)]).readable]
    assert [[source.frame for source in volume.sources] for volume in volumes] == [
        [1, 2, 3, 4, 5], [6, 7, 8, 9, 10],
    ]  # fmt: skip


def test_two_groups_together_tell_frames_apart(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(), phases=4)

    def change(frame: Dataset, phase: int, _: int) -> None:
        KINDS["EchoTime"](frame, phase % 2)
        KINDS["TemporalPositionTimeOffset"](frame, phase // 2)

    inputs = find_inputs([tell_apart(path, 4, change)])
    assert [one.slices for one in inputs.readable] == [5, 5, 5, 5]


def test_frames_that_only_their_number_tells_apart_make_cycles(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(), phases=3)
    volumes = [one.read() for one in find_inputs([tell_apart(path, 3, lambda *_: None)]).readable]
    assert [[source.frame for source in volume.sources] for volume in volumes] == [
        [1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15],
    ]  # fmt: skip


def test_frames_that_are_lost_are_told_though_others_of_the_file_are_read(tmp_path: Path) -> None:
    """Two objects whose axial frames nothing tells apart, and whose sagittal ones lie apart."""
    for number in range(2):
        path = write_enhanced(tmp_path / f"e{number}", make_grid(shape=(8, 3, 3)))

        def change(dataset: Dataset, _: int, number: int = number) -> None:
            dataset.SOPInstanceUID = f"2.25.{number}"
            dataset.SeriesInstanceUID = "2.25.9"
            pixels = bytearray(dataset.PixelData)
            pixels[0] = number
            dataset.PixelData = bytes(pixels)
            for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence[4:]):
                frame.PlaneOrientationSequence = item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
                frame.PlanePositionSequence[0].ImagePositionPatient = [
                    40 * number + 5 * index,
                    0,
                    0,
                ]

        edit([path], change)
    inputs = find_inputs([tmp_path])
    assert [one.slices for one in inputs.readable] == [8]
    assert {one.code for one in inputs.failures} == {"duplicate-positions"}
    assert len(inputs.failures) == 2


@pytest.mark.parametrize("packages", [2, 3])
def test_stacks_that_interleave_into_one_even_volume_are_one(tmp_path: Path, packages: int) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid(shape=(12, 2, 2)))

    def change(frame: Dataset, _: int, number: int) -> None:
        KINDS["StackID"](frame, number % packages)

    (one,) = find_inputs([tell_apart(path, 1, change)]).readable
    assert one.read().reading.told_apart_by == ()
    assert one.slices == 12


def test_frames_of_two_orientations_become_two_volumes(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid())

    def turn(dataset: Dataset, _: int) -> None:
        for group in dataset.PerFrameFunctionalGroupsSequence[3:]:
            group.PlaneOrientationSequence = item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
        for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence[3:]):
            group.PlanePositionSequence[0].ImagePositionPatient = [number, 0, 0]

    edit([path], turn)
    large, small = (one.read() for one in find_inputs([path]).readable)
    assert [source.frame for source in large.sources] == [1, 2, 3]
    assert [source.frame for source in small.sources] == [5, 4]  # the normal points to the right
    np.testing.assert_array_equal(small.voxels, make_voxels()[[4, 3]])


def test_an_enhanced_object_with_a_frame_out_of_place_is_read_in_pixels(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid())

    def drop(dataset: Dataset, _: int) -> None:
        del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence

    edit([path], drop)
    volume = read_volume(path)
    assert not volume.grid.is_patient
    np.testing.assert_array_equal(volume.voxels, make_voxels())
    assert [source.frame for source in volume.sources] == [1, 2, 3, 4, 5]


def write_cine(folder: Path, frames: np.ndarray, photometric: str) -> Path:
    path = write_phantom(folder, make_grid(shape=(1, 2, 2)))[0]

    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
        dataset.Modality = "US"
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(dataset, keyword)
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.FrameOfReferenceUID
        set_pixel_data(dataset, frames, photometric, 8)

    edit([path], change)
    return path


@pytest.mark.parametrize("colours", [1, 3])
def test_a_cine_loop_is_one_volume_of_its_frames(tmp_path: Path, colours: int) -> None:
    shape = (6, 4, 5, 3)[: 3 if colours == 1 else 4]
    frames = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write_cine(tmp_path, frames, "MONOCHROME2" if colours == 1 else "RGB")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, frames)
    assert volume.is_colour == (colours == 3)
    assert not volume.grid.is_patient
    assert [source.frame for source in volume.sources] == [1, 2, 3, 4, 5, 6]
    assert volume.modality == "US"


def test_pixel_data_that_grew_shorter_since_it_was_found_is_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced", make_grid())
    (one,) = find_inputs([path]).readable
    edit([path], lambda dataset, _: setattr(dataset, "PixelData", dataset.PixelData[:-84]))
    with pytest.raises(UnreadableInput, match="shorter than its header says") as refused:
        one.read()
    assert refused.value.code == "truncated-file"


def test_fewer_frames_than_announced_is_a_truncated_file(tmp_path: Path) -> None:
    path = write_cine(tmp_path, np.zeros((6, 4, 5), np.uint8), "MONOCHROME2")
    edit([path], lambda dataset, _: setattr(dataset, "NumberOfFrames", 60))
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    assert refused.value.code == "truncated-file"


def test_fewer_compressed_frames_than_announced_cannot_be_decoded(tmp_path: Path) -> None:
    path = write_cine(tmp_path, np.zeros((6, 4, 5), np.uint8), "MONOCHROME2")
    edit([path], lambda dataset, _: dataset.compress(RLELossless))
    edit([path], lambda dataset, _: setattr(dataset, "NumberOfFrames", 60))
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    assert refused.value.code == "cannot-decode"
