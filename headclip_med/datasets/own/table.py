"""Lists as tables: any CSV with a column of images, and what else it has in columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from headclip_med.datasets.own.classes import Classes, resolve
from headclip_med.datasets.own.listing import ListedImage, Read, scan_list
from headclip_med.datasets.own.spec import SetOptions
from headclip_med.datasets.report import Finding
from headclip_med.datasets.scan import Scan
from headclip_med.errors import UnreadableInput

Role = Literal["image", "mask", "category", "label", "split"]

NAMES: Mapping[Role, tuple[str, ...]] = {
    "image": (
        "image", "image_path", "img_path", "img", "image_file", "image_name", "filename",
        "file_name", "filepath", "file_path", "path", "file", "images", "image_id", "picture",
    ),
    "mask": (
        "mask", "mask_path", "mask_file", "mask_name", "masks", "ground_truth", "gt", "gt_path",
        "gt_mask", "segmentation", "annotation",
    ),
    "label": (
        "label", "anomaly", "is_anomaly", "abnormal", "is_abnormal", "target", "diagnosis", "y",
        "label_index", "labels", "status", "finding", "class", "cls",
    ),
    "category": (
        "category", "object", "cls_name", "class_name", "organ", "body_part", "class", "cls",
    ),
    "split": ("split", "set", "subset", "partition", "phase"),
}  # fmt: skip
"""What columns are called, the likelier first; case, spaces and dashes do not matter."""

_DELIMITERS = (",", ";", "\t", "|")
_EMPTY = ("", "nan", "none", "null", "n/a", "na", "-")

COLUMNS = (*NAMES, "normal", "delimiter", "root")
"""Options that a table takes."""


def scan_table(name: str, path: Path, options: SetOptions) -> Scan:
    """Find all images that a table names.

    Its first line names the columns. Without a column of labels an image is abnormal where it has a
    mask that marks anything.

    Args:
        name: Of the layout.
        path: The table, or a folder that holds one only.
        options: Which column is what, where its name does not tell; which labels are ``normal``.

    Raises:
        UnreadableInput: There is no such table, it has no column of images, its labels do not tell
            what is normal, or no image is there.
    """
    options.require(COLUMNS, name)
    file = _table_of(path)
    header, rows = _rows(file, options)
    columns = _columns(header, options, file.name)
    if "label" not in columns and "mask" not in columns:
        raise UnreadableInput(
            f"The table {file.name} has no column of labels or masks that is known among "
            f"{', '.join(header)}.",
            "Say which it is behind the table's path: ?label=COLUMN or ?mask=COLUMN.",
            code="bad-labels",
        )
    cells = [_Row(row, columns) for row in rows]
    classes = _classes(cells, columns, options, file.name)
    usual = file.resolve().parent.name
    entries = [_entry(one, classes, usual, number) for number, one in enumerate(cells, start=2)]
    bases = [Path(options.root)] if options.root else [file.parent, file.parent.parent]
    columns_said = ", ".join(f"{role} {header[at]}" for role, at in columns.items())
    read = Read(entries, f"what {file.name} names ({columns_said})", tuple(_guesses(classes)))
    return scan_list(read, bases, file.name)


class _Row:
    """One line, by what its columns are."""

    def __init__(self, cells: Sequence[str], columns: Mapping[Role, int]) -> None:
        self._cells, self._columns = cells, columns

    def cell(self, role: Role) -> str:
        """Give a column's text; empty where there is none, or it says that there is nothing."""
        at = self._columns.get(role)
        text = self._cells[at].strip() if at is not None and at < len(self._cells) else ""
        return "" if text.lower() in _EMPTY and role != "label" else text


def _table_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in (".csv", ".tsv"))
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise UnreadableInput(
            f"The folder {path.name} holds {len(found)} tables ({names}).",
            "Name one, as csv:FILE.",
            code="missing-table",
        )
    return found[0]


