"""Segments that instances are appended to, many at one sync.

A record is ``magic | head's length | content's length | SHA-256 of both | head | content``. What a
power cut left of the last one does not match its digest, and was never acknowledged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from headclip_med.pipelines.service.intake.instances import Instance, Origin

_MAGIC = b"HCSP"
_HEAD = struct.Struct("<4sIQ32s")
MOST_HEAD_BYTES = 65_536
SUFFIX = ".segment"
PIECE_BYTES = 1 << 20


class Segment:
    """A file that records are appended to.

    Args:
        folder: Of all segments of one writer; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{secrets.token_hex(8)}{SUFFIX}"
        self._file: BinaryIO = self.path.open("x+b", buffering=0)
        sync_folder(folder)
        self.size = 0

    def append(self, origin: Origin, content: bytes) -> JournalRecord:
        """Write a record; it is durable after ``sync`` only."""
        text = json.dumps(asdict(origin)).encode()
        digest = _digest(text, content)
        for piece in (_HEAD.pack(_MAGIC, len(text), len(content), digest) + text, content):
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]
        start = self.size + _HEAD.size + len(text)
        self.size = start + len(content)
        return JournalRecord(self, origin, start, len(content))

    def sync(self) -> None:
        """Return when all of it is on the disk."""
        os.fdatasync(self._file.fileno())

    def read(self, start: int, size: int) -> bytes:
        """Read what stands there."""
        found = os.pread(self._file.fileno(), size, start)
        if len(found) < size:
            raise OSError(errno.EIO, "A journal lost what was written to it")
        return found

    def cut(self, size: int) -> None:
        """Take back what was appended after so many bytes."""
        os.ftruncate(self._file.fileno(), size)
        self._file.seek(size)
        self.size = size

    def close(self) -> None:
        """Append no more."""
        self._file.close()

    def remove(self) -> None:
        """End it for good: what stood in it is on the disk elsewhere."""
        self.close()
        self.path.unlink()


@dataclass(frozen=True)
class JournalRecord:
    """An instance that stands in a segment.

    Attributes:
        segment: Which.
        origin: Of the instance.
        start: Of its content in the segment.
        size: Of its content.
    """

    segment: Segment
    origin: Origin
    start: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Read the content, which need not be held in memory for that."""
        end = self.start + self.size
        for start in range(self.start, end, PIECE_BYTES):
            yield self.segment.read(start, min(PIECE_BYTES, end - start))


def read_records(path: Path) -> Iterator[Instance]:
    """Read the whole records of a segment, in their order."""
    with path.open("rb") as file:
        while len(start := file.read(_HEAD.size)) == _HEAD.size:
            magic, head_bytes, content_bytes, digest = _HEAD.unpack(start)
            left = path.stat().st_size - file.tell()
            if magic != _MAGIC or head_bytes > MOST_HEAD_BYTES or head_bytes + content_bytes > left:
                return
            head, content = file.read(head_bytes), file.read(content_bytes)
            if _digest(head, content) != digest:
                return
            yield Instance(Origin(**json.loads(head)), content)


def _digest(head: bytes, content: bytes) -> bytes:
    found = hashlib.sha256(head)
    found.update(content)
    return found.digest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
