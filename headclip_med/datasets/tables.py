"""Labels and splits that a set keeps in text files rather than in the names of folders."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from headclip_med.datasets.layouts import PICTURE_SUFFIXES, LabelFile
from headclip_med.datasets.samples import Split
from headclip_med.datasets.walk import Fields, filled
from headclip_med.errors import UnreadableInput

_LABELS: dict[str, Literal[0, 1]] = {"0": 0, "normal": 0, "1": 1, "anomaly": 1}
_SPLITS: dict[str, Split] = {"train": "train", "test": "test"}


@dataclass(frozen=True)
class Listed:
    """What is known of one image.

    Attributes:
        label: 1 abnormal, 0 normal, None where this does not tell.
        split: None where this does not tell.
    """

    label: Literal[0, 1] | None
    split: Split | None


class LabelTable:
    """The tables of one set, read when the first image asks for them.

    Args:
        table: How they are written.
        root: The set's folder.
    """

    def __init__(self, table: LabelFile, root: Path) -> None:
        self._table, self._root = table, root
        self._rows: dict[Path | None, dict[str, Listed]] = {}
        self._used: set[tuple[Path | None, str]] = set()

    def exists(self, fields: Fields) -> bool:
        """Tell whether the table of a folder's images is there."""
        return self._path(fields) is not None

    def is_table(self, path: Path) -> bool:
        """Tell whether a file is one of the tables that were read."""
        return path in self._rows

    def load(self, fields: Fields) -> Iterator[UnreadableInput]:
        """Read the table of a folder's images, once; yield what is wrong with it."""
        path = self._path(fields)
        if path in self._rows:
            return
        self._rows[path] = {}
        if path is None:
            yield UnreadableInput(
                f"The table {filled(self._table.paths[0], fields)} is not there.",
                "Fetch the set again.",
                code="missing-table",
            )
            return
        try:
            self._rows[path] = dict(self._parsed(path))
        except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError, KeyError):
            yield UnreadableInput(
                f"The table {path.name} must hold a header, then a line for each image with its "
                "name and a 0 or 1, or a split.",
                "Fetch it again.",
                code="bad-labels",
            )

    def row(self, fields: Fields) -> Listed | None:
        """Look an image up; None where the table does not list it."""
        path, key = self._path(fields), _plain_key(filled(self._table.key, fields))
        self._used.add((path, key))
        return self._rows.get(path, {}).get(key)

    def leftovers(self) -> Iterator[UnreadableInput]:
        """Yield a problem for each image that is listed and not there.

        Of whole folders that are not there (a category that was not fetched) nothing is said.
        """
        for path, rows in self._rows.items():
            for key in rows:
                if (path, key) not in self._used and (self._root / key).parent.is_dir():
                    yield UnreadableInput(
                        f"The image {key} is listed in {path.name if path else 'a table'} and is "
                        "not there.",
                        "Fetch the set again.",
                        code="missing-file",
                    )

    def _path(self, fields: Fields) -> Path | None:
        paths = (self._root / filled(pattern, fields) for pattern in self._table.paths)
        return next((path for path in paths if path.is_file()), None)

    def _parsed(self, path: Path) -> Iterator[tuple[str, Listed]]:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows: Iterable[list[str]] = (line.split() for line in lines)
        if self._table.separator:
            rows = csv.reader(lines, delimiter=self._table.separator)
        for number, row in enumerate(rows):
            if not row:
                continue
            try:
                yield self._entry(row)
            except (KeyError, IndexError):
                if number > 0:  # the first line may be a header
                    raise

    def _entry(self, row: list[str]) -> tuple[str, Listed]:
        key = PurePosixPath(row[self._table.key_column].strip())
        if key.suffix.lower() in PICTURE_SUFFIXES:
            key = key.with_suffix("")
        label, split = self._table.label_column, self._table.split_column
        return _plain_key(str(key)), Listed(
            None if label is None else _LABELS[row[label].strip().lower()],
            None if split is None else _SPLITS[row[split].strip().lower()],
        )


def _plain_key(key: str) -> str:
    """Write numbers without leading zeros: tables of numbered images drop them."""
    return str(int(key)) if key.isdecimal() else key
