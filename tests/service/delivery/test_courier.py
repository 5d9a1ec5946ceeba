"""What becomes of a delivery, with an archive that fails in every way it can."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.events import Event
from sqlalchemy import select

from headclip_med.pipelines.service.database.opening import Database, UnusableDatabase
from headclip_med.pipelines.service.database.tables import AuditEntry, DeliveryEntry, ResultEntry
from headclip_med.pipelines.service.delivery import (
    Courier,
    Destination,
    deliver_due,
    ledger,
    reports,
    resend,
)
from headclip_med.pipelines.service.delivery.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from headclip_med.pipelines.service.delivery.destinations import DestinationFailed
from tests.service.delivery.results import enter, states, write_result
from tests.service.programs import free_port

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

NOW = 1_700_000_000.0


def destination(port: int, **changes: object) -> Destination:
    usual = {
        "name": "pacs",
        "host": "127.0.0.1",
        "port": port,
        "called_ae_title": "PACS",
        "verify": "none",
        "timeout_s": 3.0,
        "attempts": 4,
    }
    return Destination.from_json({**usual, **changes})


@contextmanager
def archive(
    port: int,
    store: Callable[[Event], int] = lambda event: 0x0000,
    **handlers: Callable[..., object],
) -> Iterator[None]:
    """An archive that answers what a test tells it to."""
    entity = AE("PACS")
    entity.supported_contexts = StoragePresentationContexts
    for context in entity.supported_contexts:
        context.transfer_syntax = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]
    entity.add_supported_context(PUSH_MODEL)
    bound = [(evt.EVT_C_STORE, store), *((getattr(evt, name), f) for name, f in handlers.items())]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=bound)
    try:
        yield
    finally:
        server.shutdown()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_down_then_backed_off_then_dead_then_resent(
    database: Database, out: Path, result: str
) -> None:
    port = free_port()
    pacs, now = destination(port, backoff_s=10.0, backoff_cap_s=25.0), NOW
    number = enter(database, result, ("pacs",))
    for attempt, wait_s in enumerate((10.0, 20.0, 25.0), start=1):
        assert deliver_due(database, [pacs], out, lambda: now) == 1  # noqa: B023
        assert states(database) == [("pacs", "queued", attempt, "destination-unreachable")]
        assert deliver_due(database, [pacs], out, lambda: now + wait_s - 0.1) == 0  # noqa: B023
        now += wait_s
    assert deliver_due(database, [pacs], out, lambda: now) == 1
    assert states(database) == [("pacs", "dead", 4, "destination-unreachable")]
    assert deliver_due(database, [pacs], out, lambda: now + 1e6) == 0
    with archive(port):
        assert resend(database, [number], lambda: now) == 1
        assert deliver_due(database, [pacs], out, lambda: now) == 1
    assert states(database) == [("pacs", "sent", 1, None)]
    with database.read() as session:
        events = [one.event for one in session.scalars(select(AuditEntry)).all()]
    assert events == ["delivery-failed"] * 3 + ["dead", "resend", "sent"]


def test_one_attempt_at_an_archive_that_is_down_stands_for_all(
    database: Database, out: Path, result: str
) -> None:
    for number in range(5):
        enter(database, result, ("pacs",), key=str(number))
    assert deliver_due(database, [destination(free_port())], out, lambda: NOW) == 1
    assert states(database) == [("pacs", "queued", 1, "destination-unreachable")] * 5


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0122])
def test_a_refused_object_is_never_called_sent_and_holds_no_other_back(
    status: int, database: Database, out: Path, tmp_path: Path, result: str
) -> None:
    other = write_result(tmp_path / "other", out, seed="other")
    refused = str(dcmread(out / result / "seg.dcm").SOPInstanceUID)

    def store(event: Event) -> int:
        return status if event.request.AffectedSOPInstanceUID == refused else 0

    for number, folder in enumerate((result, other)):
        enter(database, folder, ("pacs",), key=str(number))
    port = free_port()
    with archive(port, store):
        assert deliver_due(database, [destination(port)], out, lambda: NOW) == 2
    assert states(database) == [
        ("pacs", "queued", 1, "object-refused"), ("pacs", "sent", 1, None),
    ]  # fmt: skip


def test_a_warning_is_taken(database: Database, out: Path, result: str) -> None:
    port = free_port()
    enter(database, result, ("pacs",))
    with archive(port, lambda event: 0xB000):
        deliver_due(database, [destination(port)], out)
    assert states(database) == [("pacs", "sent", 1, None)]


def test_a_broken_association_is_tried_again(database: Database, out: Path, result: str) -> None:
    port = free_port()
    enter(database, result, ("pacs",))

    def hang_up(event: Event) -> int:
        event.assoc.abort()
        return 0

    with archive(port, hang_up):
        deliver_due(database, [destination(port)], out, lambda: NOW)
    assert states(database) == [("pacs", "queued", 1, "destination-unreachable")]


def test_a_crash_between_sending_and_recording_sends_the_same_again(
    database: Database, out: Path, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, uids = free_port(), []
    enter(database, result, ("pacs",))

    def store(event: Event) -> int:
        uids.append(event.request.AffectedSOPInstanceUID)
        return 0

    with archive(port, store):
        with monkeypatch.context() as broken:
            broken.setattr(ledger, "note_sent", _die)
            with pytest.raises(KeyboardInterrupt):
                deliver_due(database, [destination(port)], out, lambda: NOW)
        assert states(database) == [("pacs", "sending", 1, None)]
        assert deliver_due(database, [destination(port)], out, lambda: NOW + 1) == 0
        later = NOW + ledger.LEASE_S + 1
        assert deliver_due(database, [destination(port)], out, lambda: later) == 1
    assert states(database) == [("pacs", "sent", 2, None)]
    assert len(uids) == 2
    assert len(set(uids)) == 1


def test_who_lost_its_lease_records_nothing(database: Database, result: str) -> None:
    pacs = destination(104)
    enter(database, result, ("pacs",))
    with database.write() as session:
        slow = ledger.claim(session, pacs, NOW)
    with database.write() as session:
        assert ledger.claim(session, pacs, NOW + 1) is None
        quick = ledger.claim(session, pacs, NOW + ledger.LEASE_S + 1)
    assert slow is not None
    assert quick is not None
    failure = DestinationFailed("It failed.", code="object-refused")
    with database.write() as session:
        ledger.note_failure(session, slow, pacs, failure, NOW)
        ledger.note_sent(session, slow, (), NOW)
    assert states(database) == [("pacs", "sending", 2, None)]


def test_a_clock_that_was_set_back_holds_nothing_for_years(database: Database, result: str) -> None:
    pacs = destination(104)
    enter(database, result, ("pacs",))
    with database.write() as session:
        row = session.scalars(select(DeliveryEntry)).one()
        row.not_before, row.lease_until = NOW + 1e8, NOW + 1e8
    with database.write() as session:
        assert ledger.claim(session, pacs, NOW) is not None


def test_who_waited_for_the_database_takes_nothing_from_the_one_before(
    database: Database, result: str
) -> None:
    pacs = destination(104)
    enter(database, result, ("pacs",))
    for now in (NOW, NOW - 5.0):  # the second read its clock first
        with database.write() as session:
            assert (ledger.claim(session, pacs, now) is None) == (now < NOW)


def test_couriers_side_by_side_deliver_each_result_once(database: Database, result: str) -> None:
    pacs = destination(104)
    numbers = [enter(database, result, ("pacs",), key=str(number)) for number in range(24)]

    def work(_: int) -> list[int]:
        taken = []
        while True:
            with database.write() as session:
                parcel = ledger.claim(session, pacs, time.time())
            if parcel is None:
                return taken
            taken.append(parcel.delivery)
            with database.write() as session:
                ledger.note_done(session, parcel, time.time(), is_verified=True)

    with ThreadPoolExecutor(4) as pool:
        taken = [one for some in pool.map(work, range(4)) for one in some]
    assert sorted(taken) == sorted(numbers)


def test_urgent_results_go_first(database: Database, result: str) -> None:
    pacs = destination(104)
    usual = enter(database, result, ("pacs",), key="usual")
    urgent = enter(database, result, ("pacs",), key="urgent", priority=5)
    order = []
    with database.write() as session:
        while (parcel := ledger.claim(session, pacs, NOW)) is not None:
            row = session.get(DeliveryEntry, parcel.delivery)
            assert row is not None
            order.append(row.result_id)
    assert order == [urgent, usual]


def test_what_a_later_revision_superseded_is_not_sent_and_the_later_one_is(
    database: Database, out: Path, tmp_path: Path, result: str
) -> None:
    old = enter(database, result, ("pacs",))
    new = enter(database, result, ("pacs",))
    with database.write() as session:
        row = session.get(ResultEntry, old)
        assert row is not None
        row.superseded_by = new
    port = free_port()
    with archive(port):
        deliver_due(database, [destination(port)], out)
    assert states(database) == [("pacs", "dead", 1, "superseded"), ("pacs", "sent", 1, None)]
    assert resend(database, [old]) == 0


def test_nothing_to_send_is_said(database: Database, out: Path, tmp_path: Path) -> None:
    plain = write_result(tmp_path / "plain", out, seed="plain", lesion=False)
    assert "seg" not in json.loads((out / plain / "result.json").read_text())["outputs"]
    enter(database, plain, ("pacs",))
    deliver_due(database, [destination(free_port(), outputs=["seg"])], out)
    assert states(database) == [("pacs", "verified", 1, "nothing-to-send")]


@pytest.mark.parametrize("name", ["result.json", "seg.dcm"])
def test_files_that_are_gone_are_given_up_at_once(
    name: str, database: Database, out: Path, result: str
) -> None:
    enter(database, result, ("pacs",))
    (out / result / name).unlink()
    deliver_due(database, [destination(free_port())], out)
    assert states(database) == [("pacs", "dead", 1, "result-missing")]


def test_a_destination_that_is_no_longer_configured_is_told(database: Database, out: Path) -> None:
    enter(database, "any", ("gone",))
    deliver_due(database, [], out)
    assert states(database) == [("gone", "dead", 0, "unknown-destination")]


@pytest.mark.parametrize("answer", [0x0000, 0x0110])  # accepted and never reported; refused
def test_an_archive_that_does_not_commit_is_not_called_verified(
    answer: int, database: Database, out: Path, result: str
) -> None:
    port = free_port()
    enter(database, result, ("pacs",))
    pacs = destination(port, verify="commitment", listen_port=free_port(), timeout_s=1.0)
    with archive(port, EVT_N_ACTION=lambda event: (answer, None)):
        deliver_due(database, [pacs], out, lambda: NOW)
    assert states(database) == [("pacs", "sent", 1, "not-confirmed")]


class Commits:
    """An archive that takes over what it is asked about, and says so when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Dataset] = []

    def take(self, event: Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        return 0x0000, None

    def report(self, port: int, title: str = "PACS") -> int | None:
        """Report on the first that was asked; None where the association is refused."""
        told = Dataset()
        told.TransactionUID = self.asked[0].TransactionUID
        told.ReferencedSOPSequence = self.asked[0].ReferencedSOPSequence
        return report(port, told, title)


def report(port: int, told: Dataset, title: str = "PACS") -> int | None:
    entity = AE(title)
    entity.add_requested_context(PUSH_MODEL)
    association = entity.associate("127.0.0.1", port, ae_title="HEADCLIP")
    if not association.is_established:
        return None
    status, _ = association.send_n_event_report(told, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    association.release()
    return int(status.Status)


def test_a_report_that_nobody_asked_for_is_refused(database: Database, out: Path) -> None:
    port = free_port()
    pacs = destination(104, verify="commitment", listen_port=port)
    told = Dataset()
    told.TransactionUID = "1.2.3"
    with Courier(database, [pacs], out):
        assert report(port, told) == 0x0112
        assert report(port, told, "STRANGER") is None


@pytest.mark.parametrize(("attempts", "state"), [(4, "sent"), (1, "dead")])
def test_a_report_that_comes_when_whoever_asked_is_gone_is_taken(
    attempts: int, state: str, database: Database, out: Path, result: str
) -> None:
    port, pacs_port, commits = free_port(), free_port(), Commits()
    enter(database, result, ("pacs",))
    pacs = destination(
        pacs_port, verify="commitment", listen_port=port, timeout_s=1.0, attempts=attempts
    )
    with archive(pacs_port, EVT_N_ACTION=commits.take):
        deliver_due(database, [pacs], out, lambda: NOW)
        assert states(database) == [("pacs", state, 1, "not-confirmed")]
        with Courier(database, [pacs], out, lambda: NOW + 1) as later:
            assert later.deliver_due() == 0  # its turn comes later ...
            assert commits.report(port) == 0x0000  # ... unless the archive reports before
            assert commits.report(port) == 0x0112  # once
            assert later.deliver_due() == 1
    assert states(database) == [("pacs", "verified", 2, None)]
    assert len(commits.asked) == 1


def test_a_report_that_cannot_be_written_down_may_come_again(
    database: Database, out: Path, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnusableDatabase("It is full.", "Make room.")

    port, pacs_port, commits = free_port(), free_port(), Commits()
    enter(database, result, ("pacs",))
    pacs = destination(pacs_port, verify="commitment", listen_port=port, timeout_s=1.0)
    with (
        archive(pacs_port, EVT_N_ACTION=commits.take),
        Courier(database, [pacs], out, lambda: NOW) as courier,
    ):
        courier.deliver_due()
        with monkeypatch.context() as patched:
            patched.setattr(reports, "note_reported", refuse)
            assert commits.report(port) == 0x0110
        assert commits.report(port) == 0x0000
        assert courier.deliver_due() == 1
    assert [state for _, state, _, _ in states(database)] == ["verified"]


def _die(*_: object) -> None:
    raise KeyboardInterrupt
