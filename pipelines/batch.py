"""Many volumes in a run that can be stopped and taken up: what is finished is left alone.

A batch is an iterator of jobs, whatever they come from. While the model looks at one volume,
another process can read the next.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from headclip_med import __version__
from headclip_med.content import content_of_volume
from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.pipelines.screen import screen
from headclip_med.read import Failure, Input, Inputs
from headclip_med.settings import ScreenSettings
from headclip_med.transforms import check_window
from headclip_med.volume import Volume
from headclip_med.write import (
    ALL_OUTPUTS,
    FailedInput,
    SummaryRow,
    check_outputs,
    check_writable,
    folder_of,
    lacks_outputs,
    write_screening,
    write_summary,
)

_log = logging.getLogger(__name__)


SOME_FAILED = 3
"""Exit code of a run that screened something, but not everything."""

Screener = Callable[[Volume], SummaryRow]
"""Screens a volume, writes what was found, and gives its row."""


@dataclass(frozen=True)
class Job:
    """One volume to be screened.

    Attributes:
        name: What it is called in a summary; no patient values.
        read: Gives the volume, or raises why there is none.
    """

    name: str
    read: Callable[[], Volume]


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


def screen_inputs(
    inputs: Inputs,
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings | None = None,
    outputs: Iterable[str] = ALL_OUTPUTS,
    report: Callable[[int], None] = lambda slices: None,
) -> BatchReport:
    """Screen every input and write all results.

    Args:
        inputs: As ``find_inputs`` gives them.
        model: As ``load_model`` gives it.
        out: Folder of the run.
        settings: Of the screening.
        outputs: Names of ``OUTPUTS``.
        report: Called with the number of slices done since the last call.

    Returns:
        Rows and failures, as they stand in ``summary.json``.

    Raises:
        InvalidSettings: The window or an output is unknown; said before any work.
        UnwritableOutput: ``out`` takes no files; said before any work.
    """
    screener = screener_of(model, out=out, settings=settings, outputs=outputs, report=report)
    return work_through(jobs_of(inputs), screener, out=out)


def screen_batch(
    inputs: Inputs,
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings | None = None,
    outputs: Iterable[str] = ALL_OUTPUTS,
    report: Callable[[int], None] = lambda slices: None,
) -> BatchReport:
    """Screen every input that is not finished, and write the summary of all.

    Args:
        inputs: As ``find_inputs`` gives them.
        model: As ``load_model`` gives it.
        out: Folder of the run; what an earlier one finished there is taken up.
        settings: Of the screening.
        outputs: Names of ``OUTPUTS``.
        report: Called with the number of slices done since the last call.

    Returns:
        Rows and failures, as they stand in ``summary.json``; those left alone are counted.

    Raises:
        InvalidSettings: The window or an output is unknown; said before any work.
        UnwritableOutput: ``out`` takes no files; said before any work.
    """
    settings, wanted = settings or ScreenSettings(), check_outputs(outputs)
    screener = screener_of(model, out=out, settings=settings, outputs=wanted, report=report)
    left_alone = 0

    def screen_or_leave(volume: Volume) -> SummaryRow:
        nonlocal left_alone
        finished = finished_row(volume, model, out=out, settings=settings, outputs=wanted)
        if finished is None:
            return screener(volume)
        left_alone += 1
        report(len(volume.voxels))
        return finished

    batch = work_through(read_ahead(tuple(jobs_of(inputs))), screen_or_leave, out=out)
    return replace(batch, left_alone=left_alone)


def screener_of(
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings | None,
    outputs: Iterable[str],
    report: Callable[[int], None],
) -> Screener:
    """Give what screens one volume after the other; the parameters are ``screen_inputs``'.

    Raises:
        InvalidSettings: The window or an output is unknown; said before any work.
    """
    wanted = check_outputs(outputs)
    if settings is not None:
        check_window(settings.window)

    def screener(volume: Volume) -> SummaryRow:
        screening = screen(volume, model, settings=settings, report=report)
        return SummaryRow.of(write_screening(screening, out, outputs=wanted), out)

    return screener


def jobs_of(inputs: Inputs) -> Iterator[Job]:
    """Make a job of every input, and of every file that should be one but cannot be used."""
    for failure in inputs.failures:
        if failure.is_error:
            yield Job(title_of(failure), _raising(failure.to_error()))
    for one in inputs.readable:
        yield Job(title_of(one), one.read)


def work_through(jobs: Iterable[Job], screener: Screener, *, out: Path) -> BatchReport:
    """Screen volumes as they come, and write the summary.

    Args:
        jobs: From wherever; one that fails costs itself only.
        screener: Screens a volume; what it raises costs that volume only.
        out: Folder of the run.

    Raises:
        InvalidSettings: Raised by the screener: an option is wrong, and no other job would fare
            better.
        UnwritableOutput: ``out`` takes no files; said before any work.
    """
    check_writable(out)
    rows: list[SummaryRow] = []
    failures: list[FailedInput] = []
    for job in jobs:
        try:
            rows.append(screener(job.read()))
        except InvalidSettings:
            raise
        except Exception as error:  # a fault of ours must not cost the others their results
            failures.append(FailedInput.of(job.name, own_error(error)))
    return summed_up(rows, failures, out)


def summed_up(
    rows: Iterable[SummaryRow], failures: Iterable[FailedInput], out: Path
) -> BatchReport:
    """Sort what a run found, and write its summary."""
    ranked = tuple(sorted(rows, key=lambda row: (-row.score, row.folder)))
    failed = tuple(failures)
    return BatchReport(ranked, failed, write_summary(ranked, failed, out))


def title_of(one: Input | Failure) -> str:
    """Say what an input is called in a summary: its series, or its file."""
    if isinstance(one, Failure):
        return one.path.name or str(one.path)
    return one.series_instance_uid or one.paths[0].name or str(one.paths[0])


def own_error(error: Exception) -> HeadClipError:
    """Give the error to report: ours as it is, of others the kind only."""
    if isinstance(error, HeadClipError):
        return error
    # Its text may quote a file.
    kind = type(error).__name__
    _log.debug("unexpected %s", kind)
    return UnreadableInput(
        f"This input met a fault of this program ({kind}).",
        "Report it with the program's version and the kind of input.",
        code="unexpected",
    )


def finished_row(
    volume: Volume,
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings,
    outputs: Iterable[str],
) -> SummaryRow | None:
    """Give the row of an earlier result that screening again would only repeat.

    Args:
        volume: What would be screened.
        model: What would judge it.
        out: Folder of the run.
        settings: Of the screening.
        outputs: Names of the outputs that are wanted.

    Returns:
        None where there is no result, or it is of other voxels, another model, other settings or
        another version of this program, or lacks an output.
    """
    folder = folder_of(volume)
    try:
        result = json.loads((out / folder / "result.json").read_text("utf-8"))
        named = name_content(model, content_of_volume(volume))
        wanted: dict[str, Any] = {
            "version": __version__,
            "model": named.describe(),
            "settings": {**settings.to_json(), "scores": named.scores.to_json()},
        }
        if any(result[key] != json.loads(json.dumps(wanted[key])) for key in wanted):
            return None
        if result["input"]["content_digest"] != volume.content_digest:
            return None
        row = SummaryRow.from_result(result, folder.as_posix())
        return None if lacks_outputs(result, outputs) else row
    except (OSError, ValueError, KeyError, TypeError, UnreadableInput):  # damaged, or older
        return None


def read_ahead(jobs: Sequence[Job]) -> Iterator[Job]:
    """Read volumes in another process, one ahead of the one in use.

    Args:
        jobs: In the order in which they are wanted.

    Yields:
        Each job once its volume is here. One that brings the other process down, by taking all
        memory for instance, costs itself as well; the next is read by a new process.
    """
    done = 0
    while done < len(jobs):
        reading = DataLoader(
            _Reading(jobs[done:]), batch_size=None, num_workers=1, prefetch_factor=1,
            collate_fn=_as_it_is,
        )  # fmt: skip
        volumes = iter(reading)
        lost = False
        while done < len(jobs) and not lost:
            try:
                volume = next(volumes)
            except RuntimeError:  # PyTorch's word for a worker that is gone
                volume, lost = _lost(), True
            yield replace(jobs[done], read=_giving(volume))
            done += 1


class _Reading(Dataset[Volume | HeadClipError]):
    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: int) -> Volume | HeadClipError:
        try:
            return self._jobs[index].read()
        except Exception as error:
            return own_error(error)


def _as_it_is(volume: Any) -> Any:
    return volume


def _giving(volume: Volume | HeadClipError) -> Callable[[], Volume]:
    return _raising(volume) if isinstance(volume, HeadClipError) else lambda: volume


def _raising(error: HeadClipError) -> Callable[[], Volume]:
    def read() -> Volume:
        raise error

    return read


def _lost() -> HeadClipError:
    return UnreadableInput(
        "The process that read this input was ended by the system, most likely for want of memory.",
        "Free memory, or screen this input alone.",
        code="reader-lost",
    )
