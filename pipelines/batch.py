"""Many volumes in one go: each screened, what fails costs itself, and a summary of all.

While the model looks at one volume, the next is read.
"""

from __future__ import annotations

from collections.abc import Iterable

from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.plan import Job, Plan
from headclip_med.pipelines.work.ahead import read_ahead
from headclip_med.pipelines.work.report import BatchReport, summed_up
from headclip_med.pipelines.work.screener import Screener
from headclip_med.pipelines.work.tasks import StudyTask
from headclip_med.pipelines.work.workbench import Workbench
from headclip_med.read import Inputs
from headclip_med.write import FailedInput, FileRow, SummaryRow, check_writable


def screen_inputs(inputs: Inputs, screener: Screener, *, hide_names: bool = False) -> BatchReport:
    """Screen every input, write all results, and say what became of every file.

    Args:
        inputs: As ``find_inputs`` gives them.
        screener: What is done with each.
        hide_names: Whether no name of a file is written anywhere; see ``Plan``.

    Returns:
        Rows and failures, as they stand in ``summary.json``.

    Raises:
        UnwritableOutput: The run's folder takes no files; said before any work.
    """
    plan = Plan(inputs, hide_names)
    return work_through(read_ahead(plan.jobs()), screener, unused=plan.unused)


def work_through(
    jobs: Iterable[Job], screener: Screener, *, unused: Iterable[FileRow] = ()
) -> BatchReport:
    """Screen volumes as they come, and write the summary.

    Args:
        jobs: From wherever; one that fails costs itself only.
        screener: What is done with each.
        unused: Files that no job is made of, for the summary.

    Raises:
        InvalidSettings: An option does not suit the model; no other job would fare better.
        UnwritableOutput: The run's folder takes no files; said before any work.
    """
    check_writable(screener.out)
    rows: list[SummaryRow] = []
    failures: list[FailedInput] = []
    workbench = Workbench(screener, takes_up=False)
    for job in jobs:
        outcome = workbench.do(StudyTask(job))
        if isinstance(outcome.error, InvalidSettings):
            raise outcome.error
        if outcome.row is not None:
            rows.append(outcome.row)
        elif outcome.error is not None:
            failures.append(FailedInput.of(job.name, outcome.error, job.files))
    return summed_up(rows, failures, screener.out, unused=unused, is_scripted=screener.is_scripted)
