"""Tables of our own numbers beside published ones: as Markdown, CSV, a page and JSON."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headclip_med.atomic import write_file
from headclip_med.errors import InvalidSettings
from headclip_med.write.pages.frame import render
from headclip_med.write.plain_text import csv_cell, visible

UNDEFINED = "undefined"

PARTS = "ours", "exact", "paper", "difference"
DEVIATIONS = "deviation", "exact_deviation"


@dataclass(frozen=True)
class Number:
    """One value, ours beside the published one; all in percent.

    Attributes:
        ours: By the protocol of the published tables; NaN where it is undefined.
        exact: The same over all thresholds; None where both protocols are one.
        paper: As printed; None where the paper has none.
        differs: Why the two are not of the same images, if they are not.
        deviation: Standard deviation of ours over seeds; None of a single one.
        exact_deviation: The same of ``exact``.
    """

    ours: float
    exact: float | None = None
    paper: float | None = None
    differs: str = ""
    deviation: float | None = None
    exact_deviation: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, or None where either is missing."""
        if self.paper is None or not math.isfinite(self.ours):
            return None
        return self.ours - self.paper


@dataclass(frozen=True)
class Line:
    """One row.

    Attributes:
        heads: What it is about, a text for each of the table's ``heads``.
        numbers: One for each column; None where there is nothing to show.
        reason: Why there are no numbers, in place of them.
    """

    heads: tuple[str, ...]
    numbers: tuple[Number | None, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A table in the form of a published one.

    Attributes:
        key: Short name for files and machines, for example ``table4-pixel``.
        title: What it shows.
        heads: What the first columns hold.
        columns: What the numbers are.
        lines: Its rows.
        notes: Sentences that a reader of it must know.
    """

    key: str
    title: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rows of another shape: they would shift numbers below other headings."""
        for line in self.lines:
            if len(line.heads) != len(self.heads):
                raise InvalidSettings(f"A row of {self.key} has {len(line.heads)} heads.")
            if not line.reason and len(line.numbers) != len(self.columns):
                raise InvalidSettings(f"A row of {self.key} has {len(line.numbers)} numbers.")

    def parts(self, column: int) -> tuple[str, ...]:
        """Name what is shown of a column: ``exact`` and the paper's only where there is any."""
        numbers = [line.numbers[column] for line in self.lines if line.numbers]
        found = ["ours"]
        if any(one is not None and one.exact is not None for one in numbers):
            found.append("exact")
        if any(one is not None and one.paper is not None for one in numbers):
            found += ["paper", "difference"]
        return tuple(found)


@dataclass(frozen=True)
class Drawing:
    """A picture of a document.

    Attributes:
        key: Short name, part of the file's.
        title: What it shows, for those who cannot see it as well.
        png: The file's content.
    """

    key: str
    title: str
    png: bytes


@dataclass(frozen=True)
class Document:
    """Tables and pictures with what must be known about them.

    Attributes:
        name: Of the files, without a suffix.
        title: Above everything.
        introduction: Paragraphs before the tables.
        facts: What the numbers rest on: data, weights, settings, the command; by name.
        tables: In order.
        drawings: In order.
        machine: Plain values that the JSON file has as well.
    """

    name: str
    title: str
    introduction: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...] = ()
    machine: Mapping[str, object] = field(default_factory=dict)


def to_markdown(document: Document) -> str:
    """Show a document as Markdown."""
    pictures = [f"![{one.title}]({document.name}-{one.key}.png)\n" for one in document.drawings]
    facts = [f"- {name}: {_cell(text)}" for name, text in document.facts]
    return "\n".join(
        [
            f"# {document.title}\n",
            *(f"{paragraph}\n" for paragraph in document.introduction),
            *map(table_to_markdown, document.tables),
            *pictures,
            "## What these numbers rest on\n",
            *facts,
            "",
        ]
    )


def table_to_markdown(table: Table) -> str:
    """Show one table as Markdown, with its title and its notes."""
    notes = [f"{note}\n" for note in table.notes]
    return "\n".join([f"## {table.title}\n", *_markdown_rows(table), "", *notes])


