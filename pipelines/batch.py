"""Many inputs in a run that can be stopped and taken up: what is finished is left alone.

While the model looks at one volume, another process reads the next.
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
from headclip_med.read import Input, Inputs
from headclip_med.settings import ScreenSettings
from headclip_med.transforms import check_window
from headclip_med.volume import Volume
from headclip_med.write import (
    FailedInput,
    SummaryRow,
    check_writable,
    folder_of,
    lacks_segmentation,
    write_screening,
    write_summary,
)

_log = logging.getLogger(__name__)


SOME_FAILED = 3
"""Exit code of a run that screened something, but not everything."""

Judge = Callable[[Volume], SummaryRow]
"""Screens a volume, writes what was found, and gives its row."""


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
    seg: bool = True,
    report: Callable[[int], None] = lambda slices: None,
) -> BatchReport:
    """Screen every input and write all results.

    Args:
        inputs: As ``find_inputs`` gives them.
        model: As ``load_model`` gives it.
        out: Folder of the run.
        settings: Of the screening.
        seg: Whether to write DICOM segmentations.
        report: Called with the number of slices done since the last call.

    Returns:
        Rows and failures, as they stand in ``summary.json``.
    """
    judge = judging(model, out=out, settings=settings, seg=seg, report=report)
    return work_through(inputs, map(read_one, inputs.readable), judge, out=out)


def judging(
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings | None,
    seg: bool,
    report: Callable[[int], None],
) -> Judge:
    """Give what screens one volume after the other; the parameters are ``screen_inputs``'.

    Raises:
        InvalidSettings: The window is unknown; said before any work.
    """
    if settings is not None:
        check_window(settings.window)

    def judge(volume: Volume) -> SummaryRow:
        screening = screen(volume, model, settings=settings, report=report)
        return SummaryRow.of(screening, write_screening(screening, out, seg=seg), out)

    return judge


def work_through(
    inputs: Inputs,
    volumes: Iterable[Volume | FailedInput],
    judge: Judge,
    *,
    out: Path,
) -> BatchReport:
    """Judge volumes as they come, and write the summary.

    Args:
        inputs: As ``find_inputs`` gives them.
        volumes: What was read of each readable one, in their order, or why it could not be.
        judge: Screens a volume; what it raises costs that volume only.
        out: Folder of the run.

    Raises:
        UnwritableOutput: ``out`` takes no files; said before any work.
    """
    check_writable(out)
    rows: list[SummaryRow] = []
    failures = [
        FailedInput.of(_name(failure.path), failure.to_error())
        for failure in inputs.failures
        if failure.is_error
    ]
    for one, volume in zip(inputs.readable, volumes, strict=True):
        if isinstance(volume, FailedInput):
            failures.append(volume)
            continue
        try:
            rows.append(judge(volume))
        except InvalidSettings:  # an option is wrong, not the input: no other would fare better
            raise
        except Exception as error:  # a fault of ours must not cost the others their results
            failures.append(FailedInput.of(title_of(one), own_error(error)))
    return summed_up(rows, failures, out)


def summed_up(
    rows: Iterable[SummaryRow], failures: Iterable[FailedInput], out: Path
) -> BatchReport:
    """Sort what a run found, and write its summary."""
    ranked = tuple(sorted(rows, key=lambda row: (-row.score, row.folder)))
    failed = tuple(failures)
    return BatchReport(ranked, failed, write_summary(ranked, failed, out))


def read_one(one: Input) -> Volume | FailedInput:
    """Read an input, or say why it cannot be."""
    try:
        return one.read()
    except Exception as error:  # neither may a fault while reading
        return FailedInput.of(title_of(one), own_error(error))


def title_of(one: Input) -> str:
    """Say what an input is called in a summary: its series, or its file."""
    return one.series_instance_uid or _name(one.paths[0])


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


def _name(path: Path) -> str:
    return path.name or str(path)


def screen_batch(
    inputs: Inputs,
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings | None = None,
    seg: bool = True,
    report: Callable[[int], None] = lambda slices: None,
) -> BatchReport:
    """Screen every input that is not finished, and write the summary of all.

    Args:
        inputs: As ``find_inputs`` gives them.
        model: As ``load_model`` gives it.
        out: Folder of the run; what an earlier one finished there is taken up.
        settings: Of the screening.
        seg: Whether to write DICOM segmentations.
        report: Called with the number of slices done since the last call.

    Returns:
        Rows and failures, as they stand in ``summary.json``; those left alone are counted.
    """
    settings = settings or ScreenSettings()
    judge = judging(model, out=out, settings=settings, seg=seg, report=report)
    left_alone = 0

    def judge_or_leave(volume: Volume) -> SummaryRow:
        nonlocal left_alone
        finished = finished_row(volume, model, out=out, settings=settings, seg=seg)
        if finished is None:
            return judge(volume)
        left_alone += 1
        report(len(volume.voxels))
        return finished

    worklist = work_through(inputs, read_ahead(inputs.readable), judge_or_leave, out=out)
    return replace(worklist, left_alone=left_alone)


def finished_row(
    volume: Volume, model: AnomalyModel, *, out: Path, settings: ScreenSettings, seg: bool = True
) -> SummaryRow | None:
    """Give the row of an earlier result that screening again would only repeat.

    Args:
        volume: What would be screened.
        model: What would judge it.
        out: Folder of the run.
        settings: Of the screening.
        seg: Whether a DICOM segmentation is wanted.

    Returns:
        None where there is no result, or it is of other voxels, another model, other settings or
        another version of this program, or lacks a segmentation.
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
        if seg and lacks_segmentation(result):
            return None
        return SummaryRow.from_result(result, folder.as_posix())
    except (OSError, ValueError, KeyError, TypeError):  # damaged, or of another version
        return None


def read_ahead(inputs: Sequence[Input]) -> Iterator[Volume | FailedInput]:
    """Read volumes in another process, one ahead of the one in use.

    Args:
        inputs: In the order in which they are wanted.

    Yields:
        Each input's volume, or why it has none. One that brings the other process down, by taking
        all memory for instance, costs itself as well; the next is read by a new process.
    """
    done = 0
    while done < len(inputs):
        reading = DataLoader(
            _Reading(inputs[done:]), batch_size=None, num_workers=1, prefetch_factor=1,
            collate_fn=_as_it_is,
        )  # fmt: skip
        volumes = iter(reading)
        while done < len(inputs):
            try:
                volume = next(volumes)
            except RuntimeError:  # PyTorch's word for a worker that is gone
                volume = _lost(inputs[done])
                done += 1
                yield volume
                break
            done += 1
            yield volume


class _Reading(Dataset[Volume | FailedInput]):
    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> Volume | FailedInput:
        return read_one(self._inputs[index])


def _as_it_is(volume: Any) -> Any:
    return volume


def _lost(one: Input) -> FailedInput:
    return FailedInput(
        title_of(one),
        "reader-lost",
        "The process that read this input was ended by the system, most likely for want of memory.",
        "Free memory, or screen this input alone.",
    )
