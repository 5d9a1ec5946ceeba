"""Which runs go on: each holds a lock that the end of its process releases, however it ends.

A process that is killed outright cannot close its run. The system drops its locks all the same, so
that a run whose lock is there and free is over. Nothing of a machine or a process is written down.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock


class RunLocks:
    """Locks of the runs that were begun on this machine.

    Args:
        folder: Where they are; made when the first one is taken.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, FileLock] = {}

    def take(self, run_id: str) -> bool:
        """Take the lock of a run; False where another has it, or it cannot be had at all."""
        lock = FileLock(self._folder / run_id, thread_local=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except OSError:  # no such right, or no such thing on this file system; taken by another
            return False
        self._held[run_id] = lock
        return True

    def take_over(self, run_id: str) -> bool:
        """Take the lock of a run whose process is gone.

        Returns:
            False where it may still run, as all those of other machines may.
        """
        return (self._folder / run_id).is_file() and self.take(run_id)

    def release(self, run_id: str) -> None:
        """Drop the lock of a run that was closed, if it is held."""
        lock = self._held.pop(run_id, None)
        if lock is not None:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
