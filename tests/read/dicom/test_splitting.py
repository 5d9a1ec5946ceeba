"""One series, several volumes: each split gives complete, even volumes, and never pieces of one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import PositronEmissionTomographyImageStorage, RLELossless, generate_uid

from headclip_med.read import Inputs, find_inputs
from headclip_med.read.dicom.header import read_header
from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.read.dicom.planes import SIGNS
from headclip_med.read.dicom.series import split_series
from headclip_med.read.guards import DEFAULT_LIMITS
from headclip_med.volume import Volume
from headclip_med.write.dicom.series import write_mr_series
from tests.phantoms import edit, make_grid, write_phantom

Change = Callable[[Dataset, int], object]


def write_stack(
    folder: Path, change: Change, *, slices: int = 6, first_mm: float = 0, step_mm: float = 5,
    add: float = 0,
) -> tuple[Path, ...]:  # fmt: skip
    """Write slices of the one series ``2.25.5``; slice i of the stack holds ``100 add + i``."""
    grid = make_grid(
        shape=(slices, 4, 5), step_lps_mm=(0, 0, step_mm), origin_lps_mm=(-20, -30, first_mm)
    )
    folder.mkdir(exist_ok=True)
    values = np.arange(slices)[:, None, None] + 100 * add + np.zeros((1, 4, 5))
    values[:, 0, 0] = 0
    paths = write_mr_series(folder, values, grid)

    def join(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = "2.25.5", "1"
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[folder.name, str(index)])
        change(dataset, index)

    edit(paths, join)
    return paths


def volumes_of(inputs: Inputs) -> list[tuple[list[float], list[int]]]:
    """Positions and values of each volume, by its first value."""
    volumes = [one.read() for one in inputs.readable]
    return sorted(
        (
            (
                volume.grid.slice_positions_mm.round(3).tolist(),
                [int(values.max()) for values in volume.voxels],
            )
            for volume in volumes
        ),
        key=lambda volume: volume[1][0],
    )


def even(first_mm: float, step_mm: float, count: int) -> list[float]:
    return [first_mm + step_mm * index for index in range(count)]


def told(inputs: Inputs) -> set[tuple[str, ...]]:
    return {one.read().reading.told_apart_by for one in inputs.readable}


def setting(**values: object) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


APART: dict[str, tuple[Change, Change, str]] = {
    "series number": (setting(SeriesNumber="2"), setting(SeriesNumber="3"), "SeriesNumber"),
    "echo": (setting(EchoTime="10"), setting(EchoTime="90"), "EchoTime"),
    "sequence": (
        setting(ScanningSequence="SE"), setting(ScanningSequence=["GR", "IR"]), "ScanningSequence",
    ),
    "agent": (setting(), setting(ContrastBolusAgent="Gd"), "ContrastBolusAgent"),
    "protocol": (setting(ProtocolName="t1"), setting(ProtocolName="t2"), "ProtocolName"),
    "description": (
        setting(SeriesDescription="T1"), setting(SeriesDescription="T2"), "SeriesDescription",
    ),
    "inversion": (setting(InversionTime="100"), setting(InversionTime="900"), "InversionTime"),
    "b-value": (
        setting(DiffusionBValue=0.0), setting(DiffusionBValue=1000.0), "DiffusionBValue",
    ),
    "direction": (
        setting(DiffusionGradientOrientation=[1.0, 0.0, 0.0]),
        setting(DiffusionGradientOrientation=[0.0, 1.0, 0.0]),
        "DiffusionGradientOrientation",
    ),
    "component": (
        setting(ComplexImageComponent="MAGNITUDE"), setting(ComplexImageComponent="PHASE"),
        "ComplexImageComponent",
    ),
    "modality": (
        setting(Modality="MR"), setting(Modality="PT"), "Modality",
    ),
    "class": (
        setting(), setting(SOPClassUID=PositronEmissionTomographyImageStorage), "SOPClassUID",
    ),
    "frame of reference": (
        setting(FrameOfReferenceUID="2.25.91"), setting(FrameOfReferenceUID="2.25.92"),
        "FrameOfReferenceUID",
    ),
    "patient": (setting(PatientID="A"), setting(PatientID="B"), "PatientID"),
}  # fmt: skip


@pytest.mark.parametrize("shift_mm", [0, 2.5, 0.3, 100])
@pytest.mark.parametrize("kind", APART)
def test_other_images_under_one_series_uid_are_read_apart(
    tmp_path: Path, kind: str, shift_mm: float
) -> None:
    first, second, sign = APART[kind]
    write_stack(tmp_path / "a", first)
    write_stack(tmp_path / "b", second, first_mm=shift_mm, add=1)
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    assert volumes_of(inputs) == [
        (even(0, 5, 6), [0, 1, 2, 3, 4, 5]),
        (even(shift_mm, 5, 6), [100, 101, 102, 103, 104, 105]),
    ]
    assert told(inputs) == {(sign,)}


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("TriggerTime", ("0", "400")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
        ("FlipAngle", ("5", "15")),
        ("ConvolutionKernel", ("H30s", "H60s")),
        ("AcquisitionTime", ("120000", "120030.5")),
    ],
)
@pytest.mark.parametrize("shift_mm", [0, 0.3])
def test_a_second_time_through_the_same_range_is_a_volume_of_its_own(
    tmp_path: Path, keyword: str, values: tuple[object, object], shift_mm: float
) -> None:
    write_stack(tmp_path / "a", setting(**{keyword: values[0]}))
    write_stack(tmp_path / "b", setting(**{keyword: values[1]}), first_mm=shift_mm, add=1)
    inputs = find_inputs([tmp_path])
    assert [count for _, count in volumes_of(inputs)] == [
        [0, 1, 2, 3, 4, 5], [100, 101, 102, 103, 104, 105],
    ]  # fmt: skip
    assert told(inputs) == {(keyword,)}


WHOLE: dict[str, Change] = {
    "an acquisition for every slice": lambda d, i: setattr(d, "AcquisitionNumber", i + 1),
    "an acquisition for every two slices": lambda d, i: setattr(d, "AcquisitionNumber", i // 2),
    "two interleaved packages": lambda d, i: setattr(d, "AcquisitionNumber", i % 2),
    "three interleaved stacks": lambda d, i: setattr(d, "StackID", str(i % 3)),
    "a time for every slice": lambda d, i: setattr(d, "AcquisitionTime", f"12000{i}"),
    "a time for every bed": lambda d, i: setattr(d, "AcquisitionTime", f"12{i // 3}000"),
    "a trigger for every slice": lambda d, i: setattr(d, "TriggerTime", str(17.5 * i)),
    "an echo time for every slice": lambda d, i: setattr(d, "EchoTime", str(10 + i / 100)),
    "an image type for one slice": lambda d, i: setattr(
        d, "ImageType", ["ORIGINAL", "PRIMARY", "M" if i == 2 else "O"]
    ),
    "an echo time for one slice": lambda d, i: setattr(d, "EchoTime", "11" if i == 2 else "10"),
    "numbers at random": lambda d, i: setattr(d, "InstanceNumber", [9, 2, 77, 1, 30, 8][i]),
}


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("kind", WHOLE)
def test_what_differs_within_a_volume_does_not_shatter_it(
    tmp_path: Path, kind: str, gap: bool
) -> None:
    paths = write_stack(tmp_path / "a", WHOLE[kind])
    if gap:
        paths[3].unlink()
    kept = [0, 1, 2, 4, 5] if gap else [0, 1, 2, 3, 4, 5]
    inputs = find_inputs([tmp_path])
    assert volumes_of(inputs) == [([5.0 * index for index in kept], kept)]
    assert told(inputs) == {()}
    mixes = ("EchoTime",) if "echo" in kind else ()
    assert inputs.readable[0].read().reading.mixes == mixes


def test_every_file_with_its_own_frame_of_reference_makes_one_volume_and_a_note(
    tmp_path: Path,
) -> None:
    write_stack(tmp_path / "a", lambda d, i: setattr(d, "FrameOfReferenceUID", f"2.25.7{i}"))
    inputs = find_inputs([tmp_path])
    assert volumes_of(inputs) == [(even(0, 5, 6), [0, 1, 2, 3, 4, 5])]
    volume = inputs.readable[0].read()
    assert volume.reading.disbelieves == ("FrameOfReferenceUID",)
    assert volume.reading.told_apart_by == ()


def test_every_position_with_its_own_frame_of_reference_makes_whole_volumes(tmp_path: Path) -> None:
    for number in range(3):

        def change(dataset: Dataset, index: int, number: int = number) -> None:
            dataset.FrameOfReferenceUID = f"2.25.7{index}"
            dataset.TemporalPositionIdentifier = number + 1

        write_stack(tmp_path / f"n{number}", change, add=number)
    inputs = find_inputs([tmp_path])
    assert [one.slices for one in inputs.readable] == [6, 6, 6]


@pytest.mark.parametrize("name", ["doe^jane", "Doe^Jane^^", "DOE^JANE "])
def test_a_patient_written_in_another_way_is_the_same(tmp_path: Path, name: str) -> None:
    paths = write_stack(tmp_path / "a", setting(PatientID="1", PatientName="Doe^Jane"))
    edit(paths[3:], setting(PatientName=name, SeriesNumber="01"))
    assert [one.slices for one in find_inputs([tmp_path]).readable] == [6]


def test_every_file_with_its_own_series_number_and_two_echoes_make_two_volumes(
    tmp_path: Path,
) -> None:
    for echo in range(2):

        def change(dataset: Dataset, index: int, echo: int = echo) -> None:
            dataset.EchoTime, dataset.SeriesNumber = str(10 + echo), str(100 * echo + index)

        write_stack(tmp_path / f"e{echo}", change, add=echo)
    inputs = find_inputs([tmp_path])
    assert [values[0] for _, values in volumes_of(inputs)] == [0, 100]
    assert told(inputs) == {("EchoTime",)}


def test_a_slice_without_frame_of_reference_stays_with_the_others(tmp_path: Path) -> None:
    paths = write_stack(tmp_path / "a", setting())
    edit(paths[2:3], lambda dataset, _: delattr(dataset, "FrameOfReferenceUID"))
    assert volumes_of(find_inputs([tmp_path])) == [(even(0, 5, 6), [0, 1, 2, 3, 4, 5])]


ORDERS: dict[str, Callable[[int, int], int]] = {
    "one volume after the other": lambda volume, index: 6 * volume + index + 1,
    "one position after the other": lambda volume, index: 4 * index + volume + 1,
    "with numbers left out": lambda volume, index: 100 * volume + 2 * index,
    "odd slices first": lambda volume, index: 6 * volume + [0, 3, 1, 4, 2, 5][index],
}


LOST = [
    *((order, None) for order in ORDERS),
    *(
        (order, lost)
        for order in ("one volume after the other", "one position after the other")
        for lost in [(1, 3), (3, 5), (2, 0)]
    ),
]


@pytest.mark.parametrize(("order", "lost"), LOST)
def test_volumes_that_only_their_order_tells_apart(
    tmp_path: Path, order: str, lost: tuple[int, int] | None
) -> None:
    expected = []
    for volume in range(4):

        def change(dataset: Dataset, index: int, volume: int = volume) -> None:
            dataset.InstanceNumber = ORDERS[order](volume, index)
            dataset.TriggerTime = str(31 * volume + 7 * index)  # another for every image

        paths = write_stack(tmp_path / f"v{volume}", change, add=volume)
        kept = [index for index in range(6) if lost != (volume, index)]
        if len(kept) < 6:
            paths[lost[1] if lost else 0].unlink()
        expected.append(([5.0 * index for index in kept], [100 * volume + index for index in kept]))
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    assert volumes_of(inputs) == expected
    assert told(inputs) == {("InstanceNumber",)}


@pytest.mark.parametrize("shift_mm", [0.05, 0.3, 2])
def test_a_second_run_that_only_its_numbers_tell_apart(tmp_path: Path, shift_mm: float) -> None:
    for run in range(2):

        def change(dataset: Dataset, index: int, run: int = run) -> None:
            dataset.InstanceNumber = 6 * run + index + 1

        write_stack(tmp_path / f"r{run}", change, first_mm=run * shift_mm, add=run)
    inputs = find_inputs([tmp_path])
    assert [positions for positions, _ in volumes_of(inputs)] == [
        even(0, 5, 6), pytest.approx(even(shift_mm, 5, 6)),
    ]  # fmt: skip


@pytest.mark.parametrize("drift_mm", [0.02, 0.3])
@pytest.mark.parametrize("order", ["one volume after the other", "odd slices first"])
def test_dynamics_whose_positions_drift_stay_whole(
    tmp_path: Path, order: str, drift_mm: float
) -> None:
    for volume in range(3):

        def change(dataset: Dataset, index: int, volume: int = volume) -> None:
            dataset.InstanceNumber = ORDERS[order](volume, index)

        first_mm = volume * drift_mm
        write_stack(tmp_path / f"v{volume}", change, first_mm=first_mm, add=volume)
    inputs = find_inputs([tmp_path])
    assert [values for _, values in volumes_of(inputs)] == [
        [100 * volume + index for index in range(6)] for volume in range(3)
    ]


@pytest.mark.parametrize("place_mm", [10, 12])
def test_a_derived_slice_among_the_others_is_a_part(tmp_path: Path, place_mm: float) -> None:
    write_stack(tmp_path / "a", setting(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]))
    derived = setting(ImageType=["DERIVED", "SECONDARY", "MPR"], InstanceNumber=50)
    write_stack(tmp_path / "b", derived, slices=1, first_mm=place_mm, add=1)
    assert volumes_of(find_inputs([tmp_path])) == [
        (even(0, 5, 6), [0, 1, 2, 3, 4, 5]), ([place_mm], [100]),
    ]  # fmt: skip


def test_thick_and_thin_slices_of_one_scan_are_two_volumes(tmp_path: Path) -> None:
    write_stack(tmp_path / "thick", setting(SliceThickness="5"))
    write_stack(tmp_path / "thin", setting(SliceThickness="1"), slices=26, step_mm=1, add=1)
    inputs = find_inputs([tmp_path])
    assert [positions for positions, _ in volumes_of(inputs)] == [even(0, 5, 6), even(0, 1, 26)]


def test_the_phases_of_a_heart_whose_times_differ_from_slice_to_slice(tmp_path: Path) -> None:
    for phase in range(4):

        def change(dataset: Dataset, index: int, phase: int = phase) -> None:
            dataset.TriggerTime = f"{phase * (33.1 + 0.7 * index):.1f}"
            dataset.InstanceNumber = 4 * index + phase + 1

        write_stack(tmp_path / f"p{phase}", change, add=phase)
    inputs = find_inputs([tmp_path])
    assert [values[0] for _, values in volumes_of(inputs)] == [0, 100, 200, 300]


def test_directions_beside_b_values_are_told_apart_by_their_order(tmp_path: Path) -> None:
    for volume in range(4):

        def change(dataset: Dataset, index: int, volume: int = volume) -> None:
            dataset.DiffusionBValue = 1000.0 if volume else 0.0
            dataset.InstanceNumber = 6 * volume + index

        write_stack(tmp_path / f"v{volume}", change, add=volume)
    inputs = find_inputs([tmp_path])
    assert [values[0] for _, values in volumes_of(inputs)] == [0, 100, 200, 300]
    assert told(inputs) == {("DiffusionBValue",), ("DiffusionBValue", "InstanceNumber")}


def test_two_blocks_that_share_one_position_lose_nothing(tmp_path: Path) -> None:
    write_stack(tmp_path / "a", setting(AcquisitionNumber=1))
    write_stack(tmp_path / "b", setting(AcquisitionNumber=2), first_mm=25, add=1)
    assert volumes_of(find_inputs([tmp_path])) == [
        (even(0, 5, 6), [0, 1, 2, 3, 4, 5]),
        (even(25, 5, 6), [100, 101, 102, 103, 104, 105]),
    ]


def test_two_blocks_of_other_spacing_are_one_volume_with_uneven_steps(tmp_path: Path) -> None:
    write_stack(tmp_path / "a", setting(AcquisitionNumber=1), step_mm=2)
    write_stack(tmp_path / "b", setting(AcquisitionNumber=2), first_mm=12, step_mm=5, add=1)
    ((positions, _),) = volumes_of(find_inputs([tmp_path]))
    assert positions == [*even(0, 2, 6), *even(12, 5, 6)]


def test_two_stacks_far_apart_are_two(tmp_path: Path) -> None:
    write_stack(tmp_path / "a", setting(StackID="1"))
    write_stack(tmp_path / "b", setting(StackID="2"), first_mm=80, add=1)
    assert len(find_inputs([tmp_path]).readable) == 2


def test_fields_of_view_beside_each_other_are_two(tmp_path: Path) -> None:
    write_stack(tmp_path / "a", setting())

    def beside(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = ["-20", "250", str(5 * index)]
        dataset.InstanceNumber = 3  # tells nothing

    write_stack(tmp_path / "b", beside, add=1)
    inputs = find_inputs([tmp_path])
    assert [values[0] for _, values in volumes_of(inputs)] == [0, 100]
    assert told(inputs) == {("ImagePositionPatient",)}


def again(path: Path, to: Path, change: Change) -> Path:
    """Export an image once more, under another UID."""
    shutil.copy(path, to)
    edit([to], lambda dataset, index: setattr(dataset, "SOPInstanceUID", generate_uid()))
    edit([to], change)
    return to


@pytest.mark.parametrize(
    "change", [setting(), setting(InstanceNumber=99), setting(ContentTime="235959")]
)
@pytest.mark.parametrize("which", [(2,), (0, 5), (0, 1, 2, 3, 4, 5)])
def test_the_same_pixels_at_one_position_under_another_uid_are_a_copy(
    tmp_path: Path, which: tuple[int, ...], change: Change
) -> None:
    paths = write_stack(tmp_path / "a", setting())
    copies = [again(paths[index], tmp_path / f"again{index}", change) for index in which]
    inputs = find_inputs([tmp_path])
    assert volumes_of(inputs) == [(even(0, 5, 6), [0, 1, 2, 3, 4, 5])]
    assert {one.status for one in inputs.failures} == {"repeat"}
    pairs = [{one.path, one.repeats} for one in inputs.failures]
    expected = [{copy, paths[index]} for copy, index in zip(copies, which, strict=True)]
    assert sorted(map(sorted, pairs)) == sorted(map(sorted, expected))  # type: ignore[arg-type]
    assert inputs.readable[0].read().reading.copied_slices == len(which)


def test_a_whole_acquisition_with_the_same_pixels_is_kept(tmp_path: Path) -> None:
    """Its header says that it is another, and nothing is lost by believing it."""
    write_stack(tmp_path / "a", setting(AcquisitionNumber=1))
    write_stack(tmp_path / "b", setting(AcquisitionNumber=2))
    assert [one.slices for one in find_inputs([tmp_path]).readable] == [6, 6]


def test_a_second_export_in_another_encoding_is_a_part(tmp_path: Path) -> None:
    paths = write_stack(tmp_path / "a", setting())
    again(paths[2], tmp_path / "other", lambda d, _: d.compress(RLELossless))
    assert [one.slices for one in find_inputs([tmp_path]).readable] == [6, 1]


def test_empty_slices_of_dynamics_are_no_copies(tmp_path: Path) -> None:
    for volume in range(3):

        def change(dataset: Dataset, index: int, volume: int = volume) -> None:
            dataset.InstanceNumber = 6 * volume + index
            if index in (0, 5):
                dataset.PixelData = bytes(40)

        write_stack(tmp_path / f"v{volume}", change, add=volume)
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    assert [one.slices for one in inputs.readable] == [6, 6, 6]


def test_one_slice_that_nothing_tells_from_another_stands_beside_its_volume(tmp_path: Path) -> None:
    paths = write_stack(tmp_path / "a", setting())
    again(paths[2], tmp_path / "other", lambda d, _: setattr(d, "PixelData", bytes(range(40))))
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    assert sorted(one.slices for one in inputs.readable) == [1, 6]


def test_one_position_many_times_is_as_many_parts(tmp_path: Path) -> None:
    for number in range(5):
        write_stack(tmp_path / f"n{number}", setting(InstanceNumber=number), slices=1, add=number)
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    assert [one.part for one in inputs.readable] == [1, 2, 3, 4, 5]
    assert [values for _, values in volumes_of(inputs)] == [[0], [100], [200], [300], [400]]


def jittering(size: float) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        generator = random.Random(index)  # noqa: S311 - no secret
        cosines = [1, 0, 0, 0, 1, 0]
        dataset.ImageOrientationPatient = [
            f"{cosine + generator.uniform(-size, size):.4f}" for cosine in cosines
        ]

    return change


@pytest.mark.parametrize("lost", [None, 4])
@pytest.mark.parametrize("size", [0.0005, 0.0007, 0.001, 0.002, 0.008, 0.02])
def test_directions_that_jitter_make_one_volume(
    tmp_path: Path, size: float, lost: int | None
) -> None:
    paths = write_stack(tmp_path / "a", jittering(size), slices=10)
    if lost is not None:
        paths[lost].unlink()
    (one,) = find_inputs([tmp_path]).readable
    volume = one.read()
    steps_mm = np.diff(volume.grid.slice_positions_mm)
    np.testing.assert_allclose(np.delete(steps_mm, [] if lost is None else 3), 5, atol=0.05)
    assert abs(np.linalg.norm(volume.grid.row_step_lps_mm) - 0.8) < 1e-9
    assert abs(volume.grid.row_step_lps_mm @ volume.grid.column_step_lps_mm) < 1e-9
    assert volume.reading.tilt_degrees is None
    if size > 0.001 and lost is None:
        jitter = volume.reading.jitter_degrees
        assert jitter is not None
        assert jitter < 1.5 * np.degrees(size)


PLANS: dict[str, Sequence[tuple[Change, dict[str, float]]]] = {
    "phases": [(setting(TemporalPositionIdentifier=n), {"add": n}) for n in range(3)],
    "order": [
        (lambda d, i, n=n: setattr(d, "InstanceNumber", 6 * n + i), {"add": n}) for n in range(3)
    ],
    "acquisitions": [
        (setting(AcquisitionNumber=n), {"add": n, "first_mm": 0.3 * n}) for n in range(2)
    ],
    "contrasts": [(setting(EchoTime=str(n)), {"add": n, "first_mm": 2.5 * n}) for n in range(2)],
}  # fmt: skip


@tries(max_examples=6, deadline=None)
@given(kind=st.sampled_from(sorted(PLANS)), seed=st.integers(0, 99))
def test_names_and_their_order_play_no_part_in_the_plan(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int
) -> None:
    base = tmp_path_factory.mktemp("plan")
    for number, (change, options) in enumerate(PLANS[kind]):
        write_stack(base / f"s{number}", change, **options)  # type: ignore[arg-type]
    paths = sorted(base.rglob("*.dcm"))
    mixed = base / "mixed"
    mixed.mkdir()
    names = list(range(len(paths)))
    random.Random(seed).shuffle(names)  # noqa: S311 - no secret
    for path, name in zip(paths, names, strict=True):
        shutil.copy(path, mixed / f"IM{name:03d}")
    plain = [one.read() for one in find_inputs(paths).readable]
    other = [one.read() for one in find_inputs([mixed]).readable]
    assert [facts(volume) for volume in plain] == [facts(volume) for volume in other]


def facts(volume: Volume) -> tuple[object, ...]:
    uids = [source.sop_instance_uid for source in volume.sources]
    return volume.content_digest, volume.part, volume.reading, uids


def test_many_small_images_are_planned_in_time_that_grows_with_them(tmp_path: Path) -> None:
    header = read_header(write_phantom(tmp_path, make_grid(shape=(1, 2, 2)))[0], DEFAULT_LIMITS)
    started = process_time()
    stacks, failures = split_series(list(many(header, volumes=250, slices=40)))
    assert process_time() - started < 20  # steps that grow with the square would take minutes
    assert (len(stacks), failures) == (250, [])
    assert {len(stack.slices) for stack in stacks} == {40}


def many(header: ImageHeader, *, volumes: int, slices: int) -> Iterator[ImageHeader]:
    """Give the headers of a long dynamic series, which only their numbers tell apart."""
    (frame,) = header.frames
    assert frame.plane is not None
    for number in range(volumes * slices):
        plane = replace(frame.plane, position_lps_mm=(0.0, 0.0, 2.0 * (number % slices)))
        yield replace(
            header,
            path=Path(f"/nowhere/{number}"),
            sop_instance_uid=f"2.25.{number}",
            instance_number=number,
            frames=(replace(frame, plane=plane),),
        )


def test_every_sign_is_on_the_page_about_series() -> None:
    page = (Path(__file__).parents[3] / "docs" / "series.md").read_text("utf-8")
    assert [sign for sign in SIGNS if sign not in page] == []
