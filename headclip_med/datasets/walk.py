"""The folders that a layout names, followed part by part; what is not there is a problem."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headclip_med.datasets.layouts import KnownSet, Layout, plain
from headclip_med.datasets.listing import Fields, Listing, filled, matched
from headclip_med.errors import UnreadableInput

# A folder of unlabelled pictures taken for a class would be counted as abnormal without a word.
_NO_CLASSES = frozenset(
    {"ground_truth", "images", "masks", "pred", "prediction", "predictions", "test", "train"}
    | {"unlabeled", "unlabelled", "val"}
)

Place = tuple[Path, Fields]
"""A folder of images, and what its path says of them."""

_Choice = tuple[Path | UnreadableInput, Fields]


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
            if inner.name.lower() in _NO_CLASSES:
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
