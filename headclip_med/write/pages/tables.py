"""A document of tables on disk: the same content as Markdown, CSV, a page and JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from headclip_med.atomic import write_file
from headclip_med.write.pages.frame import render
from headclip_med.write.tables import (
    Document,
    shown,
    to_csv,
    to_json,
    to_markdown,
)


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
