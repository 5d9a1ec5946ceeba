"""Rows of results: drawn as a table on a terminal, and elsewhere lines that scripts rely on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from headclip_med.cli.terminal.voice import VOICE

Tone = Literal["plain", "good", "bad", "notable"]
STYLES: dict[Tone, str] = {"plain": "", "good": "green", "bad": "bold red", "notable": "yellow"}
"""Of a row's cells, as rich calls them."""

NARROWEST = 12
"""Columns of the terminal that a cell of text is folded to at most."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Above it, where it is drawn.
        width: Of its cells in a line, at least.
        is_number: Whether cells stand to the right, and are folded between words only.
    """

    title: str
    width: int = 0
    is_number: bool = False


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        cells: One for each column; None where a line has none at that place.
        below: Lines below it; in a table the last column has them.
        tone: How it is to be taken.
    """

    cells: tuple[str | None, ...]
    below: tuple[str, ...] = ()
    tone: Tone = "plain"


@dataclass(frozen=True)
class Sheet:
    """Rows with what they are about.

    Attributes:
        columns: In order.
        rows: Their text is from people or from us: nothing in it that a terminal would obey.
        gap: Between two cells of a line.
        indent: Before the lines below a row.
    """

    columns: tuple[Column, ...]
    rows: Sequence[Row]
    gap: str = "  "
    indent: str = ""

    def lines(self) -> Iterator[str]:
        """Write each row as a line, with the lines below it."""
        for row in self.rows:
            pairs = zip(self.columns, row.cells, strict=True)
            yield self.gap.join(_filled(*pair) for pair in pairs if pair[1] is not None).rstrip()
            yield from (f"{self.indent}{line}" for line in row.below)


def show(sheet: Sheet, plain: Iterable[str] | None = None) -> None:
    """Print rows.

    Args:
        sheet: What a terminal shows as a table, where it is wide enough.
        plain: What is printed elsewhere; the sheet's lines by default.
    """
    if not (is_drawn() and _draw(sheet)):
        for line in sheet.lines() if plain is None else plain:
            print(line)


def show_markdown(text: str, plain: str | None = None) -> None:
    """Print Markdown with tables.

    Args:
        text: Its tables are drawn on a terminal.
        plain: What is printed elsewhere; the text with its columns aligned by default.
    """
    from headclip_med.write.plain_text import aligned, blocks, padded

    if not is_drawn():
        print(aligned(text) if plain is None else plain)
        return
    for one in blocks(text):
        if isinstance(one, str):
            print(one)
        else:
            show(_of_cells(one), padded(one))


def is_drawn() -> bool:
    """Whether tables are drawn: on a terminal that can, and not where quiet."""
    return sys.stdout.isatty() and not VOICE.is_quiet and os.environ.get("TERM") != "dumb"


def _filled(column: Column, cell: str | None) -> str:
    text = cell or ""
    return text.rjust(column.width) if column.is_number else text.ljust(column.width)


def _of_cells(cells: list[list[str]]) -> Sheet:
    head, rule, *rows = ([cell.replace("\\|", "|") for cell in row] for row in cells)
    columns = tuple(
        Column(title, is_number=dashes.endswith(":"))
        for title, dashes in zip(head, rule, strict=True)
    )
    return Sheet(columns, [Row(tuple(row)) for row in rows])


def _draw(sheet: Sheet) -> bool:
    """Draw a table as wide as the terminal at most; False where that is too narrow for one."""
    from rich.box import ROUNDED
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    used = [
        number
        for number in range(len(sheet.columns))
        if any(row.cells[number] is not None for row in sheet.rows)
    ]
    table = Table(box=ROUNDED, header_style="bold")
    narrowest = 1
    for number in used:
        column = sheet.columns[number]
        texts = [column.title, *(row.cells[number] or "" for row in sheet.rows)]
        widest = max(map(cell_len, texts))
        longest = max(cell_len(word) for text in texts for word in text.split() or [""])
        table.add_column(
            Text(column.title),
            justify="right" if column.is_number else "left",
            no_wrap=column.is_number and longest == widest,
            overflow="fold",
        )
        narrowest += 3 + (longest if column.is_number else min(NARROWEST, longest))
    if narrowest > console.width:
        return False
    for row in sheet.rows:
        cells = [Text(row.cells[number] or "", STYLES[row.tone]) for number in used]
        for line in row.below:
            cells[-1].append(f"\n{line}" if cells[-1].plain else line, "dim")
        table.add_row(*cells)
    console.print(table)
    return True
