"""The summary of a run: summary.csv, summary.json and index.html, the most suspicious first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from headclip_med import __version__
from headclip_med.atomic import reported_errors, write_file
from headclip_med.write.pages.worklist import render_page
from headclip_med.write.plain_text import csv_cell, visible
from headclip_med.write.result import SCHEMA_VERSION, Json, to_text
from headclip_med.write.rows import FailedInput, SummaryRow

COLUMNS = (
    "rank",
    "status",
    "score",
    "calibrated",
    "lesions",
    "highest_lesion_score",
    "largest_lesion_size",
    "size_unit",
    "threshold",
    "slices",
    "modality",
    "window",
    "name",
    "study_instance_uid",
    "series_instance_uid",
    "part",
    "folder",
    "model",
    "code",
    "reason",
    "what_to_do",
)
"""Of summary.csv; failed inputs stand at its end, with the last three filled."""

TEXTS = "modality", "window", "name", "study_instance_uid", "series_instance_uid", "folder", "model"
"""The columns whose content comes from outside."""


@reported_errors()
def write_summary(
    rows: Iterable[SummaryRow], failures: Iterable[FailedInput], out: Path
) -> dict[str, Path]:
    """Write what a run found, and what it could not read.

    Args:
        rows: One for each screened volume, in any order.
        failures: One for each input that gave no result.
        out: The folder of the run; the rows' folders lie below it.

    Returns:
        The paths of ``csv``, ``json`` and ``page``. Each file is replaced in one step.

    Raises:
        UnwritableOutput: The disk does not take them.
    """
    ranked = sorted(rows, key=lambda row: (-row.score, row.folder))
    failed = list(failures)
    out.mkdir(parents=True, exist_ok=True)
    contents = {
        "csv": ("summary.csv", _to_csv(ranked, failed)),
        "json": ("summary.json", to_text(_to_json(ranked, failed))),
        "page": ("index.html", render_page(ranked, failed, out).encode()),
    }
    for name, content in contents.values():
        write_file(out / name, content)
    return {kind: out / name for kind, (name, _) in contents.items()}


def _to_csv(rows: list[SummaryRow], failures: list[FailedInput]) -> bytes:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for rank, row in enumerate(rows, start=1):
        writer.writerow(
            {
                "rank": rank,
                "status": "screened",
                "score": f"{row.score:.6f}",
                "calibrated": "yes" if row.calibrated else "no",
                "lesions": len(row.lesions),
                "highest_lesion_score": _highest(lesion.max_score for lesion in row.lesions),
                "largest_lesion_size": _highest(lesion.size for lesion in row.lesions),
                "size_unit": row.lesions[0].unit if row.lesions else "",
                "threshold": f"{row.threshold:.6f}",
                "slices": len(row.slice_scores),
                "part": row.part,
                **{column: csv_cell(str(getattr(row, column) or "")) for column in TEXTS},
            }
        )
    for failure in failures:
        cells = {column: csv_cell(text) for column, text in asdict(failure).items()}
        writer.writerow({"status": "failed", "name": cells.pop("input"), **cells})
    return table.getvalue().encode()


def _to_json(rows: list[SummaryRow], failures: list[FailedInput]) -> Json:
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "research_use_only": True,
        "screened": len(rows),
        "failed": len(failures),
        "series": [{"rank": rank, **asdict(row)} for rank, row in enumerate(rows, start=1)],
        "failures": [
            {key: visible(text) for key, text in asdict(failure).items()} for failure in failures
        ],
    }


def _highest(numbers: Iterable[float]) -> str:
    highest = max(numbers, default=None)
    return "" if highest is None else f"{highest:.6f}"
