"""What answers associations and keeps what they bring (PS3.4 B, PS3.8)."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from typing import Any

from pynetdicom import (
    AE,
    PYNETDICOM_IMPLEMENTATION_UID,
    VerificationPresentationContexts,
    _config,
    evt,
)
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput, reason_of
from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.intake.instances import DEFLATED, Instance, file_head
from headclip_med.pipelines.service.intake.settings import ReceiverSettings
from headclip_med.pipelines.service.intake.spool import Spool, SpoolFull

SUCCESS, KEPT_THE_FIRST, NO_ROOM, NO_INSTANCE = 0x0000, 0xB000, 0xA700, 0xC000
TRANSIENT = 2
"""Of a rejection: it is for now alone (PS3.8 9.3.4)."""

SILENT_S = 5.0
"""A connection that asks for no association is closed after this."""

LOOK_S = 0.0005
"""pynetdicom looks for what came, and for answers to send, after such pauses; its own are twice as
long, and an instance waits for two of them."""

READ_BYTES = 262_144
BACKLOG = 128
"""Connections that wait until one of the processes accepts them."""

STEP_BACK_S = 0.002
"""For each association that a process has, before it accepts another."""

_log = logging.getLogger(__name__)


@contextmanager
def listening_errors(own: ReceiverSettings) -> Iterator[None]:
    """Say in a sentence what the system says of an address.

    Raises:
        InvalidSettings: In the place of its OSError.
    """
    try:
        yield
    except OSError as error:
        raise InvalidSettings(
            f"The receiver cannot listen at port {own.port}: {reason_of(error)}.",
            "Choose another port, or end what listens there.",
            code="port-taken",
        ) from None


class Listener:
    """Answers who calls at a socket.

    Args:
        settings: ``[receiver]``.
        spool: Open.
        database: For the audit.
    """

    def __init__(self, settings: ReceiverSettings, spool: Spool, database: Database) -> None:
        self._settings, self._spool, self._database = settings, spool, database

    def start(self, listening: socket.socket) -> BaseServer:
        """Answer in threads, and give the server.

        Args:
            listening: Bound to our address; other processes may answer at it, too.

        Raises:
            InvalidSettings: It cannot be listened at.
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
            (evt.EVT_CONN_OPEN, _speed_up),
            (evt.EVT_REQUESTED, _prefer_what_is_taken),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._note_rejected),
        ]
        with listening_errors(own):
            server = entity.make_server(
                listening.getsockname(), evt_handlers=handlers, ssl_context=own.tls(),
                server_class=_Server, listening=listening,
            )  # fmt: skip
        threading.Thread(target=server.serve_forever, name="listener", daemon=True).start()
        return server

    def _store(self, event: Event) -> int:
        peer = str(event.assoc.requestor.ae_title)
        try:
            instance = Instance.of(_file_of(event), source="receiver", peer=peer)
            kept = self._spool.keep(instance)
        except UnreadableInput as error:
            self._note("refused", peer, code=error.code)
            return NO_INSTANCE
        except HeadClipError as error:  # of the disk
            _log.error("nothing is taken in: %s", error)
            if not isinstance(error, SpoolFull):
                self._note("refused", peer, code=error.code)
            return NO_ROOM
        return KEPT_THE_FIRST if kept == "conflict" else SUCCESS

    def _note_rejected(self, event: Event) -> None:
        answer = event.assoc.acceptor.primitive
        is_busy = answer is not None and answer.result == TRANSIENT
        code = "too-many-associations" if is_busy else "ae-title"
        self._note("refused", str(event.assoc.requestor.ae_title), code=code)

    def _note(self, kind: str, peer: str, **facts: str) -> None:
        try:
            with self._database.write() as session:
                audit.record(session, kind, peer=peer, **facts)
        except HeadClipError as error:
            _log.error("the audit cannot be written: %s", error.code)


class _Server(ThreadedAssociationServer):
    """Accepts at a socket that several processes listen at.

    A connection that stays silent in the middle of anything, of the encryption too, is closed after
    the network timeout, and holds up nobody else until then.
    """

    def __init__(self, *args: Any, listening: socket.socket, **kwargs: Any) -> None:
        self._listening = listening
        listening.setblocking(False)  # another process may have been faster
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = self._listening

    def server_activate(self) -> None:
        self._listening.listen(BACKLOG)  # the first of us; until then nobody is kept waiting

    def server_close(self) -> None:
        self._listening.close()  # the other processes go on

    def shutdown(self) -> None:
        BaseServer.shutdown(self)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        # Whichever process has the least to do is to be the first.
        time.sleep(STEP_BACK_S * len(self.active_associations))
        line, address = self._listening.accept()
        line.settimeout(self.ae.network_timeout)
        return line, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self.ssl_context is not None:
                request = self.ssl_context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):  # it is not encrypted, or nobody whom we know
            self.shutdown_request(request)
            return
        super().process_request_thread(request, client_address)


class WholeReads(AssociationSocket):
    """Reads what is asked for in as few pieces as it comes in.

    pynetdicom reads 4 KB at a time, and waits for its other threads after each: of eight
    associations a third more is taken so.
    """

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes; fewer where the line ends."""
        line, found = self.socket, bytearray()
        assert line is not None  # noqa: S101 - pynetdicom asks whether it is ready
        while (rest := nr_bytes - len(found)) and (more := line.recv(min(rest, READ_BYTES))):
            found += more
        return found


def _speed_up(event: Event) -> None:
    """Send small packets without waiting, each instance would wait 90 ms otherwise; read whole."""
    service = event.assoc.dul
    line = service.socket
    if line is not None and line.socket is not None:
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.__class__ = WholeReads  # pynetdicom makes it, and asks nobody of what kind
    service._run_loop_delay = LOOK_S


def _prefer_what_is_taken(event: Event) -> None:
    """Leave out what is refused later where a sender offers something else beside it."""
    for one in event.assoc.requestor.requested_contexts:
        others = [syntax for syntax in one.transfer_syntax if syntax != DEFLATED]
        one.transfer_syntax = list(others or one.transfer_syntax)


def _file_of(event: Event) -> bytes:
    """Give what came as a whole DICOM file."""
    asked: Any = event.request
    head = file_head(
        str(asked.AffectedSOPClassUID), str(asked.AffectedSOPInstanceUID),
        event.context.transfer_syntax, PYNETDICOM_IMPLEMENTATION_UID,
    )  # fmt: skip
    return head + event.encoded_dataset(include_meta=False)
