"""Files below the given paths, each with the kind its first bytes show."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headclip_med.errors import UnreadableInput
from headclip_med.read.formats import START_BYTES, SYSTEM_FILES, Kind, kind_of, refusal_of
from headclip_med.read.guards import ReadLimits, check_file, no_permission, read_start
from headclip_med.read.inputs import Failure

RESULT_FILES = ("result.json", "heatmap.nii.gz")
"""A folder that holds these is one that a screening wrote."""


@dataclass
class Found:
    """Files by kind, in sorted order, and what could not be used.

    Attributes:
        files: The kind of each.
        named: The files that were given by name rather than found in a folder.
        failures: What has no kind.
        seen: All of them, as absolute paths: one may be given by name and with its folder.
    """

    files: dict[Path, Kind] = field(default_factory=dict)
    named: set[Path] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def of_kind(self, kind: Kind) -> list[Path]:
        """List the files of one kind."""
        return sorted(path for path, found in self.files.items() if found == kind)

    def add(self, path: Path, limits: ReadLimits, *, root: Path | None = None) -> None:
        """Sort one file by its kind, unless it is here already.

        Args:
            path: Of the file.
            limits: What it may claim.
            root: The folder it was found in; None where it was given by name.
        """
        place = os.path.abspath(path)  # noqa: PTH100 - a link stays itself
        if place in self.seen:
            return
        self.seen.add(place)
        try:
            self.files[path] = _kind(path, limits, root)
        except UnreadableInput as error:
            self.failures.append(Failure.of(path, error))


def find_files(paths: Sequence[Path], limits: ReadLimits) -> Found:
    """Walk folders, and sort every file by kind without reading more than its start.

    Every file is listed, hidden and system files too. Not entered, and listed as one, are hidden
    folders, folders of results, and those that may not be read or are links that lead out. A link
    to a folder that is walked anyway is not listed.
    """
    found = Found()
    folders = [path for path in paths if _is_folder(path)]
    for path in paths:
        if path not in folders:
            found.named.add(path)
            found.add(path, limits)
    for folder in folders:
        for file in _walk(folder, found.failures):
            found.add(file, limits, root=folder)
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder above it may not be entered; what that means is said file by file
        return False


def _walk(root: Path, failures: list[Failure]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        folder = Path(error.filename or root)
        failures.append(Failure.of(folder, no_permission("folder")))

    for name, below, names in os.walk(root, onerror=refuse):
        folder = Path(name)
        if all(one in names for one in RESULT_FILES):
            below.clear()
            failures.append(Failure.of(folder, _left_out("own-result")))
            continue
        hidden = [one for one in below if one.startswith(".")]
        failures += [Failure.of(folder / one, _left_out("hidden-folder")) for one in hidden]
        below[:] = sorted(one for one in below if not one.startswith("."))
        failures += _links_that_lead_out(folder, below, root)
        yield from (folder / one for one in sorted(names))


def _links_that_lead_out(folder: Path, below: list[str], root: Path) -> list[Failure]:
    """List linked folders, which are not walked, unless what they point to is walked anyway."""
    failures = []
    for path in filter(Path.is_symlink, (folder / name for name in below)):
        try:
            _check_link(path, root, what="folder")
        except UnreadableInput as error:
            failures.append(Failure.of(path, error))
    return failures


def _kind(path: Path, limits: ReadLimits, root: Path | None) -> Kind:
    if root is not None and path.name.startswith("."):
        raise _left_out("hidden-file")
    if root is not None and path.name.lower() in SYSTEM_FILES:
        raise _left_out("system-file")
    check_file(path, limits)
    if root is not None and path.is_symlink():
        _check_link(path, root)
    start = read_start(path, START_BYTES)
    kind = kind_of(path.name, start)
    if kind is None:
        raise refusal_of(path.name, start, is_named=root is None)
    return kind


def _left_out(code: str) -> UnreadableInput:
    return UnreadableInput(*_LEFT_OUT[code], code=code)


_LEFT_OUT = {
    "hidden-file": (
        "The file is hidden (its name begins with a dot), and was not looked at.",
        "Give it by its name to screen it.",
    ),
    "hidden-folder": (
        "The folder is hidden (its name begins with a dot), and was not entered.",
        "Give it by its name to screen what is in it.",
    ),
    "system-file": (
        "The file is one that an operating system puts into folders.",
        "Nothing needs to be done.",
    ),
    "own-result": (
        "The folder holds results of an earlier screening, which are not screened again.",
        "Nothing needs to be done.",
    ),
}
"""Reason and advice for what is not looked at, by code."""


def _check_link(path: Path, root: Path, *, what: str = "file") -> None:
    """Refuse a link that leads out of the folder: it could pull in another patient's files."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise UnreadableInput(
            f"The {what} is a link that leads out of the given folder, which is not followed.",
            f"Give the {what} it points to by its own name.",
            code="link-outside",
        )
