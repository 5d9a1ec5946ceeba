"""Many volumes in a run that can be stopped and taken up: what is finished is left alone.

A batch is an iterator of jobs, whatever they come from. While the model looks at one volume, the
next is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from headclip_med import __version__
from headclip_med.atomic import reported_errors, write_file
from headclip_med.content import content_of_volume
from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput, own_error
from headclip_med.findings import SCORING_VERSION
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.pipelines.calibration import Calibrator
from headclip_med.pipelines.plan import Job, Plan
from headclip_med.pipelines.screen import screen
from headclip_med.read import Inputs
from headclip_med.settings import ScreenSettings
from headclip_med.transforms import check_window
from headclip_med.volume import Volume
from headclip_med.write import (
    USUAL_OUTPUTS,
    FailedInput,
    FileRow,
    HeatmapAhead,
    SummaryRow,
    check_outputs,
    check_writable,
    free_folder,
    lacks_outputs,
    write_screening,
    write_summary,
)
from headclip_med.write.result import SCHEMA_VERSION, to_text, with_calibration

SOME_FAILED = 3
"""Exit code of a run that screened something, but not everything."""


@dataclass(frozen=True)
class BatchReport:
    """What a run found, and what it could not use.

    Attributes:
        rows: Screened volumes, the most suspicious first.
        failures: Inputs that gave no result.
        outputs: Paths of ``csv``, ``json`` and ``page``.
        left_alone: How many of the rows an earlier run had finished.
    """

    rows: tuple[SummaryRow, ...]
    failures: tuple[FailedInput, ...]
    outputs: dict[str, Path]
    left_alone: int = 0

    @property
    def exit_code(self) -> int:
        """0 where all was screened, 3 where only some was, 1 where nothing was."""
        if not self.failures:
            return 0
        return SOME_FAILED if self.rows else 1


@dataclass(frozen=True, kw_only=True)
class Screener:
    """Screens one volume after the other, and writes what was found.

    Attributes:
        model: As ``load_model`` gives it.
        out: Folder of the run.
        settings: Of the screening.
        outputs: Names of ``OUTPUTS``.
        report: Called with the number of slices done since the last call.
        calibrator: Gives scores their p-values.

    Raises:
        InvalidSettings: The window or an output is unknown; said before any work.
    """

    model: AnomalyModel
    out: Path
    settings: ScreenSettings = field(default_factory=ScreenSettings)
    outputs: tuple[str, ...] = USUAL_OUTPUTS
    report: Callable[[int], None] = lambda slices: None
    calibrator: Calibrator | None = None

    def __post_init__(self) -> None:
        """Check names whatever the volume."""
        check_window(self.settings.window)
        check_outputs(self.outputs)

    def screen(self, volume: Volume) -> SummaryRow:
        """Screen a volume, and give the row of its results."""
        with HeatmapAhead(volume.grid, self.outputs) as ahead:
            found = screen(
                volume, self.model, settings=self.settings, report=self.report, follow=ahead.add
            )
            if self.calibrator is not None:
                found = replace(found, calibration=self.calibrator.of(found))
            written = write_screening(found, self.out, outputs=self.outputs, ahead=ahead)
        return SummaryRow.of(written, self.out)

    def finished(self, volume: Volume) -> SummaryRow | None:
        """Give the row of an earlier result that screening again would only repeat.

        Returns:
            None where there is no result, or it is of other voxels, another model, other settings
            or another version of this program, or lacks an output. Where a calibration is in use,
            one of another is judged anew: its score stays; unless a report was written of it, which
            must not keep the other p-value.
        """
        folder = free_folder(volume, self.out)
        try:
            result = json.loads((self.out / folder / "result.json").read_text("utf-8"))
            model = name_content(self.model, content_of_volume(volume))
            wanted: dict[str, Any] = {
                "version": __version__,
                "schema_version": SCHEMA_VERSION,
                "scoring_version": SCORING_VERSION,
                "model": model.describe(),
                "settings": {**self.settings.to_json(), "scores": model.scores.to_json()},
            }
            same = {key: result[key] for key in wanted} == json.loads(json.dumps(wanted))
            if not same or result["input"]["content_digest"] != volume.content_digest:
                return None
            if volume.name is None and result["input"]["name"] is not None:
                return None  # it says what is now to be hidden
            if lacks_outputs(result, self.outputs):
                return None
            judged = result
            if self.calibrator is not None:
                judged = with_calibration(result, self.calibrator.of_result(result))
            if judged != result and "sr" in result["outputs"]:
                return None  # its report states the other p-value
            row = SummaryRow.from_result(judged, folder.as_posix())
        except (OSError, ValueError, KeyError, TypeError, UnreadableInput):  # damaged, or older
            return None
        if judged != result:
            with reported_errors():
                write_file(self.out / folder / "result.json", to_text(judged))
        return row


def screen_inputs(
    inputs: Inputs, screener: Screener, *, resume: bool = False, hide_names: bool = False
) -> BatchReport:
    """Screen every input, write all results, and say what became of every file.

    Args:
        inputs: As ``find_inputs`` gives them.
        screener: What is done with each.
        resume: Whether to leave alone what is finished, as a run that was stopped wants it.
        hide_names: Whether no name of a file is written anywhere; see ``Plan``.

    Returns:
        Rows and failures, as they stand in ``summary.json``; those left alone are counted.

    Raises:
        UnwritableOutput: The run's folder takes no files; said before any work.
    """
    plan = Plan(inputs, hide_names)
    return work_through(read_ahead(plan.jobs()), screener, resume=resume, unused=plan.unused)


def work_through(
    jobs: Iterable[Job], screener: Screener, *, resume: bool = False, unused: Iterable[FileRow] = ()
) -> BatchReport:
    """Screen volumes as they come, and write the summary.

    Args:
        jobs: From wherever; one that fails costs itself only.
        screener: What is done with each.
        resume: Whether to leave alone what is finished.
        unused: Files that no job is made of, for the summary.

    Raises:
        InvalidSettings: An option does not suit the model; no other job would fare better.
        UnwritableOutput: The run's folder takes no files; said before any work.
    """
    check_writable(screener.out)
    rows: list[SummaryRow] = []
    failures: list[FailedInput] = []
    left_alone = 0
    for job in jobs:
        try:
            volume = job.read()
            finished = screener.finished(volume) if resume else None
            if finished is not None:
                left_alone += 1
                screener.report(len(volume.voxels))
            row = finished or screener.screen(volume)
            is_known = row.name is not None or row.series_instance_uid is not None
            rows.append(replace(row, files=job.files, name=row.name if is_known else job.name))
        except InvalidSettings:
            raise
        except Exception as error:  # a fault of ours must not cost the others their results
            failures.append(FailedInput.of(job.name, own_error(error), job.files))
    report = summed_up(rows, failures, screener.out, unused=unused)
    return replace(report, left_alone=left_alone)


def summed_up(
    rows: Iterable[SummaryRow],
    failures: Iterable[FailedInput],
    out: Path,
    *,
    unused: Iterable[FileRow] = (),
) -> BatchReport:
    """Sort what a run found, and write its summary."""
    ranked = tuple(sorted(rows, key=lambda row: (-row.score, row.folder)))
    failed = tuple(failures)
    return BatchReport(ranked, failed, write_summary(ranked, failed, out, unused=unused))


def read_ahead(jobs: Iterable[Job]) -> Iterator[Job]:
    """Read each volume while the one before it is in use.

    Args:
        jobs: In the order in which they are wanted; they are taken one ahead as well.

    Yields:
        Each job once its volume is here, or the reason why there is none.
    """
    coming: _Reading | None = None
    for job in jobs:
        previous, coming = coming, _Reading(job, after=coming)
        if previous:
            yield previous.done()
    if coming:
        yield coming.done()


class _Reading(Thread):
    """Waits for a volume, which a process of its own reads; dropped where nobody wants it."""

    def __init__(self, job: Job, *, after: _Reading | None) -> None:
        super().__init__(daemon=True)
        self._job = job
        self._outcome: Volume | HeadClipError
        if after:
            after.join()
        self.start()

    def run(self) -> None:
        try:
            self._outcome = self._job.read()
        except Exception as error:
            self._outcome = own_error(error)

    def done(self) -> Job:
        self.join()
        return replace(self._job, read=partial(_give, self._outcome))


def _give(outcome: Volume | HeadClipError) -> Volume:
    if isinstance(outcome, HeadClipError):
        raise outcome
    return outcome
