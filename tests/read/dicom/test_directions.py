"""Directions and numbers of planes that are broken, or turn: one volume, or one refusal."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs, read_volume
from headclip_med.settings import ScreenSettings
from tests.bright import BrightModel
from tests.phantoms import edit, read_at
from tests.read.dicom.test_splitting import Change, even, setting, write_stack


def turning(degrees: float, advance_mm: float = 0) -> Change:
    """Turn around the middle of the rows from slice to slice."""

    def turn(dataset: Dataset, index: int) -> None:
        angle = np.radians(index * degrees)
        across = np.array([np.cos(angle), 0, np.sin(angle)])
        dataset.ImageOrientationPatient = [f"{x:.9f}" for x in (*across, 0, 1, 0)]
        origin = np.array([0, 0, index * advance_mm]) - across
        dataset.ImagePositionPatient = [f"{x:.9f}" for x in origin]

    return turn


def refused(folder: Path, code: str) -> int:
    """Count the files refused by one reason, and want no other."""
    inputs = find_inputs([folder])
    assert {one.code for one in inputs.failures} <= {code}
    assert len({(one.reason, one.advice) for one in inputs.failures}) <= 1
    return len(inputs.failures)


@pytest.mark.parametrize("advance_mm", [0, 3])
@pytest.mark.parametrize("degrees", [1, 10, 22.5, -30, 45])
def test_planes_that_turn_around_an_axis_are_the_views_of_one_volume(
    tmp_path: Path, degrees: float, advance_mm: float
) -> None:
    paths = write_stack(tmp_path / "a", turning(degrees, advance_mm), slices=8)
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    (one,) = inputs.readable
    volume = one.read()
    assert (volume.reading.views, volume.grid.is_patient) == (8, False)
    assert [int(values.max()) for values in volume.voxels] == list(range(8))
    assert read_volume(paths[3]).grid.is_patient  # one alone lies where it says


def test_several_images_of_each_view_stay_in_order(tmp_path: Path) -> None:
    for phase in range(3):

        def change(dataset: Dataset, index: int, phase: int = phase) -> None:
            turning(30)(dataset, index)
            dataset.TriggerTime, dataset.InstanceNumber = 40 * phase, 3 * index + phase + 1

        write_stack(tmp_path / f"p{phase}", change, slices=5, add=phase)
    (one,) = find_inputs([tmp_path]).readable
    values = [int(values.max()) for values in one.read().voxels]
    assert values == [100 * phase + index for index in range(5) for phase in range(3)]


@pytest.mark.parametrize("order", [[0, 3, 1, 4, 2, 5], [5, 0, 4, 1, 3, 2]])
def test_directions_that_turn_to_and_fro_are_one_refusal(tmp_path: Path, order: list[int]) -> None:
    def change(dataset: Dataset, index: int) -> None:
        turning(7)(dataset, order[index])
        dataset.ImagePositionPatient = [0, 0, 5 * index]

    write_stack(tmp_path / "a", change)
    assert find_inputs([tmp_path]).readable == ()
    assert refused(tmp_path, "scattered-planes") == 6


def test_what_is_found_on_a_view_is_written_for_that_view_alone(tmp_path: Path) -> None:
    write_stack(tmp_path / "in", turning(30), slices=5, add=2)
    settings = ScreenSettings(threshold=0.01, minimum_size=0.0)
    out = tmp_path / "out"
    screener = Screener(model=BrightModel(), out=out, settings=settings)
    (row,) = screen_inputs(find_inputs([tmp_path / "in"]), screener).rows
    assert {lesion.unit for lesion in row.lesions} == {"px"}
    assert all(len(set(lesion.slices)) == 1 for lesion in row.lesions)
    segmentations = [pydicom.dcmread(path) for path in (out / row.folder).glob("seg*.dcm")]
    assert len(segmentations) == 5
    referred = set()
    for one in segmentations:
        (series,) = one.ReferencedSeriesSequence
        (instance,) = series.ReferencedInstanceSequence
        referred.add(instance.ReferencedSOPInstanceUID)
        assert "FrameOfReferenceUID" not in one or not one.FrameOfReferenceUID
    assert len(referred) == 5


@pytest.mark.parametrize("size", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("slices", [4, 10])
def test_directions_that_jitter_widely_are_one_refusal(
    tmp_path: Path, size: float, slices: int
) -> None:
    def jitter(dataset: Dataset, index: int) -> None:
        generator = np.random.default_rng(index)
        axes, _ = np.linalg.qr(np.eye(3) + generator.uniform(-size, size, (3, 3)))
        axes *= np.sign(np.diag(axes))
        dataset.ImageOrientationPatient = [f"{x:.6f}" for x in axes[:, :2].T.ravel()]

    write_stack(tmp_path / "a", jitter, slices=slices)
    assert find_inputs([tmp_path]).readable == ()
    assert refused(tmp_path, "scattered-planes") == slices


@pytest.mark.parametrize("degrees", [5, 12])
def test_one_slice_that_leans_within_a_stack_costs_a_note(tmp_path: Path, degrees: float) -> None:
    paths = write_stack(tmp_path / "a", setting(), slices=10)
    angle = np.radians(degrees)
    cosines = [np.cos(angle), 0, np.sin(angle), 0, 1, 0]
    edit([paths[4]], setting(ImageOrientationPatient=[f"{x:.6f}" for x in cosines]))
    (one,) = find_inputs([tmp_path]).readable
    assert (one.slices, one.read().reading.unusable_files) == (9, 1)
    assert refused(tmp_path, "scattered-planes") == 1


AXES = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("word", [True, False])
def test_the_three_planes_of_a_localizer_are_parts(tmp_path: Path, each: int, word: bool) -> None:
    def plane(dataset: Dataset, index: int) -> None:
        cosines = AXES[index // each]
        dataset.ImageOrientationPatient = cosines
        normal = np.cross(cosines[:3], cosines[3:])
        dataset.ImagePositionPatient = (5 * (index % each) * normal).tolist()
        if word:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_stack(tmp_path / "a", plane, slices=3 * each)
    inputs = find_inputs([tmp_path])
    assert [one.slices for one in inputs.readable] == [each] * 3
    assert not inputs.failures


def test_a_localizer_of_many_planes_is_one_whatever_they_are(tmp_path: Path) -> None:
    def plane(dataset: Dataset, index: int) -> None:
        turning(25)(dataset, index)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_stack(tmp_path / "a", plane, slices=6)
    assert len(find_inputs([tmp_path]).readable) == 6


@pytest.mark.parametrize("turned", [60, 90])
def test_long_axes_with_phases_are_parts(tmp_path: Path, turned: float) -> None:
    for phase in range(3):

        def change(dataset: Dataset, index: int, phase: int = phase) -> None:
            turning(turned)(dataset, index)
            dataset.TriggerTime, dataset.InstanceNumber = 40 * phase, 10 * index + phase

        write_stack(tmp_path / f"p{phase}", change, slices=2, add=phase)
    inputs = find_inputs([tmp_path])
    assert [one.slices for one in inputs.readable] == [1] * 6
    assert not inputs.failures


BROKEN = {
    "parallel": [1, 0, 0, 1, 0, 0],
    "slanting": [1, 0, 0, 0.5, 0.87, 0],
    "zero": [0] * 6,
    "one short": [1, 0, 0, 0, 0.3, 0],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_cosines_that_are_no_plane_are_one_refusal(tmp_path: Path, kind: str) -> None:
    paths = write_stack(tmp_path / "a", setting(ImageOrientationPatient=BROKEN[kind]), slices=5)
    assert find_inputs([tmp_path]).readable == ()
    assert refused(tmp_path, "broken-plane") == 5
    assert not read_volume(paths[0]).grid.is_patient


@pytest.mark.parametrize("text", ["nan", "1e400", "x", "0,0,1"])
@pytest.mark.parametrize("keyword", ["ImageOrientationPatient", "ImagePositionPatient"])
def test_one_plane_of_no_numbers_stands_alone_in_pixels(
    tmp_path: Path, keyword: str, text: str
) -> None:
    paths = write_stack(tmp_path / "a", setting(), slices=7)
    old = b"\\".join(str(x).encode() for x in read_at(paths[3])[keyword].value)
    new = b"\\".join([text.encode(), *old.split(b"\\")[1:]])
    head = struct.pack("<H", len(old) + len(old) % 2)
    assert paths[3].read_bytes().count(head + old) == 1
    padded = new + b" " * (len(new) % 2)
    changed = (
        paths[3]
        .read_bytes()
        .replace(head + old + b" " * (len(old) % 2), struct.pack("<H", len(padded)) + padded)
    )
    paths[3].write_bytes(changed)
    inputs = find_inputs([tmp_path])
    assert not inputs.failures
    assert [one.slices for one in inputs.readable] == [6, 1]
    assert [one.read().grid.is_patient for one in inputs.readable] == [True, False]


@pytest.mark.parametrize("factor", [2, 1000, 0.01])
def test_a_factor_of_the_cosines_is_taken_out_with_a_note(tmp_path: Path, factor: float) -> None:
    cosines = [factor, 0, 0, 0, factor, 0]
    write_stack(tmp_path / "a", setting(ImageOrientationPatient=cosines))
    (one,) = find_inputs([tmp_path]).readable
    volume = one.read()
    assert volume.reading.mended_orientation
    assert volume.grid.slice_positions_mm.tolist() == even(0, 5, 6)


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "SeriesNumber"])
def test_what_each_file_has_its_own_of_makes_no_pieces_of_an_uneven_series(
    tmp_path: Path, keyword: str
) -> None:
    places = [0, 5, 11, 30, 34, 50]

    def change(dataset: Dataset, index: int) -> None:
        setattr(dataset, keyword, f"2.25.{index}" if keyword.endswith("UID") else index)
        dataset.ImagePositionPatient = [-20, -30, places[index]]

    write_stack(tmp_path / "a", change)
    (one,) = find_inputs([tmp_path]).readable
    reading = one.read().reading
    assert (one.slices, reading.disbelieves) == (6, (keyword,))
    assert reading.spacing is not None
