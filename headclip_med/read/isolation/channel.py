"""Messages between this process and one that reads: our own objects, and voxels by their file.

The one that reads parses what strangers wrote, so it is not believed either: what it sends can
name our own types and a few plain ones, and nothing that could be called to do harm.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import select
import socket
import struct
from contextlib import suppress
from functools import cache, partial
from typing import Any

import numpy as np

from headclip_med.mapped import file_of, map_file

HEAD = struct.Struct("<QI")
"""Bytes of a message, and how many files come with it."""

MOST_FILES = 16

PLAIN_NAMES = {
    "builtins": {"set", "frozenset", "slice", "complex", "bytearray", "range"},
    "collections": {"OrderedDict", "defaultdict"},
    "copyreg": {"_reconstructor"},
    "functools": {"partial"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
    "pathlib._local": {"Path", "PosixPath", "PurePosixPath"},  # where Python 3.13 has them
}
"""What a message may name beside our own types, by module."""


class Channel:
    """One end of a line between two processes; ends with ``EOFError`` where the other is gone.

    Args:
        line: A stream that can carry open files, where files are to be sent.
        is_trusting: Whether to take whatever the other end names.
    """

    def __init__(self, line: socket.socket, *, is_trusting: bool) -> None:
        self._line = line
        self._is_trusting = is_trusting

    def send(self, message: object) -> None:
        """Send an object; the other end gets the files of mapped arrays rather than a copy."""
        body = io.BytesIO()
        pickler = _Pickler(body, pickle.HIGHEST_PROTOCOL)
        pickler.dump(message)
        head = HEAD.pack(body.tell(), len(pickler.files))
        try:
            socket.send_fds(self._line, [head], pickler.files)
            self._line.sendall(body.getbuffer())
        except OSError:
            raise EOFError from None

    @property
    def has_message(self) -> bool:
        """Whether the other end has sent something, or is gone."""
        waiting = select.poll()
        waiting.register(self._line, select.POLLIN)
        return bool(waiting.poll(0))

    def receive(self) -> Any:
        """Wait for an object."""
        try:
            head, files, _, _ = socket.recv_fds(self._line, HEAD.size, MOST_FILES)
            for file in files:
                os.set_inheritable(file, False)
            head += self._exactly(HEAD.size - len(head))
            body = self._exactly(HEAD.unpack(head)[0])
        except OSError:
            raise EOFError from None
        return _Unpickler(io.BytesIO(body), files, is_trusting=self._is_trusting).load()

    def hang_up(self) -> None:
        """End the line, whoever waits at either end."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def close(self) -> None:
        """Let go of this end, which another process may hold as well."""
        self._line.close()

    def _exactly(self, size: int) -> bytes:
        found = bytearray(size)
        view = memoryview(found)
        while view:
            if not (count := self._line.recv_into(view)):
                raise EOFError
            view = view[count:]
        return bytes(found)


def seal(one: object) -> bytes:
    """Pack an object of ours that only passes through the process that asks."""
    return pickle.dumps(one, pickle.HIGHEST_PROTOCOL)


def unseal(sealed: bytes) -> Any:
    """Unpack it in a process that reads, which believes no other either."""
    return _Unpickler(io.BytesIO(sealed), [], is_trusting=False).load()


class _Pickler(pickle.Pickler):
    def __init__(self, body: io.BytesIO, protocol: int) -> None:
        super().__init__(body, protocol)
        self.files: list[int] = []
        # No method of its own: what it pickled would stay with it, and its files open.
        self.dispatch_table = {**copyreg.dispatch_table, np.ndarray: partial(_reduced, self.files)}


def _reduced(files: list[int], array: np.ndarray) -> Any:
    file = file_of(array)
    if file is None:
        return array.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    files.append(file)
    return _sent_file, (len(files) - 1, array.shape, array.dtype.str)


def _sent_file(index: int, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Stand in a message for what maps a file that comes with it."""
    raise pickle.UnpicklingError


def _mapped(files: list[int], index: int, shape: tuple[int, ...], kind: str) -> np.ndarray:
    return map_file(files[index], shape, np.dtype(kind))


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: io.BytesIO, files: list[int], *, is_trusting: bool) -> None:
        super().__init__(body)
        self._files = files
        self._is_trusting = is_trusting

    def find_class(self, module: str, name: str) -> Any:
        found = _find(module, name, self._is_trusting)
        return partial(_mapped, self._files) if found is _sent_file else found


_FINDER = pickle.Unpickler(io.BytesIO())  # noqa: S301 - it loads nothing, but imports what is named


@cache
def _find(module: str, name: str, is_trusting: bool) -> Any:
    is_ours = module.startswith("headclip_med.") and "." not in name
    if not (is_trusting or is_ours or name in PLAIN_NAMES.get(module, ())):
        raise pickle.UnpicklingError(name)
    found = _FINDER.find_class(module, name)
    if is_ours and found.__module__ != module:  # something that the module merely imports
        raise pickle.UnpicklingError(name)
    return found