def to_csv(tables: Iterable[Table]) -> str:
    """List every number in a row of its own, at full precision, in percent."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    every = list(tables)
    spread = DEVIATIONS if any(_is_spread(table) for table in every) else ()
    rows.writerow(("table", "row", "column", *PARTS, *spread, "reason", "differs"))
    for table in every:
        for line in table.lines:
            about = (table.key, csv_cell(" / ".join(line.heads)))
            if line.reason:
                blank = [""] * (1 + len(PARTS) + len(spread))
                rows.writerow((*about, *blank, csv_cell(line.reason), ""))
                continue
            for column, number in zip(table.columns, line.numbers, strict=True):
                if number is not None:
                    values = _values(number)  # csv writes None as nothing, floats to the last bit
                    reason = UNDEFINED if values["ours"] is None else ""
                    spreads = (getattr(number, name) for name in spread)
                    numbers = (*values.values(), *spreads)
                    rows.writerow((*about, column, *numbers, reason, number.differs))
    return text.getvalue()


def to_json(document: Document) -> dict[str, object]:
    """Give everything as plain values, at full precision; what is undefined is null."""
    return {
        "name": document.name,
        "title": document.title,
        "introduction": list(document.introduction),
        "facts": dict(document.facts),
        **document.machine,
        "tables": [table_to_json(table) for table in document.tables],
    }


def shown(number: Number | None, part: str) -> str:
    """Write one part of a number as tables print it, with one decimal."""
    if number is None:
        return "n/a"
    value = getattr(number, part)
    if value is None:
        return "-"
    if not math.isfinite(value):
        return UNDEFINED
    if part != "difference":
        name = {"ours": "deviation", "exact": "exact_deviation"}.get(part)
        spread = getattr(number, name) if name else None
        return f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}"
    text = f"{value:+.1f}"
    return f"{text}*" if number.differs else text


def write_document(document: Document, folder: Path) -> dict[str, Path]:
    """Write a document and its pictures; each file appears whole or not at all.

    Args:
        document: What to write.
        folder: Where to; it is made if need be.

    Returns:
        Paths by kind: ``md``, ``csv``, ``html``, ``json``, and the key of each picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {  # pictures first: what is written later shows them
        drawing.key: (f"{document.name}-{drawing.key}.png", drawing.png)
        for drawing in document.drawings
    }
    texts = {
        "csv": to_csv(document.tables),
        "json": json.dumps(to_json(document), indent=2, allow_nan=False) + "\n",
        "md": to_markdown(document),
        "html": render_tables(document),
    }
    contents |= {kind: (f"{document.name}.{kind}", text.encode()) for kind, text in texts.items()}
    for name, content in contents.values():
        write_file(folder / name, content)
    return {kind: folder / name for kind, (name, _) in contents.items()}


def render_tables(document: Document) -> str:
    """Show a document as HTML.

    Returns:
        The page. It loads nothing from anywhere and its policy forbids scripts.
    """
    return render(
        "tables",
        document=document,
        tables=[
            (table, [table.parts(column) for column in range(len(table.columns))])
            for table in document.tables
        ],
        shown=shown,
        base64=lambda content: base64.b64encode(content).decode(),
    )


def _markdown_rows(table: Table) -> Iterator[str]:
    parts = [table.parts(column) for column in range(len(table.columns))]
    titles = [
        title if part == "ours" else f"{title} {part}"
        for title, used in zip(table.columns, parts, strict=True)
        for part in used
    ]
    yield f"| {' | '.join((*table.heads, *titles))} |"
    yield f"|{'---|' * len(table.heads)}{'--:|' * len(titles)}"
    for line in table.lines:
        cells = [_cell(head) for head in line.heads]
        if line.reason:
            cells += [_cell(line.reason), *[""] * (len(titles) - 1)]
        else:
            pairs = zip(line.numbers, parts, strict=True)
            cells += [shown(number, part) for number, used in pairs for part in used]
        yield f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return visible(text).replace("|", "\\|")


def table_to_json(table: Table) -> dict[str, object]:
    """Give one table as plain values; see ``to_json``."""
    rows = [
        {
            "heads": list(line.heads),
            "reason": line.reason or None,
            "numbers": [
                None if one is None else {**_values(one), **_spread(one), "differs": one.differs}
                for one in line.numbers
            ],
        }
        for line in table.lines
    ]
    shown = ("key", "title", "heads", "columns", "notes")
    return {**{name: getattr(table, name) for name in shown}, "rows": rows}


def table_from_json(stored: Mapping[str, Any]) -> Table:
    """Read what ``table_to_json`` gave."""
    lines = tuple(
        Line(
            tuple(row["heads"]),
            tuple(one and _number(one) for one in row["numbers"]),
            row["reason"] or "",
        )
        for row in stored["rows"]
    )
    heads, columns, notes = (tuple(stored[name]) for name in ("heads", "columns", "notes"))
    return Table(stored["key"], stored["title"], heads, columns, lines, notes)


def _number(stored: Mapping[str, Any]) -> Number:
    ours = math.nan if stored["ours"] is None else stored["ours"]
    spread = {name: stored.get(name) for name in DEVIATIONS}
    return Number(ours, stored["exact"], stored["paper"], stored["differs"], **spread)


def _values(number: Number) -> dict[str, float | None]:
    return {part: _plain(getattr(number, part)) for part in PARTS}


def _is_spread(table: Table) -> bool:
    return any(one is not None and _spread(one) for line in table.lines for one in line.numbers)


def _spread(number: Number) -> dict[str, float]:
    """Give the deviations over seeds, where there are any."""
    values = {name: getattr(number, name) for name in DEVIATIONS}
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
