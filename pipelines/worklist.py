"""Screen everything below some paths: find, read, screen, write, and sort by score.

An input that fails costs itself: it is reported with a code, a reason and what to do, and the
others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.models.anomaly import AnomalyModel
from headclip_med.pipelines.screen import screen
from headclip_med.read import Input, Inputs
from headclip_med.settings import ScreenSettings
from headclip_med.write import FailedInput, SummaryRow, write_screening, write_summary

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worklist:
    """What a run found, and what it could not use.

    Attributes:
        rows: Screened volumes, the most suspicious first.
        failures: Inputs that gave no result.
        outputs: Paths of ``csv``, ``json`` and ``page``.
    """

    rows: tuple[SummaryRow, ...]
    failures: tuple[FailedInput, ...]
    outputs: dict[str, Path]


def screen_inputs(
    inputs: Inputs,
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings | None = None,
    seg: bool = True,
    report: Callable[[int], None] = lambda slices: None,
) -> Worklist:
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
    rows: list[SummaryRow] = []
    failures = [
        FailedInput.of(_name(failure.path), failure.to_error())
        for failure in inputs.failures
        if failure.is_error
    ]
    for one in inputs.readable:
        try:
            screening = screen(one.read(), model, settings=settings, report=report)
            rows.append(SummaryRow.of(screening, write_screening(screening, out, seg=seg), out))
        except Exception as error:  # a fault of ours must not cost the others their results
            failures.append(FailedInput.of(title_of(one), own_error(error)))
    rows.sort(key=lambda row: (-row.score, row.folder))
    outputs = write_summary(rows, failures, out)
    return Worklist(tuple(rows), tuple(failures), outputs)


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
        f"This input met a fault of this program ({kind}); report it with the program's version "
        "and the kind of input.",
        code="unexpected",
    )


def _name(path: Path) -> str:
    return path.name or str(path)
