"""Storage commitment: the archive takes over responsibility for what it was sent (PS3.4 J).

It is asked by N-ACTION and reports by N-EVENT-REPORT: on the same association or, as most do, on
one of its own, minutes or hours later. So we listen as long as results are delivered, and what was
asked stands in the database: a report is taken by whoever listens at that time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from threading import Condition

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.events import Event

from headclip_med.errors import InvalidSettings, reason_of
from headclip_med.pipelines.service.database.opening import Database, UnusableDatabase
from headclip_med.pipelines.service.delivery import reports
from headclip_med.pipelines.service.delivery.destinations import Destination, DestinationFailed
from headclip_med.pipelines.service.delivery.objects import ResultObject
from headclip_med.pipelines.service.delivery.store_scu import associate, send_at_once, unreachable

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
LOOK_EVERY_S = 1.0
"""For a report that came to another process."""
_REQUEST, _SUCCESS, _PROCESSING_FAILURE, _NO_SUCH_OBJECT = 1, 0x0000, 0x0110, 0x0112


class CommitmentDesk:
    """Asks for commitment and takes the reports; use it as a context manager, which listens.

    Args:
        database: Where it stands what was asked and reported.
        destinations: All there are.
        clock: Gives seconds of Unix time.
    """

    def __init__(
        self, database: Database, destinations: Iterable[Destination], clock: Callable[[], float]
    ) -> None:
        self._database, self._clock = database, clock
        self._destinations = [one for one in destinations if one.verify == "commitment"]
        self._news = Condition()
        self._servers = ExitStack()

    def __enter__(self) -> CommitmentDesk:
        """Listen at every address that a destination reports to.

        Raises:
            InvalidSettings: One cannot be listened at.
        """
        places = {_place(one) for one in self._destinations}
        with ExitStack() as opened:
            for place in places:
                self._listen([one for one in self._destinations if _place(one) == place], opened)
            self._servers = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._servers.close()

    def missing(
        self, destination: Destination, delivery: int, objects: Sequence[ResultObject]
    ) -> frozenset[str]:
        """Ask for commitment unless a report is there, and give the UIDs of what is not committed.

        Args:
            destination: Whom to ask.
            delivery: Number that a report is remembered by, should it come later.
            objects: What it was sent.

        Raises:
            DestinationFailed: It cannot be reached, refuses, or has not reported in time.
        """
        committed = self._report(delivery)
        if committed is None:
            handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
            contexts = [build_context(PUSH_MODEL)]
            with associate(destination, contexts, handlers) as association:
                transaction = generate_uid(prefix=None)
                with self._database.write() as session:
                    reports.note_asked(session, transaction, delivery, self._clock())
                status, _ = association.send_n_action(
                    _request(transaction, objects), _REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE
                )
                _check(destination, status)
                committed = self._awaited(delivery, destination.timeout_s)
        if committed is None:
            raise DestinationFailed(
                f"The destination {destination.name} has not reported storage commitment yet.",
                f"Let the archive know {destination.ae_title} at port {destination.listen_port} "
                "of this machine.",
                code="not-confirmed",
            )
        return frozenset(one.sop_instance_uid for one in objects) - committed

    def _report(self, delivery: int) -> frozenset[str] | None:
        with self._database.write() as session:
            return reports.take_report(session, delivery)

    def _awaited(self, delivery: int, most_s: float) -> frozenset[str] | None:
        """Wait for a report, to this process or to another that listens at the same place."""
        end = time.monotonic() + most_s
        with self._news:
            while (found := self._report(delivery)) is None:
                if (left_s := end - time.monotonic()) <= 0:
                    break
                self._news.wait(min(LOOK_EVERY_S, left_s))
        return found

    def _listen(self, destinations: Sequence[Destination], opened: ExitStack) -> None:
        first = destinations[0]
        entity = AE(first.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = [str(one.called_ae_title) for one in destinations]
        entity.acse_timeout = entity.dimse_timeout = first.timeout_s
        entity.network_timeout = first.timeout_s
        entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        try:
            server = entity.start_server(
                (first.listen_host, int(first.listen_port or 0)),
                block=False,
                ssl_context=first.server_tls(),
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, send_at_once),
                    (evt.EVT_N_EVENT_REPORT, self._take),
                ],
            )
        except OSError as error:
            raise InvalidSettings(
                f"Reports of the destination {first.name} cannot be listened for: "
                f"{reason_of(error)}.",
                "Choose another listen_host or listen_port.",
            ) from None
        if server is not None:  # it never is, unless it blocks
            opened.callback(server.shutdown)

    def _take(self, event: Event) -> tuple[int, Dataset | None]:
        """Note a report; one of a transaction that was never begun is refused."""
        report = event.event_information
        committed = [
            str(one.ReferencedSOPInstanceUID) for one in report.get("ReferencedSOPSequence") or []
        ]
        uid = str(report.get("TransactionUID"))
        try:
            with self._database.write() as session:
                is_known = reports.note_reported(session, uid, committed, self._clock())
        except UnusableDatabase:
            return _PROCESSING_FAILURE, None  # the archive may report again
        if not is_known:
            return _NO_SUCH_OBJECT, None
        with self._news:
            self._news.notify_all()
        return _SUCCESS, None


def _place(destination: Destination) -> tuple[str, int | None, str]:
    return destination.listen_host, destination.listen_port, destination.ae_title


def _request(transaction: str, objects: Sequence[ResultObject]) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for one in objects:
        item = Dataset()
        item.ReferencedSOPClassUID = one.sop_class_uid
        item.ReferencedSOPInstanceUID = one.sop_instance_uid
        asked.ReferencedSOPSequence.append(item)
    return asked


def _check(destination: Destination, status: Dataset) -> None:
    if "Status" not in status:
        raise unreachable(destination)
    if status.Status != _SUCCESS:
        raise DestinationFailed(
            f"The destination {destination.name} refused to commit (status 0x{status.Status:04X}).",
            "Let the archive offer storage commitment, or set verify to qido.",
            code="not-confirmed",
        )
