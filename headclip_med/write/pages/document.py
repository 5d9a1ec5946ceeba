"""A document of tables on disk: the same content as Markdown, CSV, a page and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from headclip_med.atomic import write_file
from headclip_med.write.pages.tables import render_tables
from headclip_med.write.tables import Document, to_csv, to_json, to_markdown


def write_document(document: Document, folder: Path) -> dict[str, Path]:
    """Write a document and its pictures; each file appears whole or not at all.

    Args:
        document: What to write.
        folder: Where to; it is made if need be.

    Returns:
        Paths by kind: ``md``, ``csv``, ``html``, ``json``, and the key of each picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        drawing.key: (f"{document.name}-{drawing.key}.png", drawing.png)
        for drawing in document.drawings  # first: what is written later shows them
    }
    texts = {
        "csv": to_csv(document.tables),
        "json": json.dumps(to_json(document), indent=2, allow_nan=False) + "\n",
        "md": to_markdown(document),
        "html": render_tables(document),
    }
    contents |= {kind: (f"{document.name}.{kind}", text.encode()) for kind, text in texts.items()}
    paths = {}
    for kind, (name, content) in contents.items():
        paths[kind] = folder / name
        write_file(paths[kind], content)
    return paths
