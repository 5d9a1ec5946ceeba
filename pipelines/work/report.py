"""What a run found, and what it could not use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headclip_med.write import FailedInput, FileRow, SummaryRow, write_summary

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


def summed_up(
    rows: Iterable[SummaryRow],
    failures: Iterable[FailedInput],
    out: Path,
    *,
    unused: Iterable[FileRow] = (),
    is_scripted: bool = True,
) -> BatchReport:
    """Sort what a run found, and write its summary, whose page has its script or has none."""
    ranked = tuple(sorted(rows, key=lambda row: (-row.score, row.folder)))
    failed = tuple(failures)
    written = write_summary(ranked, failed, out, unused=unused, is_scripted=is_scripted)
    return BatchReport(ranked, failed, written)
