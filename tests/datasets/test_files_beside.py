"""Every file that is not hidden in a folder of images is read, or said by its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.cli import main
from headclip_med.datasets import Dataset, check_set, find_set, open_dataset, read_image
from headclip_med.errors import UnreadableInput


def picture(path: Path, level: int = 90, form: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (level, level, level)).save(path, form)
    return path


def classes(root: Path) -> Path:
    picture(root / "good/a.png", 10)
    picture(root / "bad/b.png", 20)
    return root


def opened(root: Path) -> Dataset:
    return open_dataset(f"folder:{root}")


def said(dataset: Dataset) -> list[tuple[str, str]]:
    return [(one.code, one.message) for one in dataset.findings]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("c.webp", "WEBP"), ("c.WEBP", "WEBP"), ("c.jfif", "JPEG"), ("c.JFIF", "JPEG"),
        ("c.jpe", "JPEG"), ("c.JPG", "JPEG"), ("c.Jpeg", "JPEG"), ("c.jp2", "JPEG2000"),
        ("c.TIF", "TIFF"), ("c.bmp", "BMP"), ("c.gif", "GIF"), ("__c.png", "PNG"),
        ("two.dots.png", "PNG"), ("a b (1).png", "PNG"),
    ],
)  # fmt: skip
def test_every_format_and_way_to_write_it_is_read(tmp_path: Path, name: str, form: str) -> None:
    picture(classes(tmp_path) / "bad" / name, 200, form)
    dataset = opened(tmp_path)
    (one,) = [sample for sample in dataset.samples if sample.image_path.name == name]
    assert one.label == 1
    assert abs(int(read_image(one).mean()) - 200) <= 3
    assert dataset.findings == ()


def test_pictures_in_folders_inside_a_class_are_of_that_class(tmp_path: Path) -> None:
    picture(classes(tmp_path) / "bad/patient 1/scan/c.png", 30)
    picture(tmp_path / "good/patient 2/d.png", 40)
    dataset = opened(tmp_path)
    assert [(one.image_path.name, one.label) for one in dataset.samples] == [
        ("b.png", 1), ("c.png", 1), ("a.png", 0), ("d.png", 0),
    ]  # fmt: skip
    assert dataset.findings == ()


def test_folders_linked_in_a_circle_are_read_once(tmp_path: Path) -> None:
    picture(classes(tmp_path) / "bad/inner/c.png", 30)
    (tmp_path / "bad/inner/again").symlink_to(tmp_path / "bad")
    assert len(opened(tmp_path).samples) == 3


@pytest.mark.parametrize("name", ["masks", "Mask", "ground_truth", "test"])
def test_a_folder_of_something_else_inside_a_class_is_refused(tmp_path: Path, name: str) -> None:
    picture(classes(tmp_path) / "bad" / name / "c.png", 30)
    with pytest.raises(UnreadableInput, match=f"The folder bad/{name} inside a class"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Thumbs.db", b"\0" * 20, "an operating system's"),
        ("desktop.ini", b"[x]", "an operating system's"),
        ("readme.txt", b"Taken in a lab.", "no image"),
        ("labels.csv", b"a,1\n", "no image"),
        ("nothing", b"", "no image"),
    ],
)
def test_what_is_no_image_is_named_and_passed_over(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (classes(tmp_path) / "bad" / name).write_bytes(content)
    dataset = opened(tmp_path)
    assert len(dataset.samples) == 2
    assert said(dataset) == [
        ("passed-over", f"The file bad/{name} is {words}, and was passed over.")
    ]


def test_hidden_files_are_passed_over_without_a_word(tmp_path: Path) -> None:
    for name in (".DS_Store", "._b.png"):
        (classes(tmp_path) / "bad" / name).write_bytes(b"Mac")
    assert opened(tmp_path).findings == ()


def dicom(path: Path) -> None:
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 20)


def nifti(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), path)


def photo(path: Path) -> None:
    picture(path, form="PNG")


def heic(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


@pytest.mark.parametrize(
    ("name", "write", "code"),
    [
        ("c.dcm", dicom, "unread-image"),
        ("IM0001", dicom, "unread-image"),
        ("c.nii.gz", nifti, "unread-image"),
        ("c.heic", heic, "unread-image"),
        ("c.svg", lambda path: path.write_text("<svg/>"), "unread-image"),
        ("c.npy", lambda path: np.save(path, np.zeros(3)), "unread-image"),
        ("c", photo, "odd-suffix"),
        ("c.png.bak", photo, "odd-suffix"),
    ],
)
def test_an_image_that_is_not_read_is_an_error_that_names_it(
    tmp_path: Path, name: str, write: Callable[[Path], object], code: str
) -> None:
    write(classes(tmp_path) / "bad" / name)
    with pytest.raises(UnreadableInput, match=f"The file bad/{name} ") as caught:
        opened(tmp_path)
    assert caught.value.code == code
    found = check_set(find_set("folder"), tmp_path).findings
    assert [one.code for one in found if one.severity == "error"] == [code]


def test_a_broken_picture_and_a_link_to_nothing_are_named(tmp_path: Path) -> None:
    (classes(tmp_path) / "bad/c.webp").write_bytes(b"RIFF")
    (tmp_path / "bad/d.png").symlink_to(tmp_path / "gone.png")
    report = check_set(find_set("folder"), tmp_path)
    errors = [one for one in report.findings if one.severity == "error"]
    assert {one.code for one in errors} == {"broken-picture", "missing-file"}
    assert all("bad/c.webp" in one.reason or "bad/d.png" in one.reason for one in errors)


def test_folders_inside_images_of_a_set_with_masks_are_said(tmp_path: Path) -> None:
    for path in ("test/good/a.png", "test/dent/b.png", "test/dent/more/c.png"):
        picture(tmp_path / path)
    Image.fromarray(np.eye(6, 8, dtype=np.uint8)).save(
        picture(tmp_path / "ground_truth/dent/b_mask.png")
    )
    ((code, message),) = said(open_dataset(f"mvtec:{tmp_path}"))
    assert code == "inner-folder"
    assert "test/dent/more lies inside one of images, and its 1 pictures are not read" in message


def test_the_check_says_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (classes(tmp_path) / "bad/Thumbs.db").write_bytes(b"\0")
    assert main(["datasets", "check", "folder", str(tmp_path)]) == 0
    assert "note: The file bad/Thumbs.db is an operating system's" in capsys.readouterr().out
    shutil.copy(tmp_path / "bad/b.png", tmp_path / "bad/c.bak")
    assert main(["datasets", "check", "folder", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    codes = [one["code"] for one in found["findings"] if one["severity"] != "warning"]
    assert codes == ["odd-suffix", "passed-over"]
