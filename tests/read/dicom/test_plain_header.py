"""Headers that are read without pydicom's parser hold what it finds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from headclip_med.errors import UnreadableInput
from headclip_med.read import read_volume
from headclip_med.read.dicom import opening
from headclip_med.read.dicom.elements import texts
from headclip_med.read.dicom.header import HEADER_KEYWORDS, read_header
from headclip_med.read.dicom.plain_header import read_plain_header
from headclip_med.read.guards import DEFAULT_LIMITS, silence
from tests.phantoms import edit, make_grid, write_phantom

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"

Found = tuple[dict[str, tuple[str, ...]], object]


def found_in(path: Path) -> Found | str:
    """Read what is wanted of a header, or why it cannot be."""
    try:
        with (
            silence(),
            disable_value_validation(),
            opening.open_object(path, DEFAULT_LIMITS, keywords=HEADER_KEYWORDS) as opened,
        ):
            dataset, element, _ = opened
            about = texts(dataset.file_meta, "TransferSyntaxUID"), dataset.original_encoding
            return {one: texts(dataset, one) for one in HEADER_KEYWORDS}, (about, element)
    except UnreadableInput as error:
        return error.code


def is_plain(path: Path) -> bool:
    with silence(), path.open("rb") as file:
        return read_plain_header(file, HEADER_KEYWORDS, DEFAULT_LIMITS) is not None


def compare(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> int:
    """Compare both ways to read, and count the files that are plain."""
    plain = [path for path in paths if is_plain(path)]
    quickly = [found_in(path) for path in plain]
    monkeypatch.setattr(opening, "read_plain_header", lambda *_: None)
    for path, found in zip(plain, quickly, strict=True):
        assert found == found_in(path), path.name
    return len(plain)


def test_it_holds_what_pydicom_finds_in_its_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare(sorted(WHEEL.rglob("*.dcm")), monkeypatch) > 20


def test_it_holds_what_pydicom_finds_in_real_files(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [path for path in sorted((shared_data / "dicom").rglob("*")) if path.is_file()]
    assert compare(paths, monkeypatch) > 100


@pytest.fixture
def single(tmp_path: Path) -> Path:
    (path,) = write_phantom(tmp_path, make_grid(shape=(1, 5, 6)))
    return path


def written(path: Path, change: Callable[[Dataset], object], **encoding: bool) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True, **encoding)
    return path


def test_implicit_kinds_are_plain(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(dataset: Dataset) -> None:
        dataset.decode()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    written(single, change, implicit_vr=True, little_endian=True)
    assert compare([single], monkeypatch) == 1


def deflate(path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    written(path, change)


def with_open_sequence(path: Path) -> None:
    def change(dataset: Dataset, _index: int) -> None:
        dataset.ReferencedImageSequence = [Dataset()]
        dataset["ReferencedImageSequence"].is_undefined_length = True

    edit([path], change)


def with_bytes(old: bytes, new: bytes) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        content = path.read_bytes()
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))

    return change


OTHERWISE: dict[str, Callable[[Path], object]] = {
    "big endian": lambda path: path.write_bytes((WHEEL / "MR_small_bigendian.dcm").read_bytes()),
    "deflated": deflate,
    "a sequence without a length": with_open_sequence,
    "no preamble": lambda path: path.write_bytes(path.read_bytes()[132:]),
    "a kind that is none": with_bytes(b"\x28\0\x10\0US", b"\x28\0\x10\0zz"),
    "a tag out of order": with_bytes(b"\x28\0\x10\0US", b"\x08\0\x01\0US"),
    "a false length": with_bytes(b"\x08\0\x60\0CS\x02\0", b"\x08\0\x60\0CS\xff\xff"),
}


@pytest.mark.parametrize("kind", OTHERWISE)
def test_what_is_not_plain_is_left_to_pydicom(single: Path, kind: str) -> None:
    assert is_plain(single)
    OTHERWISE[kind](single)
    assert not is_plain(single)


def test_a_header_that_is_longer_than_what_is_looked_at_is_left_to_pydicom(single: Path) -> None:
    edit([single], lambda dataset, _: dataset.add_new(0x00091001, "OB", bytes(40_000)))
    assert not is_plain(single)
    with silence(), disable_value_validation():
        assert read_header(single, DEFAULT_LIMITS).rows == 5
    assert read_volume(single).voxels.shape == (1, 5, 6)


def test_changed_bytes_give_what_pydicom_finds_or_are_left_to_it(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, random = single.read_bytes(), np.random.default_rng(7)
    paths = []
    for number in range(300):
        raw = bytearray(whole)
        for at in random.integers(132, len(raw) - 80, 2):
            raw[at] = random.integers(256)
        paths.append(tmp_path / f"changed{number}")
        paths[-1].write_bytes(raw)
    assert compare(paths, monkeypatch) > 30
