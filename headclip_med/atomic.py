"""Nothing is ever written half: a file or a folder appears complete or not at all.

Whether a file is still the one that was written, its digest tells.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headclip_med.errors import UnwritableOutput, reason_of

ABANDONED_AFTER_S = 60.0
"""What is unfinished, this old and locked by nobody was left by a run that was killed: a writer
locks its folder within a moment, and is done with a file."""

_UNFINISHED = ".unfinished"
_HERE = -100  # AT_FDCWD of <fcntl.h>: paths are relative to the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE of <linux/fs.h>


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, whatever happens meanwhile."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


@contextmanager
def reported_errors() -> Iterator[None]:
    """Say in one sentence why the system does not take what is written.

    Raises:
        UnwritableOutput: It refused; the system's own text may hold a path, and is dropped.
    """
    try:
        yield
    except OSError as error:
        raise UnwritableOutput(
            f"The results cannot be written, since the system says: {reason_of(error)}.",
            "Free space, grant permission, or choose another folder.",
        ) from None


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing, and check before any work that it takes files.

    Raises:
        UnwritableOutput: It does not.
    """
    with reported_errors():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def write_folder(target: Path) -> Iterator[Path]:
    """Fill a folder out of sight, then put it in its place in one step.

    Args:
        target: Where the folder shall stand; one that is already there is replaced as a whole.

    Yields:
        An empty folder beside it. If the body raises, it is removed and ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent)
    unfinished = Path(
        tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_UNFINISHED)
    )
    lock = os.open(unfinished, os.O_RDONLY)  # the system lets go of it, however this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield unfinished
        unfinished.chmod(0o777 & ~_umask())
        for folder, _, files in os.walk(unfinished):
            for file in files:
                _fsync_file(Path(folder, file))
            _fsync_folder(Path(folder))
        _put_in_place(unfinished, target)
    finally:
        # After an exchange this is what stood there before.
        shutil.rmtree(unfinished, ignore_errors=True)
        os.close(lock)
    _fsync_folder(target.parent)


def _put_in_place(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        if not _exchange(folder, target):
            # A file system without exchange: between the two steps there is no result, never half.
            old = folder.with_name(f"{folder.name}.old{_UNFINISHED}")
            target.rename(old)
            folder.rename(target)
            shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, where the system can (Linux)."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return done == 0


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_abandoned(parent: Path) -> None:
    """Remove from a folder what writers left that were killed."""
    for beside in parent.glob(f".*{_UNFINISHED}"):
        try:
            age_s = time.time() - beside.stat().st_mtime
            if age_s < ABANDONED_AFTER_S:
                continue
            if beside.is_dir():
                _remove_unlocked(beside)
            else:
                beside.unlink()
        except FileNotFoundError:  # another writer has just finished with it
            continue


def _remove_unlocked(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:  # somebody fills it still
        pass
    finally:
        os.close(lock)


def _fsync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _fsync_folder(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """Read the process's mask; temporary files and folders are made for their owner only."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
