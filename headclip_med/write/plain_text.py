"""Text for people: what comes from outside made harmless, tables for a terminal, times in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
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
    for one in blocks(markdown):
        lines += [one] if isinstance(one, str) else padded(one)
    return "\n".join(lines)


def blocks(markdown: str) -> Iterator[str | list[list[str]]]:
    """Take Markdown apart.

    Yields:
        A line, or the cells of a table, row by row; the second row holds the rule below its head.
    """
    for is_table, block in groupby(markdown.split("\n"), lambda line: line.startswith("|")):
        if is_table:
            yield [[cell.strip() for cell in _CELL.split(row)[1:-1]] for row in block]
        else:
            yield from block


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def padded(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write the rows of a Markdown table, as ``blocks`` gives them, with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        filled = (
            cell.replace("-", "-" * (width - len(cell) + 1), 1)
            if number == 1
            else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        yield f"| {' | '.join(filled)} |"
