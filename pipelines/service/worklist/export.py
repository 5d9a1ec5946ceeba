"""The worklist for a spreadsheet, for programs, and as pages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headclip_med import __version__
from headclip_med.pipelines.service.worklist.entries import WorkEntry, moment
from headclip_med.write.plain_text import csv_cell
from headclip_med.write.rows import FailedInput, FileRow, account_for
from headclip_med.write.summary import write_pages

SCHEMA_VERSION = "1.0"

COLUMNS = (
    "rank", "job", "result", "state", "words", "score", "p_value", "flagged", "p_in_words",
    "candidates", "attempts", "next_attempt", "failure", "code", "reason", "advice", "name",
    "study_instance_uid", "series_instance_uid", "part", "revision", "modality", "body_part",
    "slices", "source", "peer", "rule", "received_at", "screened_at", "version", "superseded",
    "folder", "deliveries",
)  # fmt: skip
"""Of a line of the CSV, and of an entry of the JSON."""


def plain_of(entry: WorkEntry, rank: int) -> dict[str, Any]:
    """Put an entry into plain values, by ``COLUMNS``; times are UTC by ISO 8601."""
    used = entry.used
    known = {
        **entry.facts,
        "rank": rank,
        "job": entry.job,
        "result": entry.result,
        "state": entry.state,
        "words": entry.words,
        "score": entry.plain.get("score"),
        "p_value": used.p_value if used else None,
        "flagged": used.flagged if used else None,
        "p_in_words": used.sentence() if used else None,
        "candidates": len(entry.plain["lesions"]) if entry.plain else None,
        "attempts": entry.attempts,
        "next_attempt": moment(entry.next_attempt),
        "failure": entry.failure,
        "code": entry.code,
        "reason": entry.reason,
        "advice": entry.advice,
        "superseded": entry.is_superseded,
        "folder": entry.folder,
        "deliveries": [asdict(one) for one in entry.deliveries],
    }
    return {name: known[name] for name in COLUMNS}


def to_csv(entries: Iterable[WorkEntry]) -> Iterator[str]:
    """Write entries as lines of CSV, that no spreadsheet takes for formulas.

    Args:
        entries: In the order in which they shall stand.

    Yields:
        Each line with its end; the first names the columns.
    """
    line = io.StringIO(newline="")
    writer = csv.DictWriter(line, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for rank, entry in enumerate(entries, start=1):
        yield _taken(line)
        writer.writerow({name: _cell(one) for name, one in plain_of(entry, rank).items()})
    yield _taken(line)


def to_json(entries: Iterable[WorkEntry]) -> Iterator[str]:
    """Write entries as JSON, piece by piece.

    Args:
        entries: In the order in which they shall stand.

    Yields:
        Pieces of ``{"schema_version", "version", "research_use_only", "entries": [...]}``.
    """
    head = {"schema_version": SCHEMA_VERSION, "version": __version__, "research_use_only": True}
    yield json.dumps(head, indent=1)[:-2] + ',\n "entries": ['
    for rank, entry in enumerate(entries, start=1):
        yield (",\n  " if rank > 1 else "\n  ") + json.dumps(plain_of(entry, rank))
    yield "\n ]\n}\n"


def to_pages(
    entries: Iterable[WorkEntry], unused: Iterable[FileRow], out: Path, *, is_scripted: bool = True
) -> Path:
    """Write the worklist as ``index.html`` and what follows it, and give the path.

    Args:
        entries: In the order in which they shall stand.
        unused: Files that no entry is made of.
        out: The folder of results.
        is_scripted: Whether they have their script.

    Raises:
        UnwritableOutput: The disk does not take them.
    """
    rows, failures, waiting = [], [], []
    for entry in entries:
        if entry.row is not None:
            rows.append(entry.row)
        elif entry.can_be_retried:
            failures.append(_failed(entry))
        else:
            waiting.append((entry.names[-1], f"{entry.state}: {entry.words}"))
    files = account_for(rows, failures, unused)
    return write_pages(rows, failures, files, out, waiting=waiting, is_scripted=is_scripted)


def _failed(entry: WorkEntry) -> FailedInput:
    return FailedInput(
        entry.names[-1], entry.code or "failed", entry.reason or "", entry.advice or "", entry.files
    )


def _taken(line: io.StringIO) -> str:
    text = line.getvalue()
    line.seek(0)
    line.truncate()
    return text


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return csv_cell("; ".join(f"{one['destination']}: {one['words']}" for one in value))
    return csv_cell(value) if isinstance(value, str) else value
