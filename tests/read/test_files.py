"""What lies in a folder: images are found, the rest is named with a reason, nothing leaks."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read import Inputs, ReadLimits, find_inputs, read_volume
from headclip_med.read.dicom.pixels import values
from headclip_med.read.dicom.pixels.frames import Pixels
from tests.phantoms import PATIENT_NAME, edit, make_grid, make_voxels, read_at, write_phantom


def code_of(path: Path) -> str:
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    return str(refused.value.code)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert find_inputs([tmp_path]) == Inputs((), ())
    assert find_inputs([]) == Inputs((), ())
    assert code_of(tmp_path) == "nothing-found"


def test_a_path_that_does_not_exist_is_said_to_be_missing(tmp_path: Path) -> None:
    assert code_of(tmp_path / "nowhere") == "not-found"
    (failure,) = find_inputs([tmp_path / "nowhere"]).failures
    assert failure.is_error
    assert str(tmp_path) not in failure.reason + failure.advice


def test_a_path_may_be_given_as_text(tmp_path: Path) -> None:
    write_phantom(tmp_path)
    assert len(read_volume(str(tmp_path)).voxels) == 5


@pytest.mark.parametrize("name", ["IM1", "scan.dcm", "photo.png", "brain.nii.gz", "x.txt"])
def test_an_empty_file_is_called_empty_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert code_of(tmp_path / name) == "zero-byte-file"
    (failure,) = find_inputs([tmp_path]).failures
    assert (failure.code, failure.is_error) == ("zero-byte-file", True)


def test_other_files_in_a_folder_are_ordinary_but_a_mistake_when_named(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("nothing to see")
    (failure,) = find_inputs([tmp_path]).failures
    assert (failure.code, failure.is_error) == ("text-file", False)
    (named,) = find_inputs([tmp_path / "README.txt"]).failures
    assert (named.code, named.is_error) == ("unknown-format", True)


def test_hidden_and_system_files_are_listed_and_not_looked_at(tmp_path: Path) -> None:
    write_phantom(tmp_path / ".hidden")
    for name in (".DS_Store", "Thumbs.db", ".IM1"):
        (tmp_path / name).write_bytes(b"anything")
    found = find_inputs([tmp_path])
    assert found.readable == ()
    assert {one.path.name: (one.status, one.code) for one in found.failures} == {
        ".DS_Store": ("left-out", "hidden-file"),
        ".IM1": ("left-out", "hidden-file"),
        ".hidden": ("left-out", "hidden-folder"),
        "Thumbs.db": ("left-out", "system-file"),
    }
    assert len(find_inputs([tmp_path / ".hidden"]).readable) == 1  # named, so meant


def test_dicom_nifti_and_images_are_found_side_by_side_in_a_fixed_order(tmp_path: Path) -> None:
    import nibabel

    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)).to_filename(tmp_path / "b.nii")
    paths = write_phantom(tmp_path / "z" / "deep" / "er")
    for path in paths:
        path.rename(path.with_suffix(""))
    found = find_inputs([tmp_path])
    assert [one.kind for one in found.readable] == ["dicom", "nifti", "image"]
    assert [one.slices for one in found.readable] == [5, 4, 1]
    assert found.readable[0].modality == "CT"
    assert found.readable[0].paths == tuple(path.with_suffix("") for path in paths)
    assert found.failures == ()
    again = find_inputs([tmp_path / "b.nii", tmp_path / "z", tmp_path / "a.png"])
    assert again.readable == found.readable


def test_finding_reads_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_phantom(tmp_path)
    decoded: list[int] = []
    original = values.stored_frames

    def watch(pixels: Pixels, indices: list[int]) -> object:
        decoded.extend(indices)
        return original(pixels, indices)

    monkeypatch.setattr(values, "stored_frames", watch)
    (found,) = find_inputs([tmp_path], limits=ReadLimits(isolated=False)).readable
    assert decoded == []
    found.read()
    assert decoded == [0] * 5


def test_an_input_can_be_sent_to_another_process(tmp_path: Path) -> None:
    write_phantom(tmp_path)
    (found,) = find_inputs([tmp_path]).readable
    volume = pickle.loads(pickle.dumps(found)).read()  # noqa: S301
    np.testing.assert_array_equal(volume.voxels, make_voxels())


@pytest.mark.parametrize(
    "sop_class",
    [
        pydicom.uid.SegmentationStorage,
        "1.2.840.10008.5.1.4.1.1.66.7",
        pydicom.uid.ParametricMapStorage,
        pydicom.uid.RTDoseStorage,
    ],
)
def test_results_about_images_are_no_images_and_no_errors(tmp_path: Path, sop_class: str) -> None:
    write_phantom(tmp_path / "scan")
    result = write_phantom(tmp_path / "result", make_grid(shape=(1, 2, 2)))[0]
    edit([result], lambda dataset, _: setattr(dataset, "SOPClassUID", sop_class))
    found = find_inputs([tmp_path])
    assert [one.slices for one in found.readable] == [5]
    assert [(one.code, one.is_error) for one in found.failures] == [("not-an-image", False)]
    assert read_volume(tmp_path).notes == ()


@pytest.mark.parametrize(
    "sop_class",
    [
        pydicom.uid.ComprehensiveSRStorage,
        pydicom.uid.EncapsulatedPDFStorage,
        pydicom.uid.RTStructureSetStorage,
        pydicom.uid.GrayscaleSoftcopyPresentationStateStorage,
        pydicom.uid.MediaStorageDirectoryStorage,
    ],
)
def test_documents_without_pixels_are_no_errors(tmp_path: Path, sop_class: str) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        del dataset.PixelData, dataset.Rows, dataset.Columns

    edit(write_phantom(tmp_path, make_grid(shape=(1, 2, 2))), change)
    (failure,) = find_inputs([tmp_path]).failures
    is_index = sop_class == pydicom.uid.MediaStorageDirectoryStorage
    expected = "dicom-index" if is_index else "not-an-image"
    assert (failure.code, failure.is_error) == (expected, False)


def test_an_image_class_without_rows_is_an_error(tmp_path: Path) -> None:
    edit(write_phantom(tmp_path), lambda dataset, _: delattr(dataset, "Rows"))
    assert {failure.is_error for failure in find_inputs([tmp_path]).failures} == {True}


def test_our_own_secondary_captures_are_not_screened_again(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        dataset.Manufacturer = "headclip_med"

    edit(write_phantom(tmp_path, make_grid(shape=(1, 2, 2))), change)
    (failure,) = find_inputs([tmp_path]).failures
    assert (failure.code, failure.is_error) == ("own-result", False)


def test_a_folder_of_results_is_not_screened_again(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in")
    results = tmp_path / "out" / "1.2.3" / "4.5.6"
    (results / "slices").mkdir(parents=True)
    for name in ("result.json", "heatmap.nii.gz", "overlay.png", "slices/0001.png"):
        (results / name).write_bytes(b"something")
    found = find_inputs([tmp_path])
    assert [one.slices for one in found.readable] == [5]
    assert [(one.path, one.code, one.is_error) for one in found.failures] == [
        (results, "own-result", False)
    ]


def test_a_whole_slide_image_is_refused(tmp_path: Path) -> None:
    kind = pydicom.uid.VLWholeSlideMicroscopyImageStorage
    edit(write_phantom(tmp_path), lambda dataset, _: setattr(dataset, "SOPClassUID", kind))
    assert code_of(tmp_path) == "whole-slide-image"


def test_junk_beside_a_series_is_told_and_does_no_harm(tmp_path: Path) -> None:
    write_phantom(tmp_path)
    (tmp_path / "junk.dcm").write_bytes(b"\x08\0\x05\0CS" + bytes(range(256)) * 4)
    (tmp_path / "zero.dcm").touch()
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, make_voxels())
    assert volume.notes == ("2 file(s) beside this volume could not be used.",)


def test_pipes_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path / "pipe") == "not-a-regular-file"
    assert code_of(tmp_path) == "not-a-regular-file"


def test_links_inside_the_folder_are_followed_and_others_are_not(tmp_path: Path) -> None:
    outside = write_phantom(tmp_path / "outside")[0]
    folder = tmp_path / "given"
    inside = write_phantom(folder / "store", make_grid(shape=(1, 3, 3)))[0]
    shutil.move(inside, folder / "store" / "annex")
    inside.symlink_to(folder / "store" / "annex")
    (folder / "leak.dcm").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "elsewhere").symlink_to(tmp_path / "outside")
    (folder / "gone.dcm").symlink_to(folder / "nowhere")
    found = find_inputs([folder])
    assert [one.slices for one in found.readable] == [1]
    codes = {one.path.name: one.code for one in found.failures}
    codes.setdefault("annex", codes.pop(inside.name, ""))
    assert codes == {
        "leak.dcm": "link-outside",
        "elsewhere": "link-outside",
        "gone.dcm": "not-found",
        "annex": "repeat",  # of the link to it, or the other way round
    }
    assert len(read_volume(folder / "leak.dcm").voxels) == 1  # named, so meant


def test_a_file_that_is_given_twice_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (3, 3)).save(tmp_path / "one.png")
    (tmp_path / "notes.txt").write_text("nothing to see")
    monkeypatch.chdir(tmp_path)
    given = [Path(), tmp_path / "one.png", Path("one.png"), tmp_path / "notes.txt"]
    found = find_inputs(given)
    assert len(found.readable) == 1
    # What was named counts as named, wherever it stands in the list.
    assert [(one.code, one.is_error) for one in found.failures] == [("unknown-format", True)]


def test_what_may_not_be_read_is_said_to_need_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_phantom(tmp_path / "locked")
    write_phantom(tmp_path / "open", make_grid(shape=(2, 3, 3)))
    scan, stat, start = os.scandir, Path.stat, Path.open

    def refuse(path: object) -> None:
        if Path(os.fspath(path)).name == "locked":  # type: ignore[call-overload]
            raise PermissionError(13, "denied", os.fspath(path))  # type: ignore[call-overload]

    def scandir(path: object) -> object:
        refuse(path)
        return scan(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_inputs([tmp_path])
    assert [one.slices for one in found.readable] == [2]
    assert [(one.path.name, one.code) for one in found.failures] == [("locked", "no-permission")]

    def locked(path: Path, *arguments: object, **named: object) -> object:
        if path == paths[0]:
            raise PermissionError(13, "denied", str(path))
        return start(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", locked)
    assert code_of(paths[0]) == "no-permission"

    def hidden(path: Path, **named: object) -> object:
        if path == paths[0]:
            raise PermissionError(13, "denied", str(path))
        return stat(path, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "stat", hidden)
    assert code_of(paths[0]) == "no-permission"


FAULTS: dict[str, Callable[[Dataset, int], object]] = {
    "none": lambda dataset, index: None,
    "name in a number": lambda d, _: d.add_new("WindowCenter", "LO", PATIENT_NAME),
    "name in a position": lambda d, _: d.add_new("ImagePositionPatient", "LO", PATIENT_NAME),
    "name in a slope": lambda d, _: d.add_new("RescaleSlope", "LO", PATIENT_NAME),
    "name in a UID": lambda dataset, _: setattr(dataset, "SOPInstanceUID", PATIENT_NAME),
    "name as modality": lambda dataset, _: setattr(dataset, "Modality", PATIENT_NAME),
    "name as body part": lambda dataset, _: setattr(dataset, "BodyPartExamined", PATIENT_NAME),
    "name in rows": lambda d, _: d.add_new("Rows", "LO", PATIENT_NAME),
    "name as syntax": lambda d, _: setattr(d.file_meta, "TransferSyntaxUID", "1.2.3.4.5"),
    "cut": lambda dataset, _: setattr(dataset, "PixelData", b"12"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("always")
def test_no_value_of_a_patient_is_ever_repeated(
    tmp_path: Path,
    fault: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    paths = write_phantom(tmp_path / PATIENT_NAME)
    edit(paths, FAULTS[fault])
    for path in paths:  # text becomes a number only now: pydicom would not have written it
        path.write_bytes(re.sub(rb"LO(..)Zyxwvut", rb"DS\1Zyxwvut", path.read_bytes()))
    with caplog.at_level(logging.DEBUG):
        caplog.clear()
        recwarn.clear()
        told = []
        found = find_inputs([tmp_path])
        told += [repr(one) + one.reason + one.advice for one in found.failures]
        for one in found.readable:
            told.append(repr(one))
            try:
                volume = one.read()
                told += [*volume.notes, repr(volume.sources), str(volume.body_part)]
            except HeadClipError as error:
                told += [str(error), repr(error.__cause__)]
        told.append(caplog.text)
    told += [str(warning.message) for warning in recwarn]
    told += capfd.readouterr()
    assert "Zyxwvut" not in "".join(told)
    assert found.readable or found.failures


def test_foreign_loggers_keep_their_level(tmp_path: Path) -> None:
    logger = logging.getLogger("pydicom")
    level = logger.level
    write_phantom(tmp_path)
    read_volume(tmp_path)
    assert logger.level == level


def test_the_source_of_a_slice_stays_out_of_its_text(tmp_path: Path) -> None:
    path = write_phantom(tmp_path)[0]
    volume = read_volume(path)
    assert str(path) not in repr(volume.sources)
    assert read_at(volume.sources[0].path).SOPInstanceUID == volume.sources[0].sop_instance_uid
