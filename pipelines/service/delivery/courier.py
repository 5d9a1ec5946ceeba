"""Delivers results: what is due is sent, verified, and tried again later where that fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from headclip_med.errors import own_error
from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.delivery import ledger, store_scu, stow
from headclip_med.pipelines.service.delivery.commitment import CommitmentDesk
from headclip_med.pipelines.service.delivery.destinations import Destination, DestinationFailed
from headclip_med.pipelines.service.delivery.objects import ResultObject, objects_of
from headclip_med.settings import require

_log = logging.getLogger(__name__)
_SEND = {"dicom": store_scu.send, "dicomweb": stow.send}


class Courier:
    """Takes results to their destinations; use it as a context manager.

    While it is open it listens for reports of storage commitment, also of what an earlier one asked
    for. Any number of couriers may work on one database; each delivery is one's at a time.
    """

    def __init__(
        self,
        database: Database,
        destinations: Iterable[Destination],
        out: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what to work on.

        Args:
            database: Of the folder of results.
            destinations: All there are; a delivery to any other is ended.
            out: The folder of results.
            clock: Gives seconds of Unix time.

        Raises:
            InvalidSettings: Two destinations share a name, or certificates or credentials of one
                cannot be used.
        """
        self._database = database
        self._destinations = tuple(destinations)
        self._out = out
        self._clock = clock
        self._desk = CommitmentDesk(database, self._destinations, clock)
        names = [one.name for one in self._destinations]
        require(
            len(set(names)) == len(names),
            "Two destinations have the same name.",
            "Give each a name of its own; one without is called pacs.",
        )
        for one in self._destinations:
            one.client_tls()
            one.credentials()

    def __enter__(self) -> Courier:
        """Listen for reports.

        Raises:
            InvalidSettings: An address for them cannot be listened at.
        """
        self._desk.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._desk.__exit__()

    def deliver_due(self, until: Callable[[], bool] = lambda: False) -> int:
        """Deliver all that is due, to every destination at once; give the number of attempts.

        Args:
            until: Asked between deliveries whether to stop.
        """
        self._end_strays()
        if not self._destinations:
            return 0
        with ThreadPoolExecutor(len(self._destinations)) as pool:
            return sum(pool.map(partial(self._serve, until=until), self._destinations))

    def _end_strays(self) -> None:
        known = [one.name for one in self._destinations]
        with self._database.write() as session:
            ledger.end_strays(session, known)

    def _serve(self, destination: Destination, until: Callable[[], bool]) -> int:
        count = 0
        while not until():
            with self._database.write() as session:
                parcel = ledger.claim(session, destination, self._clock())
            if parcel is None:
                break
            count += 1
            try:
                self._deliver(destination, parcel)
            except Exception as error:
                self._fail(destination, parcel, error)
        return count

    def _deliver(self, destination: Destination, parcel: ledger.Parcel) -> None:
        objects = objects_of(self._out / parcel.folder, destination.outputs)
        if not objects:
            with self._database.write() as session:
                ledger.note_empty(session, parcel, self._clock())
            return
        if not parcel.is_sent:
            _SEND[destination.kind](destination, objects)
            with self._database.write() as session:
                ledger.note_sent(session, parcel, objects, self._clock())
        self._verify(destination, parcel, objects)
        with self._database.write() as session:
            is_verified = destination.verify != "none"
            ledger.note_done(session, parcel, self._clock(), is_verified=is_verified)

    def _verify(
        self, destination: Destination, parcel: ledger.Parcel, objects: Sequence[ResultObject]
    ) -> None:
        absent: frozenset[str] = frozenset()
        if destination.verify == "qido":
            absent = stow.missing(destination, objects)
        elif destination.verify == "commitment":
            absent = self._desk.missing(destination, parcel.delivery, objects)
        if absent:
            raise DestinationFailed(
                f"The destination {destination.name} took the objects, but says that it lacks "
                f"{len(absent)} of {len(objects)}.",
                "They are sent again by themselves; look into the archive's log.",
                code="not-there",
            )

    def _fail(self, destination: Destination, parcel: ledger.Parcel, error: Exception) -> None:
        known = own_error(error)
        _log.warning("delivery %d to %s: %s", parcel.delivery, destination.name, known.code)
        with self._database.write() as session:
            ledger.note_failure(session, parcel, destination, known, self._clock())


def deliver_due(
    database: Database,
    destinations: Iterable[Destination],
    out: Path,
    clock: Callable[[], float] = time.time,
) -> int:
    """Deliver once what is due, and give the number of attempts; see ``Courier``."""
    with Courier(database, destinations, out, clock) as courier:
        return courier.deliver_due()


def resend(
    database: Database, result_ids: Iterable[int], clock: Callable[[], float] = time.time
) -> int:
    """Have results sent again to where they were bound, whatever became of that; give the count.

    Deliveries that were given up begin anew. Those of superseded results are left out.
    """
    with database.write() as session:
        return ledger.requeue(session, list(result_ids), clock())
