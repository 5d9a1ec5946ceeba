"""Results reach a real archive by both ways, and the archive says that it has them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pydicom
import pytest
from sqlalchemy import select

from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.database.tables import AuditEntry, DeliveryEntry
from headclip_med.pipelines.service.delivery import Courier, Destination, deliver_due
from tests.service.delivery.results import enter, states, write_result
from tests.service.orthanc import PASSWORD, USER, Orthanc, orthanc
from tests.service.programs import free_port, wait_until

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def report_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, report_port: int) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(folder, {"headclip": ("HEADCLIP", report_port)}) as server:
        yield server


def destination(tmp_path: Path, archive: Orthanc, report_port: int, **how: object) -> Destination:
    secret = tmp_path / "credentials"
    secret.write_text(f"{USER}:{PASSWORD}\n")
    secret.chmod(0o600)
    usual = {
        "name": f"{how['kind']}-{how['verify']}",
        "host": "127.0.0.1",
        "port": archive.dicom_port,
        "called_ae_title": archive.ae_title,
        "url": f"{archive.url}/dicom-web",
        "credentials_file": str(secret),
        "listen_port": report_port,
        "timeout_s": 10.0,
        "backoff_s": 0.1,
        "backoff_cap_s": 0.5,
        "attempts": 100,
    }
    return Destination.from_json({**usual, **how})


def test_a_segmentation_arrives_and_is_verified_by_every_way(
    tmp_path: Path,
    archive: Orthanc,
    report_port: int,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    ways = [
        destination(tmp_path, archive, report_port, kind=kind, verify=verify)
        for kind in ("dicom", "dicomweb")
        for verify in ("commitment", "qido")
    ]
    out = tmp_path / "out"
    folder = write_result(tmp_path / "ct", out)
    enter(database, folder, tuple(one.name for one in ways))
    assert deliver_due(database, ways, out) == len(ways)
    assert states(database) == [(one.name, "verified", 1, None) for one in ways]
    sent = pydicom.dcmread(out / folder / "seg.dcm")
    assert archive.instances("SEG").count(sent.SOPInstanceUID) == 1
    assert "Zyxwvut" in str(sent.PatientName)
    assert "Zyxwvut" not in caplog.text
    assert PASSWORD not in caplog.text
    with database.read() as session:
        events = [one.event for one in session.scalars(select(AuditEntry)).all()]
    assert sorted(events) == ["sent"] * 4 + ["verified"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dicom", "dicomweb"])
def test_an_archive_that_is_killed_in_the_middle_has_each_result_once_in_the_end(
    kind: str, tmp_path: Path, archive: Orthanc, report_port: int, database: Database
) -> None:
    studies = 12
    out = tmp_path / "out"
    way = destination(tmp_path, archive, report_port, kind=kind, verify="qido")
    for number in range(studies):
        folder = write_result(tmp_path / f"ct{number}", out, seed=f"{kind} {number}")
        enter(database, folder, (way.name,), key=str(number))
    expected = sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in out.rglob("seg.dcm"))
    with Courier(database, [way], out) as courier:
        done: list[bool] = []

        def work() -> None:
            while not done:
                courier.deliver_due(until=lambda: bool(done))
                time.sleep(0.02)

        worker = Thread(target=work)
        worker.start()
        try:
            for least in (2, 5, 8):
                wait_until(lambda: finished(database) >= least, "nothing is delivered")  # noqa: B023
                archive.kill()
                wait_until(lambda: "destination-unreachable" in codes(database), "nobody noticed")
                archive.start()
            wait_until(lambda: finished(database) == studies, "not all were delivered", 60)
        finally:
            done.append(True)
            worker.join()
    assert [uid for uid in archive.instances("SEG") if uid in expected] == expected
    assert len(set(expected)) == studies


def test_what_an_archive_lost_is_sent_again(
    tmp_path: Path, archive: Orthanc, report_port: int, database: Database
) -> None:
    out = tmp_path / "out"
    way = destination(tmp_path, archive, report_port, kind="dicom", verify="qido")
    enter(database, write_result(tmp_path / "ct", out, seed="lost"), (way.name,))
    with database.write() as session:  # as if it had been sent
        row = session.scalars(select(DeliveryEntry)).one()
        row.state, row.attempts = "sent", 1
    now = time.time()
    deliver_due(database, [way], out, lambda: now)
    assert states(database) == [(way.name, "queued", 2, "not-there")]
    deliver_due(database, [way], out, lambda: now + 10)
    assert states(database) == [(way.name, "verified", 3, None)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": "dicom", "ae_title": "STRANGER"}, "association-refused"),
        ({"kind": "dicom", "called_ae_title": "ANOTHER"}, "association-refused"),
        ({"kind": "dicomweb", "credentials_file": None}, "destination-denied"),
        ({"kind": "dicomweb", "url": "wrong"}, "object-refused"),
        ({"kind": "dicom", "url": "wrong"}, "object-refused"),
    ],
)
def test_an_archive_that_refuses_is_never_said_to_have_it(
    change: dict[str, str],
    code: str,
    tmp_path: Path,
    archive: Orthanc,
    report_port: int,
    database: Database,
) -> None:
    wrong = {"url": f"{archive.url}/nothing-here"} if "url" in change else {}
    way = destination(tmp_path, archive, report_port, **{"verify": "qido", **change, **wrong})
    out = tmp_path / "out"
    enter(database, write_result(tmp_path / "ct", out), (way.name,))
    deliver_due(database, [way], out)
    # By DICOM it was taken before the wrong address was asked.
    state = "sent" if change == {"kind": "dicom", "url": "wrong"} else "queued"
    assert states(database) == [(way.name, state, 1, code)]


def finished(database: Database) -> int:
    return [state for _, state, _, _ in states(database)].count("verified")


def codes(database: Database) -> set[str | None]:
    return {code for _, _, _, code in states(database)}
