"""The DICOM receiver: what it takes, whom it refuses, and what ends it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE
from sqlalchemy import select

from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.service.database import open_database
from headclip_med.pipelines.service.database.tables import AuditEntry
from headclip_med.pipelines.service.intake.instances import DEFLATED
from headclip_med.pipelines.service.intake.listener import SILENT_S
from headclip_med.pipelines.service.intake.receiver import Receiver, ReceiverPlan
from headclip_med.pipelines.service.intake.settings import ReceiverSettings
from tests.phantoms import PATIENT_NAME, write_phantom
from tests.service.intake.senders import associate, send
from tests.service.programs import free_port, program, wait_until, write_certificates


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_phantom(tmp_path_factory.mktemp("dicom"))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(plan(tmp_path)) as found:
        yield found


def plan(folder: Path, *, room_bytes: int = 0) -> ReceiverPlan:
    settings = ReceiverSettings(
        port=free_port(), allow=("SENDER", "DCMSEND", "STORESCU"), memory_limit_gb=0.5
    )
    return ReceiverPlan(settings, folder / "spool", folder, room_bytes)


def files(receiver: Receiver) -> list[Path]:
    return sorted((receiver.plan.spool / "data").rglob("*.dcm"))


def pids(receiver: Receiver) -> list[int]:
    return [one.process.pid or 0 for one in receiver._running.values()]


def has(receiver: Receiver, count: int) -> bool:
    wait_until(lambda: len(files(receiver)) == count, "they have their files")
    return len(files(receiver)) == count


def entries(folder: Path) -> Sequence[AuditEntry]:
    database = open_database(folder)
    with database.read() as session:
        found = session.scalars(select(AuditEntry)).all()
    database.close()
    return found


def audited(folder: Path) -> list[tuple[str, str | None]]:
    return [(one.event, one.peer) for one in entries(folder)]


def refusals(folder: Path) -> list[dict[str, object]]:
    return [dict(one.facts) for one in entries(folder) if one.event == "refused"]


def test_it_takes_repeats_and_keeps_the_first_of_a_conflict(
    receiver: Receiver, paths: tuple[Path, ...], tmp_path: Path
) -> None:
    port = receiver.plan.settings.port
    assert send(port, paths) == [0x0000] * len(paths)
    assert send(port, paths) == [0x0000] * len(paths)
    assert has(receiver, len(paths))
    other = dcmread(paths[0])
    other.RescaleSlope = "3"
    other.save_as(tmp_path / "other.dcm")
    assert send(port, [tmp_path / "other.dcm"]) == [0xB000]
    assert has(receiver, len(paths))
    assert {float(dcmread(one).RescaleSlope) for one in files(receiver)} == {1.0}
    assert audited(tmp_path) == [("conflict", "SENDER")]


def test_deflated_is_taken_by_nobody_who_can_send_otherwise(receiver: Receiver) -> None:
    entity = AE("SENDER")
    entity.add_requested_context(CTImageStorage, [DEFLATED, ExplicitVRLittleEndian])
    entity.add_requested_context(MRImageStorage, DEFLATED)
    line = entity.associate("127.0.0.1", receiver.plan.settings.port, ae_title="HEADCLIP")
    accepted = {one.abstract_syntax: one.transfer_syntax for one in line.accepted_contexts}
    line.release()
    assert accepted == {CTImageStorage: [ExplicitVRLittleEndian], MRImageStorage: [DEFLATED]}


def test_strangers_are_refused_and_told_of(receiver: Receiver, tmp_path: Path) -> None:
    port = receiver.plan.settings.port
    assert associate(port, title="STRANGER").is_rejected
    assert associate(port, called="ANOTHER").is_rejected
    wait_until(lambda: len(audited(tmp_path)) == 2, "the audit")
    assert audited(tmp_path) == [("refused", "STRANGER"), ("refused", "SENDER")]
    assert refusals(tmp_path) == [{"code": "ae-title"}] * 2


@pytest.mark.parametrize(
    ("name", "title", "more"),
    [
        ("dcmsend", "DCMSEND", ()),
        ("storescu", "STORESCU", ()),
        ("storescu", "STORESCU", ("--propose-implicit",)),  # in another transfer syntax
        ("storescu", "STORESCU", ("--propose-big",)),
    ],
)
def test_other_software_sends_the_same_again(
    name: str, title: str, more: tuple[str, ...], receiver: Receiver, paths: tuple[Path, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    command = [program(name, "dcmtk"), *more, "-aet", title, "-aec", "HEADCLIP", "127.0.0.1",
               str(receiver.plan.settings.port), *map(str, paths)]  # fmt: skip
    send(receiver.plan.settings.port, paths[:2])
    assert has(receiver, 2)
    subprocess.run(command, check=True, timeout=60)
    assert has(receiver, len(paths))
    assert audited(tmp_path) == []


def test_a_full_disk_is_answered_by_a700(tmp_path: Path, paths: tuple[Path, ...]) -> None:
    with Receiver(plan(tmp_path, room_bytes=10**18)) as receiver:
        assert send(receiver.plan.settings.port, paths) == [0xA700] * len(paths)
    assert files(receiver) == []


def test_a_connection_that_asks_for_nothing_is_closed(
    receiver: Receiver, paths: tuple[Path, ...]
) -> None:
    port = receiver.plan.settings.port
    lines = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(40)]
    began = time.monotonic()
    assert lines[-1].recv(1) == b""
    assert time.monotonic() - began < 4 * SILENT_S
    for one in lines:
        one.close()
    assert send(port, paths) == [0] * len(paths)


def test_who_stops_in_the_middle_holds_up_nobody(tmp_path: Path, paths: tuple[Path, ...]) -> None:
    found = plan(tmp_path)
    settings = found.settings.changed(timeout_s=2.0, associations=1, processes=1)
    with Receiver(replace(found, settings=settings)) as receiver:
        line = associate(settings.port)
        assert line.is_established
        assert line.dul.socket is not None
        stalled = line.dul.socket.socket
        assert stalled is not None
        stalled.sendall(struct.pack(">BBL", 4, 0, 4096) + bytes(100))  # and no more
        assert not associate(settings.port).is_established
        wait_until(lambda: len(refusals(tmp_path)) == 1, "the audit")  # it is written afterwards
        assert refusals(tmp_path) == [{"code": "too-many-associations"}]
        wait_until(lambda: send_if_free(settings.port, paths[:1]), "there is room again", 10)
        assert has(receiver, 1)
        line.abort()


def send_if_free(port: int, paths: Sequence[Path]) -> bool:
    try:
        return send(port, paths) == [0] * len(paths)
    except AssertionError:
        return False


@pytest.mark.parametrize(("client", "is_taken"), [("client", True), ("stranger", False)])
def test_with_tls_senders_prove_who_they_are(
    client: str, is_taken: bool, tmp_path: Path, paths: tuple[Path, ...]
) -> None:
    (folder := tmp_path / "tls").mkdir()
    write_certificates(folder)
    settings = ReceiverSettings(
        port=free_port(), allow=("STORESCU",), tls_ca_file=str(folder / "ca.pem"),
        tls_certificate_file=str(folder / "server.pem"), tls_key_file=str(folder / "server.key"),
    )  # fmt: skip
    encrypted = ["+tls", *(str(folder / f"{client}.{kind}") for kind in ("key", "pem")),
                 "--add-cert-file", str(folder / "ca.pem")]  # fmt: skip
    with (
        Receiver(ReceiverPlan(settings, tmp_path / "spool", tmp_path, 0)) as receiver,
        socket.create_connection(("127.0.0.1", settings.port)),  # says nothing, and holds up nobody
        socket.create_connection(("127.0.0.1", settings.port)),
    ):
        for more, taken in ((encrypted, is_taken), ((), False), (["+tla", *encrypted[3:]], False)):
            before = len(files(receiver))
            command = [program("storescu", "dcmtk"), *more, "-aec", "HEADCLIP", "127.0.0.1",
                       str(settings.port), str(paths[before])]  # fmt: skip
            done = subprocess.run(command, check=False, timeout=20, capture_output=True)
            assert (done.returncode == 0) == taken
            assert has(receiver, before + taken)
    assert len(files(receiver)) == is_taken  # nothing comes after the end


def test_more_than_it_can_hold_ends_nothing_but_that(
    receiver: Receiver, paths: tuple[Path, ...]
) -> None:
    port = receiver.plan.settings.port
    assert send(port, paths[:1]) == [0]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1))
        with pytest.raises(OSError):  # noqa: PT011 - reset, broken or timed out
            _flood(line, receiver)
    wait_until(lambda: not receiver.watch(), "it runs")
    assert send(port, paths) == [0] * len(paths)
    assert has(receiver, len(paths))


def _flood(line: socket.socket, receiver: Receiver) -> None:
    for _ in range(600):
        line.sendall(bytes(10_000_000))
        receiver.watch()


def test_killed_it_comes_back_with_all_that_was_acknowledged(
    receiver: Receiver, paths: tuple[Path, ...]
) -> None:
    port = receiver.plan.settings.port
    assert send(port, paths[:3]) == [0] * 3
    for pid in pids(receiver):
        os.kill(pid, signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", port)):  # nobody is refused meanwhile
        wait_until(lambda: receiver.watch() and receiver.starts == 4, "they are seen to be gone")
    assert has(receiver, 3)
    assert send(port, paths) == [0] * len(paths)


def test_of_two_processes_one_takes_all_while_the_other_is_gone(
    receiver: Receiver, paths: tuple[Path, ...]
) -> None:
    os.kill(pids(receiver)[0], signal.SIGKILL)
    assert send(receiver.plan.settings.port, paths) == [0] * len(paths)
    assert receiver.watch()
    assert has(receiver, len(paths))


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    found = plan(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", found.settings.port))
        taken.listen()
        with pytest.raises(InvalidSettings, match="cannot listen"):
            Receiver(found).__enter__()


def test_no_patient_value_is_logged(
    receiver: Receiver, paths: tuple[Path, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad, path = dcmread(paths[0]), tmp_path / "bad.dcm"
    del bad.StudyInstanceUID
    bad.save_as(path)
    # A value that is none of its kind, which pydicom's warnings would quote.
    path.write_bytes(path.read_bytes().replace(b"19000101", b"Zyxwvut^"))
    assert send(receiver.plan.settings.port, [path]) == [0xC000]
    told = capfd.readouterr()
    assert PATIENT_NAME not in told.out + told.err
