"""Tables as one page without scripts, which opens anywhere offline."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from headclip_med.write.pages.frame import render
from headclip_med.write.tables import Document, Line, Number, shown


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
        cells=_cells,
        base64=lambda content: base64.b64encode(content).decode(),
    )


def _cells(line: Line, parts: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Give the class and the text of each of a row's numbers."""
    for number, used in zip(line.numbers, parts, strict=True):
        for part in used:
            yield _class(number, part), shown(number, part)


def _class(number: Number | None, part: str) -> str:
    if part == "ours":
        return "first none" if number is None else "first ours"
    if part != "difference":
        return part
    difference = None if number is None else number.difference
    if difference is None:
        return "none"
    return "up" if difference >= 0 else "down"
