"""Images that a list names: each looked up, paired with its masks, or said to be missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from headclip_med.datasets.layouts import PICTURE_SUFFIXES, Layout
from headclip_med.datasets.report import Finding
from headclip_med.datasets.samples import Sample, Split, shown
from headclip_med.datasets.scan import Found, Scan
from headclip_med.errors import UnreadableInput

_SPLITS: dict[str, Split | None] = {
    "train": "train", "training": "train", "tr": "train",
    "test": "test", "testing": "test", "ts": "test", "test_public": "test", "": "test",
    "val": None, "valid": None, "validation": None, "dev": None,
}  # fmt: skip
"""What splits are called; None is trained on where there is a test split, and else tested."""


@dataclass(frozen=True)
class ListedImage:
    """One line of a list.

    Attributes:
        image: Path of the image, absolute or from where the list's paths start.
        masks: Paths of its masks; empty where it has none.
        label: 1 abnormal, 0 normal, None where the mask tells.
        category: The kind of thing shown.
        split: As the list calls it.
    """

    image: str
    masks: tuple[str, ...]
    label: Literal[0, 1] | None
    category: str
    split: str


@dataclass(frozen=True)
class Read:
    """What a list says.

    Attributes:
        entries: Its lines, and what is wrong with others.
        layout: How it is written, in words.
        findings: What was guessed.
    """

    entries: Sequence[ListedImage | UnreadableInput]
    layout: str
    findings: tuple[Finding, ...] = ()


def scan_list(read: Read, bases: Sequence[Path], list_name: str) -> Scan:
    """Look up all that a list names.

    Args:
        read: The list.
        bases: Folders that its paths may start from; the one under which most images lie is
            taken, of equal ones the first.
        list_name: What to call it in an error.

    Raises:
        UnreadableInput: It names no image, none that is there, or a split that is not known.
    """
    entries = [one for one in read.entries if isinstance(one, ListedImage)]
    if not entries:
        problem = next((one for one in read.entries if isinstance(one, UnreadableInput)), None)
        raise problem or UnreadableInput(
            f"The list {list_name} names no image.", "Name another list.", code="empty-dataset"
        )
    splits = split_names({one.split for one in entries}, list_name)
    files = max((_Files(base) for base in bases), key=lambda files: files.count(entries))
    if not files.count(entries):
        raise UnreadableInput(
            f"None of the images that {list_name} names is there; the first is {entries[0].image}.",
            "Say from which folder its paths start, behind the list's own path: LIST?root=DIR.",
            code="missing-file",
        )
    level_is_pixel = any(one.masks for one in entries)
    lookup = _PathLookup(files, level_is_pixel, list_name)
    found = [one for entry in entries for one in lookup.found(entry, splits)]
    samples = list(_joined([one for one in found if isinstance(one, Sample)], files.base))
    problems = [one for one in read.entries if isinstance(one, UnreadableInput)]
    problems += [one for one in (*found, *samples) if isinstance(one, UnreadableInput)]
    return Scan(
        files.base,
        Layout(read.layout, masks=("the list",) if level_is_pixel else ()),
        tuple(one for one in samples if isinstance(one, Sample)),
        tuple(problems),
        read.findings,
    )


def split_names(names: Iterable[str], where: str) -> dict[str, Split]:
    """Say which split each name means.

    Raises:
        UnreadableInput: One is not known.
    """
    written = sorted(set(names))
    known = {one: one.strip().lower().replace("-", "_") for one in written}
    for one, plain in known.items():
        if plain not in _SPLITS:
            raise UnreadableInput(
                f"The split '{one}' of {where} is not known.",
                "Call splits train, val and test.",
                code="unknown-split",
            )
    has_test = any(_SPLITS[plain] == "test" for plain in known.values())
    rest: Split = "train" if has_test else "test"
    return {one: _SPLITS[plain] or rest for one, plain in known.items()}


class _Files:
    """The files below a folder, as a list names them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._stems: dict[Path, dict[str, Path]] = {}

    def count(self, entries: Sequence[ListedImage]) -> int:
        """Say how many of the images are there; of many, of a part evenly spread."""
        some = entries[:: max(1, len(entries) // 200)]
        return sum(self.find(one.image) is not None for one in some)

    def find(self, name: str) -> Path | None:
        """Find a file by its path, written in any system's way, with or without its suffix."""
        for written in (name, name.replace("\\", "/")):
            path = self.base / written
            if path.is_file():
                return path
        path = self.base / name.replace("\\", "/")
        if path.suffix.lower() in PICTURE_SUFFIXES or not path.parent.is_dir():
            return None
        if path.parent not in self._stems:
            inside = sorted(path.parent.iterdir())
            pictures = (one for one in inside if one.suffix.lower() in PICTURE_SUFFIXES)
            self._stems[path.parent] = {one.stem: one for one in pictures}
        return self._stems[path.parent].get(path.name)


@dataclass(frozen=True)
class _PathLookup:
    files: _Files
    level_is_pixel: bool
    list_name: str

    def found(self, entry: ListedImage, splits: dict[str, Split]) -> Iterator[Found]:
        """Yield the image, or all that is wrong with it."""
        paths = {name: self.files.find(name) for name in (entry.image, *entry.masks)}
        missing = [name for name, path in paths.items() if path is None]
        for name in missing:
            yield UnreadableInput(
                f"The file {name} is listed in {self.list_name} and is not there.",
                "Correct the list, or fetch the file again.",
                code="missing-file",
            )
        image, *masks = [path for path in paths.values() if path is not None] or [Path()]
        if missing:
            return
        if self.level_is_pixel and not masks and entry.label != 0:
            yield UnreadableInput(
                f"The abnormal image {entry.image} has no mask in {self.list_name}, and others "
                "have one.",
                "Add its mask, or leave the masks out of the list.",
                code="missing-mask",
            )
            return
        yield Sample(
            image,
            masks[0] if masks else None,
            entry.label,
            entry.category,
            splits[entry.split],
            more_mask_paths=tuple(masks[1:]),
            root=self.files.base,
        )


def _joined(samples: Sequence[Sample], root: Path) -> Iterator[Found]:
    """Make one of an image that is listed several times in a split, once for each mask."""
    groups: dict[tuple[Path, Split], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.image_path, sample.split), []).append(sample)
    for group in groups.values():
        first = group[0]
        if len({(one.label, one.category) for one in group}) > 1:
            yield UnreadableInput(
                f"The image {shown(first.image_path, root)} is listed twice, with two labels or "
                "two classes.",
                "Correct the list.",
                code="two-labels",
            )
            continue
        masks = tuple(dict.fromkeys(path for one in group for path in one.mask_paths))
        yield replace(first, mask_path=masks[0] if masks else None, more_mask_paths=masks[1:])
