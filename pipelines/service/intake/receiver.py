"""The DICOM service that takes C-STORE, in processes of its own.

Each process is capped: whoever sends it more than it can hold ends that process alone, and it is
started anew. All listen at one socket, which stays open meanwhile. Nothing that was sent is written
to a log.
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

from headclip_med.errors import HeadClipError
from headclip_med.pipelines.service.database.opening import open_database
from headclip_med.pipelines.service.intake.listener import Listener, listening_errors
from headclip_med.pipelines.service.intake.settings import ReceiverSettings
from headclip_med.pipelines.service.intake.spool import Spool

START_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReceiverPlan:
    """What the processes are given.

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
    """Keeps receiving processes running; use it as a context manager.

    Attributes:
        plan: What they do.
        starts: How often one was started.
    """

    plan: ReceiverPlan
    starts: int = 0
    _listening: socket.socket | None = field(default=None, init=False)
    _running: dict[int, _Running] = field(default_factory=dict, init=False)

    def __enter__(self) -> Receiver:
        """Start them, and return when they listen.

        Raises:
            HeadClipError: They cannot listen there, or write.
        """
        self.plan.settings.tls()
        self._listening = _bound(self.plan.settings)
        try:
            for number in range(self.plan.settings.processes):
                self._start(number)
        except HeadClipError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let them end what they are at, and end them."""
        if self._listening is not None:
            self._listening.close()
        for one in self._running.values():
            one.line.close()
        for one in self._running.values():
            one.process.join(10)
            one.process.kill()
            one.process.join()

    def watch(self) -> bool:
        """Start those anew that ended or took too much memory; tell whether there were any."""
        ended = [number for number, one in self._running.items() if self._has_ended(one.process)]
        for number in ended:
            _log.warning("a receiving process ended; it is started anew")
            with suppress(HeadClipError):  # tried again at the next look
                self._start(number)
        return bool(ended)

    def _has_ended(self, process: SpawnProcess) -> bool:
        from headclip_med.pipelines.service.execution.local import resident_bytes

        if process.is_alive():
            if resident_bytes(process.pid) < self.plan.settings.memory_limit_gb * 1e9:
                return False
            process.kill()
        process.join()
        return True

    def _start(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        line, theirs = context.Pipe()
        process = context.Process(
            target=_receive,
            args=(theirs, self.plan, self._listening),
            name=f"headclip-receiver-{number}",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._running[number] = _Running(process, line)
        self.starts += 1
        try:
            word = line.recv() if line.poll(START_S) else None
        except EOFError:
            word = None
        if isinstance(word, HeadClipError):
            raise word
        if word is None:
            process.kill()
            raise HeadClipError("The receiver does not start.", "Look at memory_limit_gb.")


@dataclass(frozen=True)
class _Running:
    process: SpawnProcess
    line: Connection


def _bound(own: ReceiverSettings) -> socket.socket:
    """Take the address; who starts first listens at it."""
    with listening_errors(own):
        kind = socket.getaddrinfo(own.host, own.port, type=socket.SOCK_STREAM)[0][:3]
        found = socket.socket(*kind)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((own.host, own.port))
        except OSError:
            found.close()
            raise
        return found


def _receive(line: Connection, plan: ReceiverPlan, listening: socket.socket) -> None:
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
        with Spool(plan.spool, "receiver", database, room_bytes=plan.room_bytes) as spool:
            server = Listener(plan.settings, spool, database).start(listening)
            line.send("listening")
            with suppress(EOFError, OSError):
                line.recv()
            server.shutdown()
    except HeadClipError as error:
        line.send(error)
