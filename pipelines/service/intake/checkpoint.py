"""Gives each instance of a journal a file of its own, behind the acknowledgement."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from headclip_med.pipelines.service.intake.instances import Instance, Origin, is_same
from headclip_med.pipelines.service.intake.journal import JournalRecord, Segment, sync_folder

IDLE_S = 2.0
"""After so long without an instance the last segment is ended."""

PAUSE_S = 0.25
"""Of what comes within this all is laid out at once, which disturbs answers least."""

RETRY_S = 0.5
UNFINISHED = ".part"

BLOCK_BYTES = 4_096
"""That a file system writes at once, or less than its own."""


class Checkpointer:
    """Lays out what is added to it, in that order, in a thread; use it as a context manager.

    A segment is removed when all that was laid out of it is on the disk itself. What the disk does
    not take stays first in line and is tried again; until then nothing more should be taken in.

    Args:
        data: Folder of all files.
        writer: Name that unfinished files end with.
        on_conflict: Told of an instance that found another one in its place.
        end_segment: Called when nothing came for a while: ends the segment that is open, and tells
            whether everything of it was laid out.

    Attributes:
        trouble: Why nothing is laid out at present; None if all is well.
    """

    def __init__(
        self,
        data: Path,
        writer: str,
        *,
        on_conflict: Callable[[Origin], None],
        end_segment: Callable[[], bool],
    ) -> None:
        self.trouble: Exception | None = None
        self._data, self._unfinished = data, f".{writer}{UNFINISHED}"
        self._on_conflict, self._end_segment = on_conflict, end_segment
        self._changed = threading.Condition()
        self._pending: dict[Path, JournalRecord] = {}  # by place, the oldest first
        self._ending = threading.Event()
        self._files: dict[Segment, list[Path]] = {}  # of which segments are not yet removed
        self._begun: set[Path] = set()
        self._thread = threading.Thread(target=self._work, name=f"checkpoint-{writer}", daemon=True)

    def __enter__(self) -> Checkpointer:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End after what was added; what the disk does not take stays in the journal."""
        self._ending.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def add(self, record: JournalRecord) -> None:
        """Take what stands in a segment, and return at once."""
        with self._changed:
            if not self._pending:
                self._changed.notify_all()
            self._pending[record.origin.place] = record

    def content(self, place: Path) -> bytes | None:
        """Give what was added for a place, or stands there already; None where nothing does."""
        with self._changed:
            if place in self._pending:
                return b"".join(self._pending[place].pieces())
        try:
            return (self._data / place).read_bytes()
        except FileNotFoundError:
            return None

    @property
    def is_done(self) -> bool:
        """Whether nothing is pending."""
        return not self._pending

    def recover(self, instances: Iterable[Instance]) -> None:
        """Lay out what stood in a journal at a stop, whatever is there of it.

        Raises:
            OSError: The disk does not take it.
        """
        files: list[Path] = []
        for one in instances:
            path = self._data / one.origin.place
            if path.exists() and _is_left_of(path.read_bytes(), one.content):
                path.unlink()
            self._lay_out(one.origin, [one.content].__iter__, files)
        self._begun.clear()
        _sync_all(self._data, files)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._ending.is_set(), IDLE_S)
            if self._pending:
                self._ending.wait(PAUSE_S)
            is_last = self._ending.is_set()
            with self._changed:
                pending = list(self._pending.values())
            try:
                for record in pending:
                    self._take(record)
                if not pending and self._end_segment():
                    self._settle()
                self.trouble = None
            except Exception as error:  # the disk's; who brings more has to know
                self._wait_out(error)
                pending = []
            if is_last and not pending:
                return

    def _wait_out(self, error: Exception) -> None:
        self.trouble = error
        self._begun.clear()  # one of them may be gone
        self._ending.wait(RETRY_S)

    def _take(self, record: JournalRecord) -> None:
        if record.segment not in self._files:
            self._settle()  # they come in order: all of the one before was laid out
            self._files[record.segment] = []
        self._lay_out(record.origin, record.pieces, self._files[record.segment])
        with self._changed:
            del self._pending[record.origin.place]

    def _lay_out(
        self, origin: Origin, pieces: Callable[[], Iterable[bytes]], files: list[Path]
    ) -> None:
        path = self._data / origin.place
        if path.parent not in self._begun:
            files.append(self._begin(path.parent, origin))
        files.append(path)
        # Another writer's may have come meanwhile, or it was laid out before a stop.
        is_first = self._appear(path, pieces())
        if not is_first and not is_same(path.read_bytes(), b"".join(pieces())):
            self._on_conflict(origin)

    def _begin(self, series: Path, first: Origin) -> Path:
        """Make the folder of a series, and note who brought the first of it."""
        series.mkdir(parents=True, exist_ok=True)
        source = series.with_suffix(".source")
        if not source.exists():
            self._appear(
                source, [json.dumps({"source": first.source, "peer": first.peer}).encode()]
            )
        self._begun.add(series)
        return source

    def _appear(self, path: Path, pieces: Iterable[bytes]) -> bool:
        """Let a file appear whole; False where there is one already, which stays."""
        unfinished = path.with_name(f".{secrets.token_hex(8)}{self._unfinished}")
        try:
            with unfinished.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
            os.link(unfinished, path)
        except FileExistsError:
            return False
        finally:
            unfinished.unlink(missing_ok=True)
        return True

    def _settle(self) -> None:
        """Let segments go of which everything that was laid out is on the disk itself."""
        for segment in list(self._files):
            _sync_all(self._data, self._files[segment])
            segment.remove()
            del self._files[segment]
        self._begun.clear()


def remove_unfinished(data: Path, writer: str) -> None:
    """Remove the files that a stop left half written."""
    for depth in ("*", "*/*"):
        for left in data.glob(f"{depth}/.*.{writer}{UNFINISHED}"):
            left.unlink(missing_ok=True)


def _sync_all(root: Path, paths: Sequence[Path]) -> None:
    folders = {root}
    for path in paths:
        with suppress(FileNotFoundError), path.open("rb") as file:  # somebody took it away
            os.fsync(file.fileno())
        folders |= {path.parent, path.parent.parent}
    for folder in folders:
        with suppress(FileNotFoundError):
            sync_folder(folder)


def _is_left_of(left: bytes, content: bytes) -> bool:
    """Tell whether a file is what a power cut left of one: blocks of it are missing or zero."""
    if left == content or len(left) > len(content):
        return False
    for start in range(0, len(left), BLOCK_BYTES):
        block = left[start : start + BLOCK_BYTES]
        if any(block) and not content.startswith(block, start):
            return False
    return True
