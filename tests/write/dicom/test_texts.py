"""Texts of the patient in a segmentation have the bytes of their source, whatever they declare."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from headclip_med.volume import Volume
from tests.write.dicom.test_seg import (
    COLUMNS,
    ROWS,
    ct_volume,
    screening_of,
    stack,
    two_lesions,
    write_segmentation,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PLACE = "@" * 12
GREEK, LATIN = "Ασκληπ".encode(), "Müller-Nöß-é".encode("latin-1")
JAPANESE = b"\x1b$B;3ED\x1b(B^T"
CASES = [
    (None, LATIN),
    ("", LATIN),
    (None, GREEK),
    ("ISO_IR 6", GREEK),
    ("ISO_IR 100", GREEK),
    ("ISO_IR 192", LATIN),
    ("ISO_IR 192", GREEK),
    ("ISO_IR 101", b"\xff\xfe\x80\x81\xa5\xd0\xf0\xb1\xb2\xb3\xb4\xb5"),
    ("GB18030", b"\xff\xff\x80\x81\xa5\xd0\xf0\xb1\xb2\xb3\xb4\xff"),
    (None, JAPANESE),
    ("ISO_IR 13", JAPANESE),
    ("nonsense", LATIN),
]


def volume_with_bytes(folder: Path, charset: str | None, value: bytes) -> Volume:
    """Write a CT whose texts hold these bytes under this character set."""
    assert len(value) == len(PLACE)
    texts = dict.fromkeys(("PatientName", "StudyDescription", "ReferringPhysicianName"), PLACE)
    with pydicom.config.disable_value_validation():
        volume = ct_volume(folder, stack(), SpecificCharacterSet=None, **texts)
        for source in volume.sources:
            dataset = pydicom.dcmread(source.path)
            if charset is not None:
                dataset.SpecificCharacterSet = charset
            dataset.private_block(0x0009, "somebody", create=True).add_new(1, "LO", PLACE)
            dataset.save_as(source.path)
            raw = source.path.read_bytes()
            source.path.write_bytes(raw.replace(PLACE.encode(), value))
    return volume


def seg_of(folder: Path, volume: Volume) -> Path:
    labels = two_lesions((8, ROWS, COLUMNS))
    return folder / write_segmentation(folder, screening_of(volume, labels), "1").files["seg"]


def raw_value(dataset: Dataset, keyword: str) -> bytes:
    element = dataset.get_item(keyword)
    return bytes(element.value)


@pytest.mark.parametrize(("charset", "value"), CASES)
def test_bytes_are_kept_whatever_character_set_is_declared(
    tmp_path: Path, charset: str | None, value: bytes
) -> None:
    volume = volume_with_bytes(tmp_path / "in", charset, value)
    path = seg_of(tmp_path, volume)
    source, result = pydicom.dcmread(volume.sources[0].path), pydicom.dcmread(path)
    for keyword in ("PatientName", "StudyDescription", "ReferringPhysicianName"):
        assert raw_value(result, keyword) == raw_value(source, keyword) == value
    assert raw_value(result, "PatientID") == raw_value(source, "PatientID")
    # One that is empty or unknown is invalid, and means the same as none.
    declared = None if charset in ("", "nonsense") else source.get("SpecificCharacterSet")
    assert result.get("SpecificCharacterSet") == declared
    assert result.SegmentSequence[0].SegmentLabel == "Lesion candidate 1"


@pytest.mark.parametrize(("charset", "value"), CASES)
def test_a_validator_finds_no_error_that_the_source_has_not(
    tmp_path: Path, dciodvfy: str, charset: str | None, value: bytes
) -> None:
    volume = volume_with_bytes(tmp_path / "in", charset, value)

    def errors(path: Path) -> set[str]:
        done = subprocess.run(
            [dciodvfy, "-new", path], cwd=tmp_path, capture_output=True, check=False
        )
        lines = done.stderr.decode("latin-1").splitlines()
        return {line for line in lines if line.startswith("Error")}

    assert errors(seg_of(tmp_path, volume)) <= errors(volume.sources[0].path)
