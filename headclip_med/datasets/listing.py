"""Files and folders by name, and the patterns that names are matched with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from headclip_med.errors import UnreadableInput

Fields = Mapping[str, str]
"""What stands for the parts of a pattern in braces, by their names."""

_FIELD = re.compile(r"\{(\w+)\}")
_SUFFIX = re.compile(r"\.[a-z]+$")


def filled(pattern: str, fields: Fields) -> str:
    """Put in what is known; other fields keep their braces."""
    return _FIELD.sub(lambda field: fields.get(field[1], field[0]), pattern)


def matched(pattern: str, text: str) -> Fields | None:
    """Read the fields of a pattern off a text; None where it does not follow the pattern."""
    found = _expression(pattern).fullmatch(text)
    return found.groupdict() if found else None


def cut_suffix(pattern: str) -> tuple[str, str]:
    """Part a pattern from the suffix written at its end, if there is one."""
    found = _SUFFIX.search(pattern)
    return (pattern[: found.start()], found[0]) if found else (pattern, "")


def entries(folder: Path) -> list[Path]:
    """List what a folder holds by name, hidden entries apart.

    Raises:
        UnreadableInput: There is no such folder, or it may not be read.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise UnreadableInput(
            f"There is no readable folder {folder.name} where the set's layout wants one.",
            "Check the path, its permissions, and the name of the layout.",
            code="missing-folder",
        ) from error
    return [path for path in found if not path.name.startswith((".", "__"))]


class Listing:
    """Folders read once, however often a file of theirs is asked for.

    Args:
        suffixes: What the files of a set may end in, in lower case; others are passed over.
    """

    def __init__(self, suffixes: tuple[str, ...]) -> None:
        self._suffixes = suffixes
        self._entries: dict[Path, tuple[list[Path], list[Path]]] = {}
        self._stems: dict[Path, dict[str, list[Path]]] = {}

    def folders(self, folder: Path) -> list[Path]:
        """List the folders inside a folder."""
        return self._read(folder)[0]

    def files(self, folder: Path) -> list[Path]:
        """List the files of a folder that may belong to a set."""
        return self._read(folder)[1]

    def folder(self, here: Path, name: str) -> Path | None:
        """Find a folder inside another, in any case of letters if need be."""
        inner = self.folders(here)
        exact = next((path for path in inner if path.name == name), None)
        return exact or next((p for p in inner if p.name.lower() == name.lower()), None)

    def stem(self, path: Path) -> str:
        """Give a file's name without its suffix."""
        return path.name[: len(path.name) - len(self._suffix(path))]

    def named(self, root: Path, pattern: str, fields: Fields) -> list[Path]:
        """List the files that a pattern names once all of its fields are known."""
        place, name, suffix = self._place(root, pattern, fields)
        if place is None:
            return []
        if place not in self._stems:
            stems: dict[str, list[Path]] = {}
            for path in self.files(place):
                stems.setdefault(self.stem(path), []).append(path)
            self._stems[place] = stems
        return [p for p in self._stems[place].get(name, []) if p.name.lower().endswith(suffix)]

    def like(self, root: Path, pattern: str, fields: Fields) -> list[Path]:
        """List the files that follow a pattern, whatever stands for the fields not yet known."""
        place, name, suffix = self._place(root, pattern, fields)
        return [
            path
            for path in (self.files(place) if place else ())
            if matched(name, self.stem(path)) is not None and path.name.lower().endswith(suffix)
        ]

    def _place(self, root: Path, pattern: str, fields: Fields) -> tuple[Path | None, str, str]:
        *parts, file = filled(pattern, fields).split("/")
        place: Path | None = root
        for part in parts:
            place = self.folder(place, part) if place else None
        return place, *cut_suffix(file)

    def _read(self, folder: Path) -> tuple[list[Path], list[Path]]:
        if folder not in self._entries:
            found = entries(folder)
            inner = [path for path in found if path.is_dir()]
            files = [path for path in found if self._suffix(path) and path not in set(inner)]
            self._entries[folder] = inner, files
        return self._entries[folder]

    def _suffix(self, path: Path) -> str:
        return next((end for end in self._suffixes if path.name.lower().endswith(end)), "")


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = _FIELD.split(pattern)  # text, field, text, field, ..., text
    return re.compile(
        "".join(
            f"(?P<{part}>.+)" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
    )