def _rows(file: Path, options: SetOptions) -> tuple[list[str], list[list[str]]]:
    """Read the names of the columns, and the lines that are not empty."""
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise UnreadableInput(
            "There is no table at the path given.", "Correct the path.", code="missing-table"
        ) from error
    except UnicodeDecodeError as error:
        raise UnreadableInput(
            f"The table {file.name} is no text in UTF-8.",
            "Save it as CSV in UTF-8.",
            code="bad-labels",
        ) from error
    lines = text.splitlines()
    told = "\t" if options.delimiter == "tab" else options.delimiter
    if len(told) > 1:
        raise UnreadableInput(
            "A delimiter is a single sign.",
            "Write delimiter=; or delimiter=tab.",
            code="bad-labels",
        )
    first = next(filter(str.strip, lines), "")
    delimiter = told or max(_DELIMITERS, key=first.count)
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(map(str.strip, row))]
    except csv.Error as error:
        raise UnreadableInput(
            f"The table {file.name} cannot be read as CSV.", "Write it again.", code="bad-labels"
        ) from error
    if len(rows) < 2:
        raise UnreadableInput(
            f"The table {file.name} has no line beside its columns' names.",
            "Write one line for each image.",
            code="empty-dataset",
        )
    return [one.strip() for one in rows[0]], rows[1:]


def _columns(header: Sequence[str], options: SetOptions, name: str) -> dict[Role, int]:
    """Find each column: as the user says, else by its name."""
    plain = [one.lower().replace(" ", "_").replace("-", "_") for one in header]
    found: dict[Role, int] = {}
    for role in NAMES:
        told: str = getattr(options, role)
        if told and told not in header:
            raise UnreadableInput(
                f"The table {name} has no column {told}; it has {', '.join(header)}.",
                f"Give one of these as {role}=COLUMN.",
                code="no-such-column",
            )
        if told:
            found[role] = header.index(told)
    for role, names in NAMES.items():
        free = [one for one in names if one in plain and plain.index(one) not in found.values()]
        if role not in found and free:
            found[role] = plain.index(free[0])
    if "image" not in found:
        raise UnreadableInput(
            f"The table {name} has no column of images that is known; its first line is "
            f"{', '.join(header)}.",
            "Say which it is behind the table's path: ?image=COLUMN. The first line must name the "
            "columns.",
            code="no-such-column",
        )
    return found


def _classes(
    cells: Sequence[_Row], columns: Mapping[Role, int], options: SetOptions, name: str
) -> Classes | None:
    if "label" not in columns:
        return None
    labels = list(dict.fromkeys(filter(None, (one.cell("label") for one in cells))))
    return resolve(
        sorted(labels), options.normal, what=f"labels of {name}", option="--normal-class NAME"
    )


def _entry(
    row: _Row, classes: Classes | None, usual: str, number: int
) -> ListedImage | UnreadableInput:
    image, mask, stated = row.cell("image"), row.cell("mask"), row.cell("label")
    if not image or (classes is not None and not stated):
        return UnreadableInput(
            f"Line {number} of the table has no {'label' if image else 'image'}.",
            "Complete it, or leave the line out.",
            code="missing-label",
        )
    masks = tuple(filter(None, (one.strip() for one in mask.split(";")))) if mask else ()
    label: Literal[0, 1] | None = None if masks else 0
    if classes is not None:
        label = 0 if stated in classes.normal else 1
    return ListedImage(image, masks, label, row.cell("category") or usual, row.cell("split"))


def _guesses(classes: Classes | None) -> Iterator[Finding]:
    if classes is None:
        yield Finding(
            "note",
            "labels-from-masks",
            "The table has no labels: images with a mask that marks anything count as abnormal.",
        )
    else:
        yield from said_classes(classes)


def said_classes(classes: Classes) -> Iterator[Finding]:
    """Say what was read off the names of classes, where they leave a doubt."""
    if not classes.is_sure:
        normal, abnormal = ", ".join(classes.normal), ", ".join(classes.abnormal)
        yield Finding(
            "note",
            "classes",
            f"By their names, {normal or 'none'} counts as normal, and {abnormal or 'none'} as "
            "abnormal.",
            "Say otherwise with --normal-class NAME.",
        )
