"""Every file is told apart by what it is: read, an image that is not read, or no image."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.read import find_inputs, read_volume
from headclip_med.read.inputs import LEFT_OUT_CODES
from tests.phantoms import write_phantom

NOISE = b"\0" + np.random.default_rng(0).bytes(1999)
"""That no signature fits."""


def said(folder: Path) -> dict[str, tuple[str, str]]:
    return {one.path.name: (one.status, one.code) for one in find_inputs([folder]).failures}


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic"),
        ("a.avif", b"\0\0\0\x18ftypavif"),
        ("IM1", b"\0\0\0\x18ftypmif1"),
        ("a.mp4", b"\0\0\0\x18ftypisom"),
        ("a.avi", b"RIFF\0\0\0\0AVI "),
        ("a.jls", b"\xff\xd8\xff\xf7"),
        ("a.jxl", b"\xff\x0a"),
        ("a.psd", b"8BPS"),
        ("a.exr", b"v/1\x01"),
        ("a.mnc", b"\x89HDF"),
        ("b.mnc", b"CDF\x01"),
        ("a.h5", b"\x89HDF"),
        ("a.mat", b"MATLAB 5.0 MAT-file"),
        ("a.npy", b"\x93NUMPY"),
        ("a.npz", b"PK\3\4"),
        ("a.vtk", b"# vtk DataFile Version 3.0\n"),
        ("a.vti", b"<VTKFile"),
        ("a.hv", b"!INTERFILE  :=\n"),
        ("a.v", b"MATRIX72v"),
        ("a.mif", b"mrtrix image\n"),
        ("a.PAR", b"# === DATA DESCRIPTION FILE ===\n"),
        ("a.REC", NOISE),
        ("a+orig.HEAD", b"type = string-attribute\n"),
        ("a+orig.BRIK", NOISE),
        ("a.gipl", NOISE),
        ("a.svs", b"II*\0"),
        ("a.czi", b"ZISRAWFILE"),
        ("a.pgm", b"P5 4 4 255\n"),
        ("a.svg", b"<svg xmlns="),
        ("a.ico", b"\0\0\1\0"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c"),
        ("a.rar", b"Rar!\x1a\x07"),
        ("a.nii.zst", b"\x28\xb5\x2f\xfd"),
        ("a.tar.xz", b"\xfd7zXZ\0"),
        ("brain", bytes(344) + b"n+1\0"),
    ],
)
def test_an_image_in_a_format_that_is_not_read_is_a_failure(
    tmp_path: Path, name: str, start: bytes
) -> None:
    (tmp_path / name).write_bytes(start + NOISE)
    assert said(tmp_path) == {name: ("failed", "unread-format")}


@pytest.mark.parametrize(
    ("name", "start", "code"),
    [
        ("a.txt", b"hello\r\n", "text-file"),
        ("README", "Größe: 3 mm\n".encode("latin-1") * 99, "text-file"),
        ("LIESMICH", "Größe: 3 mm\n".encode() * 99, "text-file"),
        ("a.log", "hello".encode("utf-16"), "text-file"),
        ("a.csv", b"a,b\n1,2\n", "text-file"),
        ("a.json", b'{"a": 1}', "text-file"),
        ("a.bval", b"0 1000 1000\n", "text-file"),
        ("a.html", b"<!DOCTYPE html>", "text-file"),
        ("a.pdf", b"%PDF-1.7\n" + NOISE, "document"),
        ("report", b"%PDF-1.7\n" + NOISE, "document"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, "document"),
        ("a.docx", b"PK\3\4" + NOISE, "document"),
        ("a.xlsx", b"PK\3\4" + NOISE, "document"),
        ("a.sqlite", b"SQLite format 3\0" + NOISE, "document"),
        ("viewer.exe", b"MZ\x90\0" + NOISE, "program"),
        ("lib.so.1", b"\x7fELF" + NOISE, "program"),
        ("viewer.jar", b"PK\3\4" + NOISE, "program"),
        ("a.wav", b"RIFF\0\0\0\0WAVE" + NOISE, "sound"),
        ("a.mp3", b"ID3" + NOISE, "sound"),
        ("Thumbs.db", NOISE, "system-file"),
        ("DESKTOP.INI", b"[.ShellClassInfo]", "system-file"),
        ("._IM1", NOISE, "hidden-file"),
    ],
)
def test_what_is_no_image_is_left_out_with_a_code(
    tmp_path: Path, name: str, start: bytes, code: str
) -> None:
    (tmp_path / name).write_bytes(start)
    assert said(tmp_path) == {name: ("left-out", code)}


@pytest.mark.parametrize("name", ["a.bin", "scan", "a.raw", "a.dat", "a.xyz"])
def test_what_nobody_knows_might_be_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(NOISE)
    assert said(tmp_path) == {name: ("failed", "unknown-format")}


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.nii", "a.mha", "a.nrrd", "a.gif", "a.zip"])
def test_text_under_the_name_of_an_image_is_a_broken_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"hello\n" * 200)
    ((status, code),) = said(tmp_path).values()
    assert status == "failed"
    assert code.startswith(("broken", "unclear"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.gif", {}),
        ("a.webp", {"lossless": True}),
        ("a.jp2", {"irreversible": False}),
        ("a.bmp", {}),
        ("picture", {"format": "JPEG2000", "irreversible": False}),
    ],
)
def test_pictures_of_other_formats_are_the_same_pictures(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    grey = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24) // 2
    Image.fromarray(grey).save(tmp_path / name, **options)  # type: ignore[arg-type]
    voxels = read_volume(tmp_path / name).voxels[0]
    np.testing.assert_array_equal(voxels if voxels.ndim == 2 else voxels[..., 0], grey)


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_of_a_film_the_first_picture_is_read_and_that_is_said(tmp_path: Path, name: str) -> None:
    frames = [Image.new("L", (8, 8), 60 * number) for number in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    volume = read_volume(tmp_path / name)
    assert (len(volume.voxels), volume.reading.skipped_pages) == (1, 2)


def test_files_are_called_as_they_lie_below_what_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/one.txt", "a/b/two.txt", "c/three.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")

    def names(*given: str) -> list[str]:
        return list(find_inputs([Path(one) for one in given]).names.values())

    monkeypatch.chdir(tmp_path)
    assert names("a") == names("a/") == names(f"{tmp_path}/a") == ["b/two.txt", "one.txt"]
    assert names("a/one.txt") == ["one.txt"]
    assert names("a/b", "c") == ["a/b/two.txt", "c/three.txt"]
    assert names(".") == ["a/b/two.txt", "a/one.txt", "c/three.txt"]
    assert names() == []


def test_nothing_that_is_found_is_missing(tmp_path: Path) -> None:
    """Whatever lies there, each file is in an input or has a failure, or its folder has one."""
    chance = random.Random(5)  # noqa: S311
    write_phantom(tmp_path / "ct")
    write_phantom(tmp_path / "copy")
    for number in range(60):
        folder = tmp_path / chance.choice(["ct", "deep/er", ".hidden", "link/to"])
        folder.mkdir(parents=True, exist_ok=True)
        end = chance.choice([".txt", ".dcm", ".png", ".nii.gz", ".mhd", ".zip", "", ".db", ".hdr"])
        (folder / f"f{number}{end}").write_bytes(chance.randbytes(chance.randrange(400)))
    (tmp_path / "deep" / "away").symlink_to(tmp_path.parent)
    os.mkfifo(tmp_path / "pipe")
    found = find_inputs([tmp_path])
    listed = {*found.names}
    for folder, _, files in os.walk(tmp_path):
        for name in files:
            path = Path(folder, name)
            assert path in listed or any(above in listed for above in path.parents), path
    assert len(found.names) == len({*found.names.values()})
    used = {path for one in found.readable for path in one.paths}
    assert {one.path for one in found.failures} | used == listed
    assert len(found.failures) + len(used) == len(listed)
    kept = {one.path: one.repeats for one in found.failures if one.status == "repeat"}
    assert len(kept) == 5
    assert {*kept.values()} <= used


def test_the_documentation_names_every_code_of_what_is_left_out() -> None:
    page = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text()
    assert [code for code in sorted(LEFT_OUT_CODES) if f"`{code}`" not in page] == []


def test_names_that_are_no_letters_are_spelled_out_and_stay_apart(tmp_path: Path) -> None:
    for name in (b"\xff.png", b"\xfe.png", b"\xff.txt"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(b"text")
    names = list(find_inputs([tmp_path]).names.values())
    assert names == ["\\udcfe.png", "\\udcff.png", "\\udcff.txt"]
