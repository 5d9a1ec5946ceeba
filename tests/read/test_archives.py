"""Archives and discs: what is in them is found, and nothing in them leads anywhere."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from headclip_med.read import ReadLimits, find_inputs, read_volume
from tests.phantoms import make_voxels, write_phantom

LIMITS = ReadLimits(archive_members=20, archive_bytes=1 << 20, archive_ratio=20)
Packer = Callable[[Path, dict[str, bytes]], None]


def pack_zip(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, stored in content.items():
            packed.writestr(name, stored)


def pack_tar(path: Path, content: dict[str, bytes]) -> None:
    mode = {".gz": "w:gz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, stored in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(stored)
            packed.addfile(entry, io.BytesIO(stored))


PACKERS: dict[str, Packer] = {
    "a.zip": pack_zip,
    "a.tar": pack_tar,
    "a.tar.gz": pack_tar,
    "a.tgz": lambda path, content: _renamed(path, content, "x.tar.gz"),
    "a.tar.bz2": pack_tar,
}


def _renamed(path: Path, content: dict[str, bytes], name: str) -> None:
    pack_tar(path.with_name(name), content)
    path.with_name(name).rename(path)


def study(folder: Path) -> dict[str, bytes]:
    paths = write_phantom(folder)
    return {f"study/{path.name}": path.read_bytes() for path in paths}


def code_of(path: Path, limits: ReadLimits = LIMITS) -> str:
    """What is said of an archive, of which nothing may be left then."""
    found = find_inputs([path], limits=limits)
    assert found.readable == ()
    (failure,) = found.failures
    assert (failure.path, failure.status) == (path, "failed")
    return failure.code


@pytest.mark.parametrize("name", PACKERS)
def test_a_packed_study_is_read_as_if_it_lay_there(tmp_path: Path, name: str) -> None:
    content = study(tmp_path / "study")
    (tmp_path / "in").mkdir()
    PACKERS[name](tmp_path / "in" / name, {**content, "readme.txt": b"hello"})
    found = find_inputs([tmp_path / "in"])
    (one,) = found.readable
    np.testing.assert_array_equal(one.read().voxels, make_voxels())
    called = [name, f"{name}/readme.txt", *(f"{name}/{member}" for member in content)]
    assert list(found.names.values()) == sorted(called)
    assert {found.names[one.path]: one.code for one in found.failures} == {
        name: "unpacked-archive",
        f"{name}/readme.txt": "text-file",
    }
    np.testing.assert_array_equal(read_volume(tmp_path / "in" / name).voxels, make_voxels())


@pytest.mark.parametrize("packed", [("x.gz", gzip.compress), ("x.bz2", bz2.compress)])
def test_a_single_packed_file_is_read(
    tmp_path: Path, packed: tuple[str, Callable[[bytes], bytes]]
) -> None:
    (slice_path,) = [write_phantom(tmp_path / "study")[0]]
    name = slice_path.name + packed[0].removeprefix("x")
    (tmp_path / name).write_bytes(packed[1](slice_path.read_bytes()))
    found = find_inputs([tmp_path / name])
    assert [one.slices for one in found.readable] == [1]
    assert list(found.names.values()) == [name, f"{name}/{slice_path.name}"]


def test_folders_are_private_and_gone_with_the_process(tmp_path: Path) -> None:
    pack_zip(tmp_path / "a.zip", study(tmp_path / "study"))
    program = (
        "import sys, time; from pathlib import Path; from headclip_med.read import find_inputs;"
        "found = find_inputs([Path(sys.argv[1])]); print(found.readable[0].paths[0], flush=True);"
        "time.sleep(60 if len(sys.argv) > 2 else 0)"
    )
    for killed in ([], ["killed"]):
        command = [sys.executable, "-c", program, str(tmp_path / "a.zip"), *killed]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            file = Path(running.stdout.readline().strip())
            root = next(one for one in file.parents if one.name.startswith("headclip-"))
            if killed:
                assert file.is_file()
                assert stat.S_IMODE(root.stat().st_mode) == 0o700
                os.kill(running.pid, signal.SIGKILL)
        until = time.monotonic() + 20
        while root.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not root.exists()


@pytest.mark.parametrize(
    "name",
    ["../out.dcm", "a/../../out.dcm", "/etc/out.dcm", "C:\\out.dcm", "..\\out.dcm", "x" * 300,
     "/".join("d" * 40), "a\0.dcm"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_name_that_leads_out_costs_the_archive(tmp_path: Path, name: str, kind: str) -> None:
    if "\0" in name and kind != "a.zip":
        pytest.skip("tar ends names there")
    path = tmp_path / "a" / "b" / kind  # so deep that all it could lead to is the test's own
    path.parent.mkdir(parents=True)
    PACKERS[kind](path, {"good.dcm": b"1234", name.replace("\0", "\1"): b"1234"})
    if "\0" in name:
        path.write_bytes(path.read_bytes().replace(b"a\1.dcm", b"a\0.dcm"))
    before = {*tmp_path.rglob("*")}
    assert code_of(path) == "unsafe-archive"
    assert {*tmp_path.rglob("*")} == before
    assert not Path("/etc/out.dcm").exists()


def test_links_and_devices_are_never_made(tmp_path: Path) -> None:
    secret = write_phantom(tmp_path / "secret")[0]
    folder = tmp_path / "in"
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as packed:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                       tarfile.FIFOTYPE)):  # fmt: skip
            entry = tarfile.TarInfo(f"link{number}")
            entry.type, entry.linkname = kind, str(secret)
            packed.addfile(entry)
        inside = tarfile.TarInfo("link0/slice.dcm")
        inside.size = secret.stat().st_size
        packed.addfile(inside, io.BytesIO(secret.read_bytes()))
    with zipfile.ZipFile(folder / "b.zip", "w") as zipped:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, str(secret))
    found = find_inputs([folder])
    codes = {found.names[one.path]: one.code for one in found.failures}
    assert codes == {
        "a.tar": "unpacked-archive",
        **{f"a.tar/link{number}": "archive-link" for number in range(4)},
        "b.zip": "unpacked-archive",
        "b.zip/link": "archive-link",
    }
    assert [found.names[path] for path in found.readable[0].paths] == ["a.tar/link0/slice.dcm"]


@pytest.mark.parametrize("kind", PACKERS)
def test_what_holds_too_much_is_not_unpacked(tmp_path: Path, kind: str) -> None:
    pack = PACKERS[kind]
    pack(tmp_path / kind, {"zeros": bytes(2 << 20)})
    assert code_of(tmp_path / kind) == "archive-too-large"
    many = tmp_path / "many" / kind
    many.parent.mkdir()
    pack(many, {f"{number}": b"x" for number in range(30)})
    assert code_of(many) == "archive-too-many"


def test_a_ratio_that_no_study_has_is_refused(tmp_path: Path) -> None:
    pack_zip(tmp_path / "a.zip", {"zeros": bytes(70 << 20)})
    assert code_of(tmp_path / "a.zip", ReadLimits(archive_ratio=20)) == "archive-too-large"
    (tmp_path / "b.gz").write_bytes(gzip.compress(bytes(70 << 20)))
    assert code_of(tmp_path / "b.gz", ReadLimits(archive_ratio=20)) == "archive-too-large"


def test_a_size_that_is_a_lie_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(2 << 20))
    raw = bytearray(path.read_bytes())
    honest, claimed = (2 << 20).to_bytes(4, "little"), (9).to_bytes(4, "little")
    path.write_bytes(raw.replace(honest, claimed))
    assert code_of(path) == "broken-archive"


def test_a_long_tar_of_nothing_is_counted_while_it_is_skipped(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = b"Z", 3 << 20  # a kind that is skipped over
    stored = entry.tobuf(tarfile.GNU_FORMAT) + bytes(3 << 20)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(stored + bytes(1024)))
    assert code_of(tmp_path / "a.tar.gz") in {"archive-too-large", "broken-archive"}


def test_a_header_of_a_tar_may_not_fill_the_memory(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 30
    stored = entry.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(stored + bytes(1 << 20)))
    assert code_of(tmp_path / "a.tar.gz") == "archive-too-large"


def test_archives_in_archives_stay_packed(tmp_path: Path) -> None:
    pack_zip(tmp_path / "inner.zip", study(tmp_path / "study"))
    pack_zip(tmp_path / "outer.zip", {"inner.zip": (tmp_path / "inner.zip").read_bytes()})
    found = find_inputs([tmp_path / "outer.zip"])
    assert found.readable == ()
    assert {found.names[one.path]: (one.status, one.code) for one in found.failures} == {
        "outer.zip": ("left-out", "unpacked-archive"),
        "outer.zip/inner.zip": ("failed", "nested-archive"),
    }


def test_damaged_and_locked_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    pack_zip(path, {"a.dcm": bytes(range(256)) * 9})
    whole = path.read_bytes()
    for kept in (30, 100, len(whole) - 30):
        path.write_bytes(whole[:kept])
        assert code_of(path) == "broken-archive"
    locked = bytearray(whole)
    locked[6] |= 1
    locked[whole.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(locked)
    assert code_of(path) == "encrypted-archive"
    for name, stored in (("b.gz", gzip.compress(bytes(99))), ("c.bz2", bz2.compress(bytes(99)))):
        (tmp_path / name).write_bytes(stored[:-9])
        assert code_of(tmp_path / name) == "broken-archive"
    for name in ("d.zip", "e.tar", "f.tgz"):
        (tmp_path / name).write_bytes(bytes(range(200)) * 9)
        assert code_of(tmp_path / name) == "broken-archive"


def test_a_disk_without_room_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_zip(tmp_path / "a.zip", {"a": bytes(1 << 16)})
    monkeypatch.setattr(
        "headclip_med.read.archives.shutil.disk_usage",
        lambda path: type("Usage", (), {"free": (1 << 30) + 100}),
    )
    limits = ReadLimits(archive_bytes=1 << 20, isolated=False)
    assert code_of(tmp_path / "a.zip", limits) == "no-room"


def write_disc(folder: Path, names: list[str]) -> Path:
    """Write an index that lists some files."""
    records = []
    for name in names:
        record = pydicom.Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name.split("/")
        records.append(record)
    index = pydicom.Dataset()
    index.file_meta = pydicom.dataset.FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    index.DirectoryRecordSequence = records
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what it is made to write
def test_an_index_leads_to_its_files_and_says_which_are_missing(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path / "disc" / "IMAGES")
    for number, path in enumerate(paths):
        path.rename(path.with_name(f"im{number}"))
    listed = [f"IMAGES/IM{number}" for number in range(6)]  # discs are often shown in small letters
    index = write_disc(tmp_path / "disc", [*listed[:5], "IMAGES/IM9"])
    (tmp_path / "disc" / "IMAGES").rename(tmp_path / "disc" / "images")
    for given in (index, tmp_path / "disc"):
        found = find_inputs([given])
        (one,) = found.readable
        np.testing.assert_array_equal(one.read().voxels, make_voxels())
        assert {found.names[one.path]: (one.status, one.code) for one in found.failures} == {
            "DICOMDIR": ("left-out", "dicom-index"),
            "IMAGES/IM9": ("failed", "missing-file"),
        }


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_index_leads_nowhere_else(tmp_path: Path) -> None:
    secret = write_phantom(tmp_path / "secret")[0]
    disc = tmp_path / "disc"
    disc.mkdir()
    (disc / "LINK").symlink_to(secret)
    outside = ["../secret/x", f"..\\{secret.parent.name}", "/etc/passwd", "a/../../b", "LINK"]
    index = write_disc(disc, outside)
    found = find_inputs([index])
    assert found.readable == ()
    assert {one.code for one in found.failures if one.is_error} <= {"index-outside", "missing-file"}
    (disc / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 40)
    (failure,) = find_inputs([disc / "DICOMDIR"]).failures
    assert (failure.code, failure.status) == ("broken-dicom", "failed")


def test_a_picture_of_an_archive_says_which(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("L", (4, 3)).save(picture, "PNG")
    pack_zip(tmp_path / "a.zip", {"folder/b.png": picture.getvalue()})
    found = find_inputs([tmp_path])
    assert [found.names[path] for path in found.readable[0].paths] == ["a.zip/folder/b.png"]
