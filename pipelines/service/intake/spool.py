"""Instances on disk, from the moment that they are acknowledged.

Acknowledged means durable. Of those who bring an instance at the same time one takes *all* that
wait, appends them to a segment and syncs that once: eight associations cost one sync, not eight (a
database would write each instance twice before it can sync). Right behind the acknowledgement each
appears as a file of its own, at once and whole. A segment is removed when the files made of it are
on the disk themselves; what a stop left of one is laid out at the next start.

    FOLDER/data/<study>/<series>/<instance>.dcm   names are digests of UIDs
    FOLDER/data/<study>/<series>.source           who brought the first
    FOLDER/journal/<writer>/*.segment
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Literal

from headclip_med.atomic import reported_errors
from headclip_med.errors import UnwritableOutput
from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.intake.checkpoint import Checkpointer, remove_unfinished
from headclip_med.pipelines.service.intake.instances import Instance, Origin, hashed, is_same
from headclip_med.pipelines.service.intake.journal import SUFFIX, Segment, read_records, sync_folder

Kept = Literal["new", "repeat", "conflict"]

SEGMENT_BYTES = 128_000_000

DATA, JOURNAL, LOCK = "data", "journal", "lock"


class SpoolFull(UnwritableOutput):
    """There is no room to take more in."""

    default_code = "spool-full"


@dataclass(eq=False)
class _Waiting:
    instance: Instance
    kept: Kept | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.kept is not None or self.error is not None


class Spool:
    """Takes instances in; use it as a context manager.

    Args:
        folder: Of the spool, which several writers share.
        role: What kind of writer this is; any number share the folder.
        database: Where it is noted which instances are not kept, as others have their UIDs.
        room_bytes: That must stay free on the disk.

    Raises:
        UnwritableOutput: The folder takes no files.
    """

    def __init__(self, folder: Path, role: str, database: Database, *, room_bytes: int = 0) -> None:
        self.data = folder / DATA
        self._journals, self._role = folder / JOURNAL, role
        self._database, self._room_bytes = database, room_bytes
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Lock()  # of who writes for all that wait
        self._segment: Segment | None = None
        with reported_errors():
            for one in (self.data, self._journals):
                one.mkdir(parents=True, exist_ok=True)
            sync_folder(folder)

    def __enter__(self) -> Spool:
        """Lay out what a stop left in journals, and take instances from now on."""
        with reported_errors():
            self._journal, self._lock = self._own_journal()
            self._checkpointer = Checkpointer(
                self.data,
                self._journal.name,
                on_conflict=self._note_conflict,
                end_segment=self._end_segment,
            )
            self._recover(self._journal)
            self._recover_others()
        self._checkpointer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """End after what was taken in."""
        self._checkpointer.__exit__()
        self._lock.close()

    def keep(self, instance: Instance) -> Kept:
        """Take an instance in; it is durable when this returns, and has its file soon.

        Returns:
            ``repeat`` where the same is there already, in whatever transfer syntax; ``conflict``
            where another instance has its UID: the first is kept.

        Raises:
            SpoolFull: The disk is full, or nearly so.
            UnwritableOutput: The disk takes nothing for another reason.
            HeadClipError: A conflict cannot be noted.
        """
        with reported_errors():
            if (trouble := self._checkpointer.trouble) is not None:
                raise trouble.with_traceback(None)
            free = shutil.disk_usage(self.data).free
        if free - len(instance.content) < self._room_bytes:
            raise SpoolFull(
                "The disk of the spool is full, so nothing more is taken in.",
                "Free space; senders try again by themselves.",
            )
        one = _Waiting(instance)
        self._waiting.append(one)
        with self._turn:
            if not one.is_done:
                self._keep_all([self._waiting.popleft() for _ in range(len(self._waiting))])
        with reported_errors():
            if one.error is not None:
                raise one.error
        assert one.kept is not None  # noqa: S101 - one of the two is set
        if one.kept == "conflict":
            self._note_conflict(instance.origin)
        return one.kept

    def _note_conflict(self, origin: Origin) -> None:
        with self._database.write() as session:
            audit.record(session, "conflict", peer=origin.peer, subject=origin.sop_uid)

    def _keep_all(self, group: Sequence[_Waiting]) -> None:
        if self._size > SEGMENT_BYTES:
            self._segment = None  # it is removed when all of it was laid out
        size = self._size
        try:
            fresh = self._look_up(group)
            if fresh:
                self._write(fresh)
        except Exception as error:  # the disk's; who waits has to know
            for one in group:
                one.error = error
            self._take_back(size)

    @property
    def _size(self) -> int:
        return 0 if self._segment is None else self._segment.size

    def _look_up(self, group: Iterable[_Waiting]) -> list[Instance]:
        """Tell of each whether its place is taken; give those that are new."""
        fresh: dict[Path, Instance] = {}
        for one in group:
            place = one.instance.origin.place
            known = fresh[place].content if place in fresh else self._checkpointer.content(place)
            if known is None:
                fresh[place], one.kept = one.instance, "new"
            else:
                one.kept = "repeat" if is_same(known, one.instance.content) else "conflict"
        return list(fresh.values())

    def _write(self, fresh: Sequence[Instance]) -> None:
        segment = self._segment = self._segment or Segment(self._journal)
        records = [segment.append(one.origin, one.content) for one in fresh]
        segment.sync()
        for one in records:
            self._checkpointer.add(one)

    def _take_back(self, size: int) -> None:
        try:
            if self._segment is not None:
                self._segment.cut(size)
        except OSError:
            self._segment = None  # whatever stands in it is laid out at the next start: harmless

    def _end_segment(self) -> bool:
        if not self._turn.acquire(blocking=False):
            return False  # something comes
        try:
            if not self._checkpointer.is_done:
                return False
            if self._segment is not None and self._segment.size == 0:
                self._segment.remove()
            self._segment = None
        finally:
            self._turn.release()
        return True

    def _own_journal(self) -> tuple[Path, IO[str]]:
        """Take the first journal of this machine and role that nobody else writes to."""
        machine = hashed(socket.gethostname())[:8]
        for number in count():
            journal = self._journals / f"{self._role}{number or ''}-{machine}"
            journal.mkdir(exist_ok=True)
            sync_folder(self._journals)
            if (lock := _locked(journal)) is not None:
                return journal, lock
        raise AssertionError

    def _recover_others(self) -> None:
        """Recover the journals that nobody writes to.

        With other settings there are fewer writers, and a container has a new name each time.
        """
        for journal in sorted(self._journals.iterdir()):
            if journal != self._journal and (lock := _locked(journal)) is not None:
                with lock:
                    self._recover(journal)

    def _recover(self, journal: Path) -> None:
        """Lay out what stands in a journal, whatever is there of it."""
        for path in sorted(journal.glob(f"*{SUFFIX}")):
            self._checkpointer.recover(read_records(path))
            path.unlink()
        remove_unfinished(self.data, journal.name)


def _locked(journal: Path) -> IO[str] | None:
    """Give what holds a journal until it is closed; None where another writer has it."""
    lock = (journal / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock
