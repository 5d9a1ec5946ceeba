"""The DICOM service that takes C-STORE, in a process of its own (PS3.4 B, PS3.8).

The process is capped: whoever sends it more than it can hold ends that process alone, and it is
started anew. Nothing it was sent is written to a log.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import signal
import socket
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from pynetdicom import (
    AE,
    PYNETDICOM_IMPLEMENTATION_UID,
    VerificationPresentationContexts,
    _config,
    evt,
)
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.transport import ThreadedAssociationServer

from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput, reason_of
from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.database.opening import Database, open_database
from headclip_med.pipelines.service.intake.instances import Instance, file_head
from headclip_med.pipelines.service.intake.settings import ReceiverSettings
from headclip_med.pipelines.service.intake.spool import Spool, SpoolFull, writer_name

SUCCESS, KEPT_THE_FIRST, NO_ROOM, NO_INSTANCE = 0x0000, 0xB000, 0xA700, 0xC000
SILENT_S = 5.0
"""A connection that asks for no association is closed after this."""
START_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReceiverPlan:
    """What the process is given.

    Attributes:
        settings: ``[receiver]``.
        spool: Where instances are kept.
        database: Where conflicts and refusals are noted.
        room_bytes: That stays free on the disk.
    """

    settings: ReceiverSettings
    spool: Path
    database: Path | str
    room_bytes: int


@dataclass(eq=False)
class Receiver:
    """Keeps a receiving process running; use it as a context manager.

    Attributes:
        plan: What it does.
        starts: How often it was started.
    """

    plan: ReceiverPlan
    starts: int = 0
    _process: SpawnProcess | None = field(default=None, init=False)
    _line: Connection | None = field(default=None, init=False)

    def __enter__(self) -> Receiver:
        """Start it, and return when it listens.

        Raises:
            HeadClipError: It cannot listen there, or write.
        """
        self.plan.settings.tls()
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end what it is at, and end it."""
        if self._line is not None and self._process is not None:
            self._line.close()
            self._process.join(10)
            self._process.kill()
            self._process.join()

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return None if self._process is None else self._process.pid

    def watch(self) -> bool:
        """Start it anew where it ended or took too much memory; tell whether that was so."""
        from headclip_med.pipelines.service.execution.local import resident_bytes

        process = self._process
        assert process is not None  # noqa: S101 - entered
        if process.is_alive():
            if resident_bytes(process.pid) < self.plan.settings.memory_limit_gb * 1e9:
                return False
            process.kill()
        process.join()
        _log.warning("the receiving process ended; it is started anew")
        with suppress(HeadClipError):  # tried again at the next look
            self._start()
        return True

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(
            target=_receive, args=(theirs, self.plan), name="headclip-receiver", daemon=True
        )
        self._process.start()
        theirs.close()
        self.starts += 1
        try:
            word = self._line.recv() if self._line.poll(START_S) else None
        except EOFError:
            word = None
        if isinstance(word, HeadClipError):
            raise word
        if word is None:
            self._process.kill()
            raise HeadClipError("The receiver does not start.", "Look at memory_limit_gb.")


def _receive(line: Connection, plan: ReceiverPlan) -> None:
    """Receive until the other end of the line is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the line's end is the sign
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")  # pydicom's quote what stands in a file
    cap = int(plan.settings.memory_limit_gb * 1.5e9) + 1_000_000_000  # addresses, not only memory
    resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
    try:
        database = open_database(plan.database)
        with Spool(plan.spool, writer_name("receiver"), room_bytes=plan.room_bytes) as spool:
            server = Listener(plan.settings, spool, database).start()
            line.send("listening")
            with suppress(EOFError, OSError):
                line.recv()
            server.shutdown()
    except HeadClipError as error:
        line.send(error)


class Listener:
    """What answers associations and keeps what they bring.

    Args:
        settings: ``[receiver]``.
        spool: Open.
        database: For the audit.
    """

    def __init__(self, settings: ReceiverSettings, spool: Spool, database: Database) -> None:
        self._settings, self._spool, self._database = settings, spool, database

    def start(self) -> ThreadedAssociationServer:
        """Listen in threads, and give the server.

        Raises:
            InvalidSettings: The address cannot be listened at.
        """
        _config.LOG_HANDLER_LEVEL = "none"
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
        _config.UNRESTRICTED_STORAGE_SERVICE = True
        own = self._settings
        entity = AE(own.ae_title)
        entity.maximum_pdu_size = own.maximum_pdu_bytes
        entity.maximum_associations = own.associations
        entity.acse_timeout = SILENT_S
        entity.dimse_timeout = entity.network_timeout = own.timeout_s
        entity.require_called_aet = True
        entity.require_calling_aet = list(own.allow)
        # Whatever is to be stored is accepted without a context of its own; pynetdicom copies all
        # that there are for each association, which took longer than a hundred instances.
        entity.supported_contexts = VerificationPresentationContexts
        handlers: list[EventHandlerType] = [
            (evt.EVT_CONN_OPEN, _answer_at_once),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._note_rejected),
        ]
        try:
            found = entity.start_server(
                (own.host, own.port), block=False, evt_handlers=handlers, ssl_context=own.tls()
            )
        except OSError as error:
            raise InvalidSettings(
                f"The receiver cannot listen at port {own.port}: {reason_of(error)}.",
                "Choose another port, or end what listens there.",
                code="port-taken",
            ) from None
        assert found is not None  # noqa: S101 - it does not block
        return found

    def _store(self, event: Event) -> int:
        peer = str(event.assoc.requestor.ae_title)
        try:
            instance = Instance.of(_file_of(event), source="receiver", peer=peer)
            kept = self._spool.keep(instance)
        except UnreadableInput as error:
            self._note("refused", peer, code=error.code)
            return NO_INSTANCE
        except HeadClipError as error:  # of the disk
            code = NO_ROOM
            _log.error("nothing is taken in: %s", error)
            if not isinstance(error, SpoolFull):
                self._note("refused", peer, code=error.code)
            return code
        if kept == "conflict":
            self._note("conflict", peer, subject=instance.sop_uid)
            return KEPT_THE_FIRST
        return SUCCESS

    def _note_rejected(self, event: Event) -> None:
        self._note("refused", str(event.assoc.requestor.ae_title), code="ae-title")

    def _note(self, kind: str, peer: str, subject: str | None = None, **facts: str) -> None:
        try:
            with self._database.write() as session:
                audit.record(session, kind, peer=peer, subject=subject, **facts)
        except HeadClipError as error:
            _log.error("the audit cannot be written: %s", error.code)


def _file_of(event: Event) -> bytes:
    """Give what came as a whole DICOM file."""
    asked: Any = event.request
    head = file_head(
        str(asked.AffectedSOPClassUID), str(asked.AffectedSOPInstanceUID),
        event.context.transfer_syntax, PYNETDICOM_IMPLEMENTATION_UID,
    )  # fmt: skip
    return head + event.encoded_dataset(include_meta=False)


def _answer_at_once(event: Event) -> None:
    """Send small packets without waiting: each instance would wait 90 ms otherwise."""
    line = event.assoc.dul.socket
    if line is not None and line.socket is not None:
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
