"""The next volume is read while the one before it is in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from threading import Thread

from headclip_med.errors import HeadClipError, own_error
from headclip_med.pipelines.plan import Job
from headclip_med.volume import Volume


def read_ahead(jobs: Iterable[Job]) -> Iterator[Job]:
    """Read each volume while the one before it is in use.

    Args:
        jobs: In the order in which they are wanted; they are taken one ahead as well.

    Yields:
        Each job once its volume is here, or the reason why there is none.
    """
    coming: ReadAhead | None = None
    for job in jobs:
        previous, coming = coming, ReadAhead(job, after=coming)
        if previous:
            yield previous.done()
    if coming:
        yield coming.done()


class ReadAhead(Thread):
    """Waits for a volume, which a process of its own reads; dropped where nobody wants it.

    Args:
        job: Of the volume.
        after: Of readings in a row the one before, which is waited for.
    """

    def __init__(self, job: Job, *, after: ReadAhead | None = None) -> None:
        super().__init__(daemon=True)
        self.job = job
        self._outcome: Volume | HeadClipError
        if after:
            after.join()
        self.start()

    def run(self) -> None:
        """Read it."""
        try:
            self._outcome = self.job.read()
        except Exception as error:
            self._outcome = own_error(error)

    def done(self) -> Job:
        """Wait for it, and give the job with what came of it."""
        self.join()
        return replace(self.job, read=partial(_give, self._outcome))


def _give(outcome: Volume | HeadClipError) -> Volume:
    if isinstance(outcome, HeadClipError):
        raise outcome
    return outcome
