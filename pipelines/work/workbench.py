"""One job from its files to its result, wherever it is done."""

from __future__ import annotations

from dataclasses import replace

from headclip_med.errors import own_error
from headclip_med.pipelines.plan import Job
from headclip_med.pipelines.work.ahead import ReadAhead
from headclip_med.pipelines.work.screener import Screener
from headclip_med.pipelines.work.tasks import StudyOutcome, StudyTask, WorkStopped
from headclip_med.volume import Volume


class Workbench:
    """Does one job after the other with one screener, and reads one ahead.

    Args:
        screener: Warm.
        takes_up: Whether an earlier result is taken up where screening would only repeat it.
    """

    def __init__(self, screener: Screener, *, takes_up: bool) -> None:
        self._screener, self._takes_up = screener, takes_up
        self._ahead: ReadAhead | None = None

    def do(self, task: StudyTask) -> StudyOutcome:
        """Read, screen and write; whatever is raised becomes an outcome."""
        try:
            volume = self._volume(task.job)
            if task.coming is not None:
                self._ahead = ReadAhead(task.coming)
            row = self._screener.finished(volume) if self._takes_up else None
            if was_finished := row is not None:
                self._screener.report(len(volume.voxels))
            row = row or self._screener.screen(volume)
        except WorkStopped:
            return StudyOutcome(was_stopped=True)
        except Exception as error:  # a fault of ours must not cost the others their results
            return StudyOutcome(error=own_error(error))
        is_known = row.name is not None or row.series_instance_uid is not None
        named = replace(row, files=task.job.files, name=row.name if is_known else task.job.name)
        return StudyOutcome(named, volume.content_digest, was_finished)

    def _volume(self, job: Job) -> Volume:
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.job.name != job.name or ahead.job.files != job.files:
            return job.read()
        return ahead.done().read()
