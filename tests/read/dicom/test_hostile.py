"""Damaged and hostile DICOM: every file ends in a volume or a reason, and nothing else escapes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read import Inputs, find_inputs, read_volume
from tests.phantoms import edit, make_grid, make_voxels, write_phantom


def read_all(folder: Path) -> Inputs:
    """Find and read everything; only our own errors may come out."""
    found = find_inputs([folder])
    for one in found.readable:
        with contextlib.suppress(HeadClipError):
            volume = one.read()
            assert np.isfinite(volume.voxels).all()
            assert np.isfinite(volume.grid.origins_lps_mm).all()
    return found


@pytest.fixture(scope="module")
def slice_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_phantom(tmp_path_factory.mktemp("s"), make_grid(shape=(1, 3, 3)))[0].read_bytes()


@tries(max_examples=150)
@given(data=st.data())
def test_changed_bytes_end_in_a_volume_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, slice_bytes: bytes, data: st.DataObject
) -> None:
    raw = bytearray(slice_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(128, len(raw) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "a").write_bytes(raw)
    read_all(folder)


@tries(max_examples=60)
@given(kept=st.integers(0, 2000))
def test_a_file_cut_anywhere_ends_in_a_reason(
    tmp_path_factory: pytest.TempPathFactory, slice_bytes: bytes, kept: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    (folder / "a.dcm").write_bytes(slice_bytes[: min(kept, len(slice_bytes) - 1)])
    found = read_all(folder)
    assert found.readable == ()
    assert all(failure.reason.endswith(".") for failure in found.failures)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_changed_codestreams_end_in_a_volume_or_a_reason(tmp_path: Path, syntax: str) -> None:
    path = write_phantom(tmp_path, make_grid(shape=(1, 64, 64)))[0]
    edit([path], lambda dataset, _: dataset.compress(syntax))
    whole = path.read_bytes()
    start = whole.index(b"\xe0\x7f\x10\x00")
    random = np.random.default_rng(0)
    for _ in range(60):
        raw = bytearray(whole)
        for at in random.integers(start, len(raw), 3):
            raw[at] = random.integers(256)
        path.write_bytes(raw)
        read_all(tmp_path)


@pytest.mark.parametrize("depth", [50, 300, 3000])
def test_deep_nesting_does_not_end_the_program(tmp_path: Path, depth: int) -> None:
    path = write_phantom(tmp_path, make_grid(shape=(1, 3, 3)))[0]
    raw = path.read_bytes()
    at = raw.index(b"\x28\x00\x02\x00US")  # before Samples per Pixel
    # Per-Frame Functional Groups of undefined length, each in the other.
    opened = b"\x00\x52\x30\x92SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(raw[:at] + opened * depth + raw[at:])
    read_all(tmp_path)


def test_an_element_that_claims_more_than_its_file_is_named(
    tmp_path: Path, slice_bytes: bytes
) -> None:
    path = tmp_path / "slice.dcm"
    path.write_bytes(slice_bytes[1:])  # a preamble of 127 bytes, and so a command of 1 GiB
    with pytest.raises(UnreadableInput, match=r"says that it holds \d+ KiB") as refused:
        read_volume(path)
    assert refused.value.code == "false-length"


NAMES = ("../../../../etc/passwd", "/etc/x", "<script>alert(1)</script>", "=1+1", "a" * 500)


@pytest.mark.parametrize("name", NAMES)
def test_names_in_uids_reach_nobody(tmp_path: Path, name: str) -> None:
    def change(dataset: Dataset, _: int) -> None:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            dataset.add_new(keyword, "LO", name)
        dataset.Modality = name[:16]

    edit(write_phantom(tmp_path, make_grid(shape=(1, 3, 3))), change)
    (one,) = find_inputs([tmp_path]).readable
    volume = one.read()
    assert one.study_instance_uid is one.series_instance_uid is one.modality is None
    assert volume.study_instance_uid is volume.series_instance_uid is volume.modality is None
    assert volume.sources[0].sop_instance_uid is None


def test_one_bad_file_costs_itself_and_no_other(tmp_path: Path, slice_bytes: bytes) -> None:
    write_phantom(tmp_path / "good")
    for number in range(20):
        (tmp_path / f"bad{number}.dcm").write_bytes(slice_bytes[: 140 + 20 * number])
    found = read_all(tmp_path)
    assert [one.slices for one in found.readable] == [5]
    assert len([failure for failure in found.failures if failure.is_error]) == 20
    np.testing.assert_array_equal(found.readable[0].read().voxels, make_voxels())


def test_every_file_that_pydicom_brings_ends_in_a_volume_or_a_reason() -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = read_all(folder)
    assert len(found.readable) > 20
    for failure in found.failures:
        assert failure.code
        assert failure.reason[0].isupper()


@pytest.mark.slow
def test_the_malformed_corpus_ends_in_volumes_or_reasons(shared_data: Path) -> None:
    folder = shared_data / "dicom_malformed"
    read_all(folder)
    outcomes = {"volume": 0, "reason": 0}
    for path in sorted(folder.rglob("*.dcm")):
        try:
            read_volume(path)
        except HeadClipError:
            outcomes["reason"] += 1
        else:
            outcomes["volume"] += 1
    assert min(outcomes.values()) > 100
