"""Files and folders of a set: read by the patterns of its layout, followed part by part.

What a layout names and is not there is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from headclip_med.datasets.layouts import KnownSet, Layout, plain
from headclip_med.errors import UnreadableInput

Fields = Mapping[str, str]
"""What stands for the parts of a pattern in braces, by their names."""

_FIELD = re.compile(r"\{(\w+)\}")
_SUFFIX = re.compile(r"\.[a-z]+$")

# A folder of unlabelled pictures taken for a class would be counted as abnormal without a word.
_NO_CLASSES = frozenset(
    {"ground_truth", "images", "mask", "masks", "pred", "prediction", "predictions", "test"}
    | {"train", "unlabeled", "unlabelled", "val"}
)

Place = tuple[Path, Fields]
"""A folder of images, and what its path says of them."""

_Choice = tuple[Path | UnreadableInput, Fields]


def filled(pattern: str, fields: Fields) -> str:
    """Put in what is known; other fields keep their braces."""
    return _FIELD.sub(lambda field: fields.get(field[1], field[0]), pattern)


def matched(pattern: str, text: str) -> Fields | None:
    """Read the fields of a pattern off a text; None where it does not follow the pattern."""
    found = _expression(pattern).fullmatch(text)
    return found.groupdict() if found else None


def is_no_class(name: str) -> bool:
    """Whether a folder's name says that what it holds is no class, or no images at all."""
    return name.lower() in _NO_CLASSES


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
        raise _no_folder(folder.name) from error
    return [path for path in found if not is_hidden(path.name)]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over without a word: by convention, or an archive's."""
    return name.startswith(".") or name == "__MACOSX"


class Listing:
    """Folders read once, however often a file of theirs is asked for.

    Args:
        suffixes: What the files of a set may end in, in lower case; others are passed over.
    """

    def __init__(self, suffixes: tuple[str, ...]) -> None:
        self._suffixes = suffixes
        self._entries: dict[Path, tuple[list[Path], list[Path], list[Path]]] = {}
        self._stems: dict[Path, dict[str, list[Path]]] = {}

    def folders(self, folder: Path) -> list[Path]:
        """List the folders inside a folder."""
        return self._read(folder)[0]

    def files(self, folder: Path) -> list[Path]:
        """List the files of a folder that may belong to a set."""
        return self._read(folder)[1]

    def others(self, folder: Path) -> list[Path]:
        """List the files of a folder that end in nothing that a set's files end in."""
        return self._read(folder)[2]

    def below(self, folder: Path) -> Iterator[Path]:
        """Go through the folders inside a folder to the bottom, each once however it is linked."""
        ahead, seen = [*self.folders(folder)], {folder.resolve()}
        while ahead:
            here = ahead.pop(0)
            if here.resolve() not in seen:
                seen.add(here.resolve())
                yield here
                ahead = [*self.folders(here), *ahead]

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

    def _read(self, folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
        if folder not in self._entries:
            found = entries(folder)
            inner = [path for path in found if path.is_dir()]
            rest = [path for path in found if path not in set(inner)]
            files = [path for path in rest if self._suffix(path)]
            self._entries[folder] = inner, files, [path for path in rest if path not in set(files)]
        return self._entries[folder]

    def _suffix(self, path: Path) -> str:
        return next((end for end in self._suffixes if path.name.lower().endswith(end)), "")


class Walk:
    """One layout followed below one folder.

    Args:
        known: The set, which may name its categories.
        layout: The pattern of folders.
        listing: Reads them.
    """

    def __init__(self, known: KnownSet, layout: Layout, listing: Listing) -> None:
        self._known, self._layout, self._listing = known, layout, listing

    def places(self, root: Path) -> Iterator[Place | UnreadableInput]:
        """Yield every folder of images in order, and what the layout names and is not there."""
        yield from self._below(root, self._layout.folders, {})

    def _below(
        self, here: Path, parts: tuple[str, ...], fields: Fields
    ) -> Iterator[Place | UnreadableInput]:
        if not parts:
            yield here, fields
            return
        part, rest = filled(parts[0], fields), parts[1:]
        for inner, more in self._choices(here, part, rest):
            if isinstance(inner, UnreadableInput):
                yield inner
            else:
                yield from self._below(inner, rest, {**fields, **more})

    def _choices(self, here: Path, part: str, rest: tuple[str, ...]) -> Iterator[_Choice]:
        if "{split}" in part:
            yield from self._splits(here, part)
        elif part == "{kind}":
            yield from self._kinds(here)
        elif "{" in part:
            for inner in self._listing.folders(here):
                fields = matched(part, inner.name)
                if fields and ("category" not in fields or self._is_category(inner, rest)):
                    yield inner, fields
        else:
            yield self._listing.folder(here, part) or _no_folder(part), {}

    def _splits(self, here: Path, part: str) -> Iterator[_Choice]:
        for name, split in self._layout.splits:
            wanted = part.replace("{split}", name)
            inner = self._listing.folder(here, wanted)
            if inner is not None:
                yield inner, {"split": name}
            elif split == "test":  # some mirrors leave out train, and the protocols do without it
                yield _no_folder(wanted), {}

    def _kinds(self, here: Path) -> Iterator[_Choice]:
        if self._layout.abnormal:
            for name in (*self._layout.normal, *self._layout.abnormal):
                yield self._listing.folder(here, name) or _no_folder(name), {"kind": name}
            return
        for inner in self._listing.folders(here):
            if inner.name in self._layout.apart:
                continue
            if is_no_class(inner.name):
                yield _not_a_class(inner), {}
            else:
                yield inner, {"kind": inner.name}

    def _is_category(self, folder: Path, rest: tuple[str, ...]) -> bool:
        if self._known.categories:
            return plain(folder.name) in {plain(name) for name in self._known.categories}
        return self._listing.folder(folder, filled(rest[0], {"split": "test"})) is not None


def _no_folder(name: str) -> UnreadableInput:
    return UnreadableInput(
        f"There is no readable folder {name} where the set's layout wants one.",
        "Check the path, its permissions, and the name of the layout.",
        code="missing-folder",
    )


def _not_a_class(folder: Path) -> UnreadableInput:
    return UnreadableInput(
        f"The folder {folder.name} beside the classes does not name a class, and its images would "
        "count as abnormal.",
        "Move it away, or name the set's own layout.",
        code="not-a-class",
    )


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = _FIELD.split(pattern)  # text, field, text, field, ..., text
    return re.compile(
        "".join(
            f"(?P<{part}>.+)" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
    )
