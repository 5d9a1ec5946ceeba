"""Text from outside made harmless: for tables that a spreadsheet opens, and for pages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby

FORMULA_STARTS = ("=", "+", "-", "@", "|", "%", "\t", "\r")
"""With these first, spreadsheets run a cell as a formula (OWASP, "CSV Injection")."""

_CELL = re.compile(r"(?<!\\)\|")
"""Between two cells of a table; a stroke within one is escaped."""

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Control, format (the bidirectional ones among them), surrogate, private, line separators."""


def visible(text: str) -> str:
    """Drop every character that cannot be seen: what is shown is what is there."""
    spaced = text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return "".join(one for one in spaced if unicodedata.category(one) not in _INVISIBLE)


def csv_cell(text: str) -> str:
    """Make text a cell that no spreadsheet takes for a formula."""
    shown = visible(text)
    risky = text.startswith(FORMULA_STARTS) or shown.lstrip().startswith(FORMULA_STARTS)
    return f"'{shown}" if risky else shown


def aligned(markdown: str) -> str:
    """Pad the cells of Markdown tables, so that columns stand below each other in a terminal."""
    lines: list[str] = []
    for is_table, block in groupby(markdown.split("\n"), lambda line: line.startswith("|")):
        rows = list(block)
        lines += _padded(rows) if is_table else rows
    return "\n".join(lines)


def _padded(rows: list[str]) -> Iterator[str]:
    cells = [[cell.strip() for cell in _CELL.split(row)[1:-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        filled = (
            cell.replace("-", "-" * (width - len(cell) + 1), 1)
            if number == 1
            else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        yield f"| {' | '.join(filled)} |"
