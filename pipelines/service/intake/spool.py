"""Instances on disk, from the moment that they are acknowledged.

Acknowledged means durable. Whoever brings an instance waits while one thread takes *all* that wait,
appends them to a segment and syncs that once: eight associations cost one sync, not eight (a
database would write each instance twice before it can sync). Then each appears as a file of its
own, at once and whole. A segment is removed when the files made of it are on the disk themselves;
what a power cut left of one is laid out again at the next start.

    FOLDER/data/<study>/<series>/<instance>.dcm   names are digests of UIDs
    FOLDER/data/<study>/<series>.source           who brought the first
    FOLDER/journal/<writer>/*.segment
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import secrets
import shutil
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headclip_med.atomic import reported_errors
from headclip_med.errors import UnwritableOutput
from headclip_med.pipelines.service.intake.instances import Instance, hashed, is_same
from headclip_med.pipelines.service.intake.journal import SUFFIX, Segment, records, sync_folder

Kept = Literal["new", "repeat", "conflict"]

SEGMENT_BYTES = 128_000_000
IDLE_S = 2.0
"""After so long without an instance a segment is ended."""

DATA, JOURNAL, UNFINISHED = "data", "journal", ".part"


def writer_name(role: str) -> str:
    """Name a writer among those of all machines that share a spool."""
    return f"{role}-{hashed(socket.gethostname())[:8]}"


class SpoolFull(UnwritableOutput):
    """There is no room to take more in."""

    default_code = "spool-full"


@dataclass(eq=False)
class _Waiting:
    instance: Instance
    done: threading.Event = field(default_factory=threading.Event)
    kept: Kept | None = None
    error: Exception | None = None


class Spool:
    """Takes instances in; use it as a context manager.

    Args:
        folder: Of the spool, which several writers share.
        writer: Name of this one; no two at a time have the same.
        room_bytes: That must stay free on the disk.

    Raises:
        UnwritableOutput: The folder takes no files.
    """

    def __init__(self, folder: Path, writer: str, *, room_bytes: int = 0) -> None:
        self.data = folder / DATA
        self._journal = folder / JOURNAL / writer
        self._unfinished = f".{writer}{UNFINISHED}"
        self._room_bytes = room_bytes
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._segment: Segment | None = None
        self._laid_out: list[Path] = []
        self._begun: set[Path] = set()
        self._thread = threading.Thread(target=self._work, name=f"spool-{writer}", daemon=True)
        with reported_errors():
            self.data.mkdir(parents=True, exist_ok=True)
            self._journal.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Spool:
        """Lay out what a stop left in the journal, and take instances from now on."""
        with reported_errors():
            self._lock = (self._journal / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)  # the one before is at its end
            self._recover()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End after what waits."""
        self._waiting.put(None)
        self._thread.join()
        self._lock.close()

    def keep(self, instance: Instance) -> Kept:
        """Take an instance in; it is durable when this returns.

        Returns:
            ``repeat`` where the same is there already, in whatever transfer syntax; ``conflict``
            where another instance has its UID: the first is kept.

        Raises:
            SpoolFull: The disk is full, or nearly so.
            UnwritableOutput: The disk takes nothing for another reason.
        """
        with reported_errors():
            free = shutil.disk_usage(self.data).free
        if free - len(instance.content) < self._room_bytes:
            raise SpoolFull(
                "The disk of the spool is full, so nothing more is taken in.",
                "Free space; senders try again by themselves.",
            )
        one = _Waiting(instance)
        self._waiting.put(one)
        one.done.wait()
        with reported_errors():
            if one.error is not None:
                raise one.error
        assert one.kept is not None  # noqa: S101 - set before done
        return one.kept

    def _work(self) -> None:
        is_open = True
        while is_open:
            group = self._next_group()
            is_open = None not in group
            wanted = [one for one in group if one is not None]
            if wanted:
                self._keep_all(wanted)
            if not group or not is_open or self._size() > SEGMENT_BYTES:
                self._settle()

    def _size(self) -> int:
        return 0 if self._segment is None else self._segment.size

    def _next_group(self) -> list[_Waiting | None]:
        group: list[_Waiting | None] = []
        with suppress(queue.Empty):
            group.append(self._waiting.get(timeout=IDLE_S))
            while True:
                group.append(self._waiting.get_nowait())
        return group

    def _keep_all(self, group: Sequence[_Waiting]) -> None:
        size = self._size()
        try:
            fresh = [one for one in group if not self._is_known(one)]
            if fresh:
                segment = self._segment = self._segment or Segment(self._journal)
                for one in fresh:
                    segment.append(_head(one.instance), one.instance.content)
                segment.sync()
                for one in fresh:
                    one.kept = self._lay_out(one.instance)
        except Exception as error:  # the disk's; who waits has to know
            for one in group:
                one.error = error
            self._take_back(size)
            self._begun.clear()  # one of them may be gone
        for one in group:
            one.done.set()

    def _take_back(self, size: int) -> None:
        try:
            if self._segment is not None:
                self._segment.cut(size)
        except OSError:
            self._segment = None  # whatever stands in it is laid out at the next start: harmless

    def _is_known(self, one: _Waiting) -> bool:
        path = self.data / one.instance.place
        if not path.exists():
            return False
        one.kept = "repeat" if is_same(path.read_bytes(), one.instance.content) else "conflict"
        _sync(path)  # it may have been laid out just before a disk became full
        return True

    def _lay_out(self, instance: Instance) -> Kept:
        path = self.data / instance.place
        if path.parent not in self._begun:
            self._begin(path.parent, instance)
        self._laid_out.append(path)
        if self._appear(path, instance.content):
            return "new"
        return "repeat" if is_same(path.read_bytes(), instance.content) else "conflict"

    def _begin(self, series: Path, first: Instance) -> None:
        """Make the folder of a series, and note who brought the first of it."""
        series.mkdir(parents=True, exist_ok=True)
        source = series.with_suffix(".source")
        if not source.exists():
            text = json.dumps({"source": first.source, "peer": first.peer})
            self._appear(source, text.encode())
        self._laid_out.append(source)
        self._begun.add(series)

    def _appear(self, path: Path, content: bytes) -> bool:
        """Let a file appear whole; False where there is one already, which stays."""
        unfinished = path.with_name(f".{secrets.token_hex(8)}{self._unfinished}")
        try:
            unfinished.write_bytes(content)
            os.link(unfinished, path)
        except FileExistsError:
            return False
        finally:
            unfinished.unlink(missing_ok=True)
        return True

    def _settle(self) -> None:
        """Let a segment go when what was laid out of it is on the disk itself."""
        segment = self._segment
        if segment is None:
            return
        try:
            _sync_all(self.data, self._laid_out)
            segment.close()
            segment.path.unlink()
            self._segment, self._laid_out = None, []
            self._begun.clear()
        except OSError:  # later, or at the next start
            return

    def _recover(self) -> None:
        """Lay out what stands in the journal, whatever is there of it."""
        for path in sorted(self._journal.glob(f"*{SUFFIX}")):
            by_place: dict[Path, list[Instance]] = {}
            for head, content in records(path):
                one = Instance(**head, content=content)
                by_place.setdefault(self.data / one.place, []).append(one)
            for place, found in by_place.items():
                known = place.exists() and place.read_bytes()
                if known is not False and not any(known == one.content for one in found):
                    place.unlink()  # the disk's half of a file
                self._lay_out(found[0])
            _sync_all(self.data, self._laid_out)
            self._laid_out = []
            path.unlink()
        for depth in ("*", "*/*"):
            for left in self.data.glob(f"{depth}/.*{self._unfinished}"):
                left.unlink(missing_ok=True)


def _head(instance: Instance) -> dict[str, str]:
    names = ("study_uid", "series_uid", "sop_uid", "source", "peer")
    return {name: getattr(instance, name) for name in names}


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _sync_all(root: Path, paths: Sequence[Path]) -> None:
    folders = {root}
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        folders |= {path.parent, path.parent.parent}
    for folder in folders:
        sync_folder(folder)
