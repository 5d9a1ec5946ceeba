"""The one store: whatever is costly to compute is kept by all that it depends on.

An entry is a folder named by its identity: plain JSON values that say all that its content follows
from. ``about.json`` in it repeats them, so that nothing is ever believed of something else.

There are two kinds. What is *written* appears complete or not at all, with the SHA-256 of each of
its files. What is *grown* is filled in place, step by step, and a run goes on with the work of one
that was killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from headclip_med.atomic import sha256_of, write_file, write_folder
from headclip_med.errors import HeadClipError, UnwritableOutput

_log = logging.getLogger(__name__)

HELD_BYTES = 64_000_000
"""Of an array that is not kept; a larger one is held in a file and not in memory."""

ABOUT_FILE = "about.json"

Identity = Mapping[str, object]
"""Plain JSON values that tell what an entry belongs to."""

MakeArray = Callable[[str, tuple[int, ...], type], Shaped[np.ndarray, "..."]]
"""Gives room for an array of a name, a shape and a type: in memory, or in a file."""


class StoreFull(HeadClipError):
    """A disk that has no room for an array."""

    default_code = "store-full"


@dataclass(frozen=True)
class Kept:
    """What an entry holds.

    Attributes:
        folder: Where it stands.
        arrays: By name, mapped from files and not to be written.
        values: Plain JSON values by name.
    """

    folder: Path
    arrays: Mapping[str, Shaped[np.ndarray, "..."]]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class New:
    """What is being written: arrays by calling it, a ``MakeArray``; values; files in its folder.

    Attributes:
        folder: Out of sight.
        values: Plain JSON values by name, to be filled.
    """

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    _open: list[np.memmap[Any, Any]] = field(default_factory=list)

    def __call__(self, name: str, shape: tuple[int, ...], kind: type) -> Shaped[np.ndarray, "..."]:
        """Make a file and map it.

        Raises:
            StoreFull: There is no room for it.
        """
        path = self.folder / f"{name}.npy"
        try:
            array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, "w+", kind, shape)
            with path.open("r+b") as file:
                _make_room(file.fileno(), path.stat().st_size)
        except OSError as error:
            raise _disk_full(_bytes_of(shape, kind)) from error
        self._open.append(array)
        return array

    def close(self, identity: Identity) -> None:
        """Write everything down, and what it belongs to."""
        for array in self._open:
            array.flush()
        files = {path.name: sha256_of(path) for path in sorted(self.folder.iterdir())}
        about = {"identity": dict(identity), "values": self.values, "files": files}
        text = json.dumps(about, indent=1, allow_nan=False)
        (self.folder / ABOUT_FILE).write_text(text, "utf-8")


@dataclass(frozen=True)
class Entry:
    """A place of the store.

    Attributes:
        folder: Where it stands, or will.
        identity: What it belongs to.
    """

    folder: Path
    identity: Identity

    @classmethod
    def of(cls, root: Path, name: str, identity: Identity) -> Entry:
        """Name the entry of an identity.

        Args:
            root: Where such entries stand.
            name: For people, the first part of the folder's name.
            identity: All that its content depends on.
        """
        slug = re.sub(r"[^A-Za-z0-9+-]+", "_", name)[:60]
        return cls(root / f"{slug}-{digest_of(identity)}", identity)

    def read(self) -> Kept | None:
        """Map what was written; None where it is not there, damaged or about something else."""
        if not self.folder.is_dir():
            return None
        try:
            about = json.loads((self.folder / ABOUT_FILE).read_text("utf-8"))
            is_own = about["identity"] == self.identity
            kept = Kept(self.folder, dict(self._mapped(about["files"])), dict(about["values"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            is_own, kept = True, None
        if is_own and kept is not None:
            return kept
        state = "damaged" if is_own else "about something else"
        _log.warning("%s of the store is %s; it is computed anew.", self.folder.name, state)
        return None

    @contextmanager
    def write(self) -> Iterator[New]:
        """Fill it; nothing of it is seen before the end of the block.

        Raises:
            UnwritableOutput: The folder cannot be made.
        """
        with ExitStack() as stack:
            try:
                new = New(stack.enter_context(write_folder(self.folder)))
            except OSError as error:
                raise UnwritableOutput(
                    "The store's folder cannot be written.",
                    "Choose another, or its permissions.",
                    code="store-not-writable",
                ) from error
            yield new
            new.close(self.identity)

    def open(self) -> Path:
        """Make the folder of what is grown, and say in it what it belongs to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"identity": dict(self.identity)}, sort_keys=True, indent=1)
        write_file(self.folder / ABOUT_FILE, text.encode())
        return self.folder

    def grow(
        self, kinds: Mapping[str, tuple[tuple[int, ...], type[np.generic]]]
    ) -> dict[str, np.ndarray]:
        """Map arrays to be filled in place; they are as a run before left them, at first all 0.

        Args:
            kinds: Shape and type of each, which follow from the identity.

        Raises:
            StoreFull: There is no room for them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {}
        for name, (shape, kind) in kinds.items():
            path, size = self.folder / name, _bytes_of(shape, kind)
            if not path.exists() or path.stat().st_size != size:
                _reserve(path, size)
            arrays[name] = np.memmap(path, kind, "r+", shape=shape)
        self.open()
        return arrays

    def _mapped(self, files: Mapping[str, str]) -> Iterator[tuple[str, Shaped[np.ndarray, "..."]]]:
        for name, digest in files.items():
            path = self.folder / name
            if sha256_of(path) != digest:
                raise ValueError("the file has changed")
            if path.suffix == ".npy":
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                yield path.stem, np.asanyarray(array)


def for_now(name: str, shape: tuple[int, ...], kind: type) -> Shaped[np.ndarray, "..."]:
    """Give room for an array that is not kept; a ``MakeArray``.

    A large one is mapped from a temporary file without a name, which is gone with the array, or
    with the process, however that ends.

    Raises:
        StoreFull: There is no room for it.
    """
    size = _bytes_of(shape, kind)
    if size <= HELD_BYTES:
        return np.zeros(shape, kind)
    try:
        with tempfile.TemporaryFile(prefix="headclip-arrays-") as file:
            _make_room(file.fileno(), size)
            return np.memmap(file, kind, "r+", shape=shape)
    except OSError as error:
        raise StoreFull(
            f"There is no room for {size / 1e9:.1f} GB where the system keeps temporary files.",
            "Make room, choose another place with the variable TMPDIR, or name a store.",
        ) from error


def digest_of(identity: Identity) -> str:
    """Give the SHA-256 of plain JSON values, its first 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _disk_full(size: int) -> StoreFull:
    return StoreFull(
        f"There is no room on the store's disk for {size / 1e9:.1f} GB.",
        "Make room, or choose another store.",
    )


def _reserve(path: Path, size: int) -> None:
    try:
        with path.open("wb") as file:
            _make_room(file.fileno(), size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _disk_full(size) from error


def _make_room(file: int, size: int) -> None:
    """Take a file's place on the disk: a mapped one that found none would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def _bytes_of(shape: tuple[int, ...], kind: type) -> int:
    return np.dtype(kind).itemsize * math.prod(shape)
