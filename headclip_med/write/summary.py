"""The summary of a run: summary.csv, summary.json and index.html, the most suspicious first."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from headclip_med import __version__
from headclip_med.atomic import reported_errors, write_file
from headclip_med.write.pages.worklist import name_of_page, render_pages
from headclip_med.write.plain_text import csv_cell, visible
from headclip_med.write.result import SCHEMA_VERSION, Json, to_text
from headclip_med.write.rows import FailedInput, FileRow, SummaryRow, account_for

COLUMNS = (
    "rank",
    "status",
    "score",
    "calibrated",
    "p_value",
    "flagged",
    "uncalibrated",
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
    "files",
    "repeats",
    "code",
    "reason",
    "what_to_do",
)
"""Of summary.csv; behind the series stand failed inputs, then files that were left out or repeat
another, with the last columns filled."""

YES_NO = {True: "yes", False: "no"}

WHY = "code", "reason", "what_to_do"
STATUSES = "screened", "repeat", "left-out", "failed"

TEXTS = "modality", "window", "name", "study_instance_uid", "series_instance_uid", "folder", "model"
"""The columns whose content comes from outside."""


@reported_errors()
def write_summary(
    rows: Iterable[SummaryRow],
    failures: Iterable[FailedInput],
    out: Path,
    *,
    unused: Iterable[FileRow] = (),
    is_scripted: bool = True,
) -> dict[str, Path]:
    """Write what a run found, what it could not read, and what became of each file.

    Args:
        rows: One for each screened volume, in any order.
        failures: One for each input that gave no result.
        out: The folder of the run; the rows' folders lie below it.
        unused: Files that were left out, or repeat another.
        is_scripted: Whether the page has its script.

    Returns:
        The paths of ``csv``, ``json`` and the first ``page``. Each file is replaced in one step.

    Raises:
        UnwritableOutput: The disk does not take them.
    """
    ranked = sorted(rows, key=lambda row: (-row.score, row.folder))
    failed, rest = list(failures), list(unused)
    files = account_for(ranked, failed, rest)
    out.mkdir(parents=True, exist_ok=True)
    contents = {
        "csv": ("summary.csv", _to_csv(ranked, failed, rest)),
        "json": ("summary.json", to_text(_to_json(ranked, failed, files))),
    }
    for name, content in contents.values():
        write_file(out / name, content)
    page = write_pages(ranked, failed, files, out, is_scripted=is_scripted)
    return {**{kind: out / name for kind, (name, _) in contents.items()}, "page": page}


@reported_errors()
def write_pages(
    rows: Sequence[SummaryRow],
    failures: Sequence[FailedInput],
    files: Sequence[FileRow],
    out: Path,
    *,
    waiting: Sequence[tuple[str, str]] = (),
    is_scripted: bool = True,
) -> Path:
    """Write the worklist's pages, drop those of an earlier, longer one, and give the first's path.

    Args:
        rows: In the order in which they shall stand.
        failures: What gave no result.
        files: What became of each file.
        out: The folder of the run; the rows' folders lie below it.
        waiting: Of what is still to be screened, the name and where it is.
        is_scripted: Whether they have their script.

    Raises:
        UnwritableOutput: The disk does not take them.
    """
    written = set()
    pages = render_pages(rows, failures, files, out, waiting=waiting, is_scripted=is_scripted)
    for name, page in pages:
        write_file(out / name, page.encode())
        written.add(name)
    for earlier in out.glob("index-*.html"):
        if earlier.name not in written and earlier.stem.removeprefix("index-").isdecimal():
            earlier.unlink()
    return out / name_of_page(1)


def _to_csv(rows: list[SummaryRow], failures: list[FailedInput], unused: list[FileRow]) -> bytes:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for rank, row in enumerate(rows, start=1):
        used = row.calibration
        writer.writerow(
            {
                "rank": rank,
                "status": "screened",
                "score": f"{row.score:.6f}",
                "calibrated": YES_NO[row.calibrated],
                "p_value": "" if used.p_value is None else f"{used.p_value:.6f}",
                "flagged": "" if used.flagged is None else YES_NO[used.flagged],
                "uncalibrated": used.code or "",
                "lesions": len(row.lesions),
                "highest_lesion_score": _highest(lesion.max_score for lesion in row.lesions),
                "largest_lesion_size": _highest(lesion.size for lesion in row.lesions),
                "size_unit": row.lesions[0].unit if row.lesions else "",
                "threshold": f"{row.threshold:.6f}",
                "slices": len(row.slice_scores),
                "part": row.part,
                "files": len(row.files) or "",
                **{column: csv_cell(str(getattr(row, column) or "")) for column in TEXTS},
            }
        )
    for failure in failures:
        cells = {name: csv_cell(getattr(failure, name)) for name in WHY}
        name, count = csv_cell(failure.input), len(failure.files) or ""
        writer.writerow({"status": "failed", "name": name, "files": count, **cells})
    for one in unused:
        texts = {name: csv_cell(getattr(one, name) or "") for name in ("repeats", *WHY)}
        writer.writerow({"status": one.status, "name": csv_cell(one.file), "files": 1, **texts})
    return table.getvalue().encode()


def _to_json(rows: list[SummaryRow], failures: list[FailedInput], files: Sequence[FileRow]) -> Json:
    by_code = Counter((one.status, one.code) for one in files)
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "research_use_only": True,
        "screened": len(rows),
        "failed": len(failures),
        "series": [{"rank": rank, **_plain(row)} for rank, row in enumerate(rows, start=1)],
        "failures": [
            {name: visible(getattr(one, name)) for name in ("input", *WHY)} for one in failures
        ],
        "file_counts": {
            "files": len(files),
            **{status: sum(one.status == status for one in files) for status in STATUSES},
            "by_code": [
                {"status": status, "code": code, "files": count}
                for (status, code), count in sorted(by_code.items(), key=str)
            ],
        },
        "files": [_file(one) for one in files],
    }


def _plain(row: SummaryRow) -> Json:
    plain = row.to_plain()
    del plain["files"]  # they are listed once
    return plain


def _file(one: FileRow) -> Json:
    return {
        "file": visible(one.file),
        "status": one.status,
        "series": list(one.series),
        "repeats": None if one.repeats is None else visible(one.repeats),
        "code": one.code,
        "reason": one.reason,
        "what_to_do": one.what_to_do,
    }


def _highest(numbers: Iterable[float]) -> str:
    highest = max(numbers, default=None)
    return "" if highest is None else f"{highest:.6f}"
