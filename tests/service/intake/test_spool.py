"""The spool: acknowledged means durable, many at one sync, the first of two stays."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, RLELossless
from sqlalchemy import select

from headclip_med.errors import UnreadableInput, UnwritableOutput
from headclip_med.pipelines.service.database import open_database
from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.database.tables import AuditEntry
from headclip_med.pipelines.service.intake import checkpoint, journal
from headclip_med.pipelines.service.intake import spool as spools
from headclip_med.pipelines.service.intake.instances import Instance, Origin, file_head, is_same
from headclip_med.pipelines.service.intake.journal import Segment, read_records
from headclip_med.pipelines.service.intake.spool import Spool, SpoolFull
from tests.phantoms import write_phantom
from tests.service.programs import wait_until


@pytest.fixture
def contents(tmp_path: Path) -> list[bytes]:
    return [path.read_bytes() for path in write_phantom(tmp_path / "dicom")]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(tmp_path)
    yield found
    found.close()


def conflicts(database: Database) -> list[tuple[str, str | None]]:
    with database.read() as session:
        return [(one.event, one.peer) for one in session.scalars(select(AuditEntry))]


def instance(content: bytes) -> Instance:
    return Instance.of(content, source="receiver", peer="SCANNER")


def files(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / "data").rglob("*.dcm"))


def rewritten(content: bytes, change: Callable[..., object]) -> bytes:
    dataset, buffer = dcmread(io.BytesIO(content)), io.BytesIO()
    change(dataset)
    dataset.save_as(buffer)
    return buffer.getvalue()


def _implicit(dataset) -> None:  # type: ignore[no-untyped-def]
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.ImplementationVersionName = "ANOTHER"


def test_what_was_kept_is_there_byte_for_byte_and_nothing_else(
    tmp_path: Path, contents: list[bytes], database: Database
) -> None:
    with Spool(tmp_path / "spool", "receiver", database) as spool:
        assert [spool.keep(instance(one)) for one in contents] == ["new"] * len(contents)
    assert files(tmp_path / "spool") == sorted(contents)
    names = [path.name for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    others = sorted(name.rpartition(".")[2] for name in names if not name.endswith(".dcm"))
    assert others == ["lock", "source"]


def test_a_stop_right_after_the_acknowledgement_loses_nothing(
    tmp_path: Path, contents: list[bytes], database: Database
) -> None:
    spool = Spool(tmp_path / "spool", "receiver", database)
    spool.__enter__()
    for one in contents:
        spool.keep(instance(one))
    wait_until(lambda: len(files(tmp_path / "spool")) == len(contents), "all is laid out")
    # What a power cut may leave: the journal, files of which blocks lack, and one that never came.
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "spool", copy)
    spool.__exit__()
    left = sorted((copy / "data").rglob("*.dcm"))
    left[0].write_bytes(b"")
    left[1].unlink()
    left[2].write_bytes(bytes(left[2].stat().st_size))
    whole = left[3].read_bytes()
    left[3].write_bytes(whole[:4096])
    (segment,) = (copy / "journal").glob("receiver-*/*.segment")
    with segment.open("ab") as file:
        file.write(b"HCSP half a record")
    with Spool(copy, "receiver", database):
        assert files(copy) == sorted(contents)
    assert not list(copy.rglob("*.segment"))
    assert conflicts(database) == []


def test_what_is_acknowledged_needs_no_file_yet(
    tmp_path: Path, contents: list[bytes], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PAUSE_S", 60.0)
    other = rewritten(contents[0], lambda one: setattr(one, "RescaleSlope", "2"))
    with Spool(tmp_path / "spool", "receiver", database) as spool:
        assert [spool.keep(instance(one)) for one in contents] == ["new"] * len(contents)
        assert files(tmp_path / "spool") == []
        # It is known all the same.
        assert [spool.keep(instance(one)) for one in (contents[0], other)] == ["repeat", "conflict"]
        shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    assert files(tmp_path / "spool") == sorted(contents)
    # A stop before the files are there; and the machine has another name then, as containers have.
    (journal_of_old,) = (tmp_path / "copy/journal").iterdir()
    journal_of_old.rename(tmp_path / "copy/journal/receiver-0123abcd")
    with Spool(tmp_path / "copy", "receiver", database):
        assert files(tmp_path / "copy") == sorted(contents)
    assert not list((tmp_path / "copy").rglob("*.segment"))


def test_of_two_writers_the_first_stays_and_the_other_is_noted(
    tmp_path: Path, contents: list[bytes], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spool"
    other = rewritten(contents[0], lambda one: setattr(one, "RescaleSlope", "2"))
    monkeypatch.setattr(checkpoint, "PAUSE_S", 60.0)
    with Spool(folder, "slow", database) as slow:
        with Spool(folder, "fast", database) as fast:
            # Both are acknowledged before either has its file.
            assert slow.keep(instance(other)) == fast.keep(instance(contents[0])) == "new"
            assert slow.keep(instance(contents[1])) == fast.keep(instance(contents[1])) == "new"
        assert files(folder) == sorted(contents[:2])
        shutil.copytree(folder, tmp_path / "copy")
    assert files(folder) == sorted(contents[:2])
    assert conflicts(database) == [("conflict", "SCANNER")]
    # Nor does a start put the one that lost in place of the first.
    with Spool(tmp_path / "copy", "slow", database):
        assert files(tmp_path / "copy") == sorted(contents[:2])
    assert len(conflicts(database)) == 2


def test_what_the_disk_does_not_take_is_laid_out_when_it_does(
    tmp_path: Path, contents: list[bytes], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, link = SimpleNamespace(on=True), os.link

    def refuse(source: Path, place: Path) -> None:
        if full.on:
            raise OSError(28, "No space left on device")
        link(source, place)

    monkeypatch.setattr(checkpoint.os, "link", refuse)
    with Spool(tmp_path / "spool", "receiver", database) as spool:
        assert spool.keep(instance(contents[0])) == "new"
        wait_until(lambda: spool._checkpointer.trouble is not None, "it is noticed")
        with pytest.raises(UnwritableOutput, match="space"):
            spool.keep(instance(contents[1]))
        full.on = False
        wait_until(lambda: spool._checkpointer.trouble is None, "it goes on by itself")
        assert spool.keep(instance(contents[1])) == "new"
    assert files(tmp_path / "spool") == sorted(contents[:2])
    assert not list((tmp_path / "spool").rglob("*.segment"))


def test_segments_go_while_more_comes(
    tmp_path: Path, contents: list[bytes], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 2 * len(contents[0]))
    monkeypatch.setattr(checkpoint, "PAUSE_S", 0.0)
    folder = tmp_path / "spool"
    with Spool(folder, "receiver", database) as spool:
        for count, one in enumerate(contents, 1):
            assert spool.keep(instance(one)) == "new"
            wait_until(lambda count=count: len(files(folder)) == count, "it is laid out")
            assert len(list(folder.rglob("*.segment"))) <= 2
        wait_until(lambda: not list(folder.rglob("*.segment")), "the last one goes when all rests")


def test_a_record_that_was_damaged_ends_the_segment(tmp_path: Path) -> None:
    segment = Segment(tmp_path)
    for text in (b"one", b"two", b"three"):
        record = segment.append(Origin("1.2", "1.3", text.decode(), "receiver", "A"), text)
        assert b"".join(record.pieces()) == text
    segment.close()
    assert [one.content for one in read_records(segment.path)] == [b"one", b"two", b"three"]
    whole = bytearray(segment.path.read_bytes())
    whole[whole.index(b"two", whole.index(b"two") + 1)] ^= 1
    segment.path.write_bytes(whole)
    assert [one.content for one in read_records(segment.path)] == [b"one"]


def test_the_same_in_other_bytes_is_a_repeat(
    tmp_path: Path, contents: list[bytes], database: Database
) -> None:
    first = contents[0]
    implicit = rewritten(first, _implicit)
    packed = rewritten(first, lambda one: one.compress(RLELossless, generate_instance_uid=False))
    assert implicit != first != packed
    with Spool(tmp_path / "spool", "receiver", database) as spool:
        kept = [spool.keep(instance(one)) for one in (first, first, implicit, packed)]
    assert kept == ["new", "repeat", "repeat", "repeat"]
    assert files(tmp_path / "spool") == [first]


def test_a_conflict_keeps_the_first(
    tmp_path: Path, contents: list[bytes], database: Database
) -> None:
    other = rewritten(contents[0], lambda one: setattr(one, "RescaleSlope", "2"))
    pixels = rewritten(
        contents[0], lambda one: setattr(one, "PixelData", bytes(len(one.PixelData)))
    )
    with Spool(tmp_path / "spool", "receiver", database) as spool:
        kept = [spool.keep(instance(one)) for one in (contents[0], other, pixels)]
    assert kept == ["new", "conflict", "conflict"]
    assert files(tmp_path / "spool") == [contents[0]]
    assert conflicts(database) == [("conflict", "SCANNER")] * 2
    assert not is_same(contents[0], b"no DICOM")


def test_eight_that_wait_together_cost_one_sync(
    tmp_path: Path, contents: list[bytes], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    first, go_on = threading.Event(), threading.Event()

    def sync(handle: int) -> None:
        syncs.append(handle)
        first.set()
        go_on.wait(10)

    monkeypatch.setattr(journal.os, "fdatasync", sync)
    source = contents * 2
    uids = [rewritten(one, lambda d, n=n: setattr(d, "SOPInstanceUID", f"1.2.{n}"))
            for n, one in enumerate(source)][:9]  # fmt: skip
    with Spool(tmp_path / "spool", "receiver", database) as spool:
        threads = [threading.Thread(target=spool.keep, args=(instance(one),)) for one in uids]
        threads[0].start()
        assert first.wait(10)
        for one in threads[1:]:
            one.start()
        while len(spool._waiting) < 8:
            threading.Event().wait(0.01)
        go_on.set()
        for one in threads:
            one.join(10)
        assert len(syncs) == 2
    assert len(files(tmp_path / "spool")) == 9


def test_a_full_disk_is_said_before_and_while_writing(
    tmp_path: Path, contents: list[bytes], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_free = Spool(tmp_path / "spool", "receiver", database, room_bytes=10**18)
    with none_free as spool, pytest.raises(SpoolFull, match="The disk of the spool is full"):
        spool.keep(instance(contents[0]))
    full = SimpleNamespace(on=True)
    write = os.fdatasync

    def sync(handle: int) -> None:
        if full.on:
            raise OSError(28, "No space left on device")
        write(handle)

    monkeypatch.setattr(journal.os, "fdatasync", sync)
    with Spool(tmp_path / "spool", "receiver", database) as spool:
        with pytest.raises(UnwritableOutput, match="space"):
            spool.keep(instance(contents[0]))
        full.on = False  # it recovers unaided
        assert spool.keep(instance(contents[0])) == "new"
    assert files(tmp_path / "spool") == [contents[0]]


@pytest.mark.parametrize("sop_uid", ["1.2.3", "1.2.34", "1." + "9" * 62])
def test_the_beginning_of_a_file_is_as_pydicom_writes_it(sop_uid: str) -> None:
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, sop_uid
    meta.TransferSyntaxUID, meta.ImplementationClassUID = RLELossless, "1.2.826.1"
    content = io.BytesIO()
    write_file_meta_info(content, meta, enforce_standard=False)
    found = file_head(CTImageStorage, sop_uid, RLELossless, "1.2.826.1")
    assert found == bytes(128) + b"DICM" + content.getvalue()


def test_a_uid_that_is_none_costs_no_receiver() -> None:
    found = file_head("ä", "1" * 99_999, RLELossless, "1.2")
    assert found.count(b"1") < 99
    with pytest.raises(UnreadableInput, match="no DICOM instance"):
        instance(found)


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 50])
def test_what_is_no_instance_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableInput) as told:
        instance(content)
    assert told.value.code == "no-instance"


def test_what_is_deflated_is_refused_unread(contents: list[bytes]) -> None:
    with pytest.raises(UnreadableInput) as told:
        instance(contents[0][:400].replace(b"\0", b"1.2.840.10008.1.2.1.99", 1))
    assert told.value.code == "deflated"
