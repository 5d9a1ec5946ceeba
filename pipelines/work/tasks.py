"""What a worker is given, and what it gives back; plain enough to go from process to process."""

from __future__ import annotations

from dataclasses import dataclass

from headclip_med.errors import HeadClipError
from headclip_med.pipelines.plan import Job
from headclip_med.write import SummaryRow


class WorkStopped(BaseException):
    """Raised between two slices where work shall end; nothing of the job is kept."""


@dataclass(frozen=True)
class StudyTask:
    """What a slot is given.

    Attributes:
        job: To be done.
        coming: What is likely to be next, to be read meanwhile.
    """

    job: Job
    coming: Job | None = None


@dataclass(frozen=True)
class StudyOutcome:
    """How a job ended.

    Attributes:
        row: What was found.
        content_digest: Of the volume.
        was_finished: An earlier result was as good; the model was not asked.
        error: Why there is none; ``InvalidSettings`` where no other job would fare better.
        was_stopped: It was asked to end between two slices.
    """

    row: SummaryRow | None = None
    content_digest: str | None = None
    was_finished: bool = False
    error: HeadClipError | None = None
    was_stopped: bool = False
