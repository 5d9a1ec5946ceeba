"""The files of results that the page gives out: those a result names, and nothing outside."""

from __future__ import annotations

from pathlib import Path

from headclip_med.pipelines.service.worklist.entries import WorkEntry

TYPES = {".jpg": "image/jpeg", ".json": "application/json", ".png": "image/png"}
"""Of files that a browser may show; all others are saved."""


def output_of(entry: WorkEntry, name: str, out: Path) -> Path | None:
    """Find a file of a result.

    Args:
        entry: Whose result it is of.
        name: Of the output, as ``result.json`` calls it, or ``picture``.
        out: The folder of results.

    Returns:
        None where the result has none of this name, it is missing, or it leads outside ``out``.
    """
    path = entry.plain.get("picture") if name == "picture" else _path_of(entry, name)
    return _inside(out, entry, path)


def view_picture_of(entry: WorkEntry, name: str, out: Path) -> Path | None:
    """Find a picture that lies beside the study view of a result; see ``output_of``."""
    folder = _path_of(entry, "view-pictures")
    is_one = Path(name).name == name and Path(name).suffix in TYPES
    return _inside(out, entry, f"{folder}/{name}" if folder and is_one else None)


def _path_of(entry: WorkEntry, name: str) -> str | None:
    outputs = entry.plain.get("outputs")
    path = outputs.get(name) if isinstance(outputs, dict) else None
    return path if isinstance(path, str) else None


def _inside(out: Path, entry: WorkEntry, path: object) -> Path | None:
    """Find a file in the folder of a result."""
    if entry.folder is None or not isinstance(path, str):
        return None
    try:
        found = (out / entry.folder / path).resolve(strict=True)
    except (OSError, ValueError):  # missing, a circle of links, a zero byte
        return None
    # Links are followed first: one inside that leads outside is outside.
    return found if found.is_file() and found.is_relative_to(out.resolve()) else None
