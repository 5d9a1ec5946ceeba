"""The one loader: finds the images of any set by its declared layout, and never drops one."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from headclip_med.datasets.layouts import NIFTI_SUFFIXES, KnownSet, Layout, plain
from headclip_med.datasets.pixels.beside import inner_folder, no_picture, not_of_a_class
from headclip_med.datasets.report import Finding
from headclip_med.datasets.samples import Sample, shown
from headclip_med.datasets.tables import LabelTable, Listed
from headclip_med.datasets.walk import (
    Fields,
    Listing,
    Place,
    Walk,
    cut_suffix,
    filled,
    is_no_class,
    matched,
)
from headclip_med.errors import UnreadableInput

DEPTH = 2
"""Archives often unpack into a folder or two above what the layout names."""

Found = Sample | UnreadableInput


@dataclass(frozen=True)
class Scan:
    """What was found below a set's folder.

    Attributes:
        root: The folder that the layout starts from; it may lie below the one given.
        layout: The arrangement that fitted.
        samples: Every image that has what it needs.
        problems: Everything that is missing or ambiguous, each naming its file.
        passed_over: What lies among the images and is none, each naming its file.
    """

    root: Path
    layout: Layout
    samples: tuple[Sample, ...]
    problems: tuple[UnreadableInput, ...]
    passed_over: tuple[Finding, ...] = ()


def scan(known: KnownSet, folder: Path) -> Scan:
    """Find all images of a set with their labels and masks; no picture is opened.

    Args:
        known: The set, with the arrangements it may have.
        folder: Holds the set, itself or a folder or two below.

    Raises:
        UnreadableInput: There is no such folder, or none of the arrangements fits.
    """
    if not folder.is_dir():
        raise UnreadableInput(
            f"There is no folder for the set {known.name} at the path given.",
            "Correct the path.",
            code="missing-folder",
        )
    fitting = _fitting(known, folder)
    found = list(fitting.found())
    samples = tuple(one for one in found if isinstance(one, Sample))
    beside = list(fitting.beside({p for s in samples for p in (s.image_path, *s.mask_paths)}))
    problems = [one for one in (*found, *beside) if isinstance(one, UnreadableInput)]
    passed_over = tuple(one for one in beside if isinstance(one, Finding))
    return Scan(fitting.root, fitting.layout, samples, tuple(problems), passed_over)


def _fitting(known: KnownSet, folder: Path) -> _Reader:
    """Choose the first layout that fits, nearest to the top; else one that lacks only masks."""
    without_masks: _Reader | None = None
    places = [folder]
    for _ in range(1 if known.is_generic else DEPTH + 1):
        for root in places:
            for layout in known.layouts:
                reader = _Reader(known, layout, root)
                if not reader.has_images():
                    continue
                if reader.has_masks():
                    return reader
                without_masks = without_masks or reader
        places = [inner for root in places for inner in Listing(()).folders(root)]
    if without_masks is None:
        wanted = "; or ".join(layout.describe() for layout in known.layouts)
        raise UnreadableInput(
            f"The folder {folder.name} does not look like {known.name}, which is kept as {wanted}.",
            "Check the folder and the name, and whether the archive was unpacked whole.",
            code="unknown-layout",
        )
    return without_masks


class _Reader:
    """One layout read below one folder."""

    def __init__(self, known: KnownSet, layout: Layout, root: Path) -> None:
        self.known, self.layout, self.root = known, layout, root
        self._listing = Listing(layout.suffixes)
        self._walk = Walk(known, layout, self._listing)
        self._table = LabelTable(layout.table, root) if layout.table else None

    def has_images(self) -> bool:
        """Tell whether there are images where the layout wants them, and tables if it has some."""
        classes = {
            self._is_normal(fields)
            for folder, fields in self._places()
            if self._has_some(folder, fields) and (not self._table or self._table.exists(fields))
        }
        return len(classes) > (1 if self.layout.guesses_classes else 0)

    def has_masks(self) -> bool:
        """Tell whether there is any mask, so that a copy without masks is told apart."""
        return not self.layout.masks or any(
            self._listing.like(self.root, mask, fields)
            for _, fields in self._places()
            for mask in self.layout.masks
        )

    def found(self) -> Iterator[Found]:
        """Yield every image and every problem, in order."""
        for place in self._walk.places(self.root):
            if isinstance(place, UnreadableInput):
                yield place
            else:
                yield from self._class(*place)
        if self._table:
            yield from self._table.leftovers()

    def beside(self, used: Set[Path]) -> Iterator[Finding | UnreadableInput]:
        """Yield what lies in the folders of images and was not read.

        Args:
            used: The files that were.
        """
        of_volumes = self.layout.suffixes == NIFTI_SUFFIXES
        for folder, _ in self._places():
            folders = [folder, *self._inner(folder)]
            for place in folders:
                for path in self._listing.others(place):
                    if not (self._table and self._table.is_table(path)):
                        name = shown(path, self.root)
                        yield no_picture(path, name, of_volumes=of_volumes)
            for place in () if self._reads_inner else self._listing.below(folder):
                files = self._listing.files(place)
                if files and not used & set(files):
                    yield inner_folder(shown(place, self.root), len(files))

    @property
    def _reads_inner(self) -> bool:
        """Whether folders inside a class belong to it: where no layout of anybody's says more."""
        return self.known.is_generic and self.layout.guesses_classes and not self.layout.masks

    def _inner(self, folder: Path) -> Iterator[Path]:
        return self._listing.below(folder) if self._reads_inner else iter(())

    def _places(self) -> Iterator[Place]:
        return (p for p in self._walk.places(self.root) if not isinstance(p, UnreadableInput))

    def _images(self, folder: Path) -> list[Path]:
        """List the images of a folder: its pictures, less the masks that lie beside them."""
        suffix = cut_suffix(self.layout.file)[1]
        masks = [
            mask.rpartition("/")[2]
            for mask in (*self.layout.masks, *self.layout.more_masks)
            if mask.rpartition("/")[0] == self.layout.images.rpartition("/")[0]
        ]
        return [
            path
            for place in (folder, *self._inner(folder))
            for path in self._listing.files(place)
            if path.name.lower().endswith(suffix)
            and not any(self._is_called(path, mask) for mask in masks)
        ]

    def _is_called(self, path: Path, pattern: str) -> bool:
        stem, suffix = cut_suffix(pattern)
        ends = path.name.lower().endswith(suffix)
        return ends and matched(stem, self._listing.stem(path)) is not None

    def _has_some(self, folder: Path, fields: Fields) -> bool:
        file = filled(cut_suffix(self.layout.file)[0], fields)
        return any(matched(file, self._listing.stem(path)) for path in self._images(folder))

    def _class(self, folder: Path, fields: Fields) -> Iterator[Found]:
        for place in self._inner(folder):
            if is_no_class(place.name):
                yield not_of_a_class(shown(place, self.root))
        images = self._images(folder)
        if not images:
            yield UnreadableInput(
                f"The folder {shown(folder, self.root)} holds no pictures.",
                "Fetch the set again, or remove the empty folder.",
                code="empty-class",
            )
        if self._table:
            yield from self._table.load(fields)
        file = filled(cut_suffix(self.layout.file)[0], fields)
        for path in images:
            named = matched(file, self._listing.stem(path))
            if named is None:
                yield UnreadableInput(
                    f"The file {shown(path, self.root)} is not named as the images of "
                    f"{self.known.name} are ({self.layout.file}).",
                    "Move it away, or give it its name back.",
                    code="unexpected-file",
                )
            else:
                yield self._sample(path, {**fields, **named})

    def _sample(self, path: Path, fields: Fields) -> Found:
        row = self._row(path, fields)
        if row is None:
            return UnreadableInput(
                f"The image {shown(path, self.root)} has no label in {self.known.name}, whose "
                "images are numbered or listed in a table.",
                "Remove it, or fetch the set again.",
                code="missing-label",
            )
        split = row.split or dict(self.layout.splits).get(fields.get("split", ""), "test")
        sample = Sample(path, None, row.label, self._category(fields), split, root=self.root)
        if sample.label == 0 or not self.layout.masks:
            return sample
        return self._with_masks(sample, fields)

    def _row(self, path: Path, fields: Fields) -> Listed | None:
        """What the table, the folder or the number says of an image; None: nothing."""
        if self._table is not None:
            row = self._table.row(fields)
            if row is None or row.label is not None:
                return row
            return Listed(self._label(fields), row.split)
        if self.layout.numbers:
            number = int(path.stem) if path.stem.isdecimal() else -1
            normal, abnormal = (range(*ends) for ends in self.layout.numbers)
            if number not in normal and number not in abnormal:
                return None
            return Listed(1 if number in abnormal else 0, None)
        return Listed(self._label(fields), None)

    def _label(self, fields: Fields) -> Literal[0, 1] | None:
        if "kind" in fields:
            return 0 if self._is_normal(fields) else 1
        return self.layout.label

    def _is_normal(self, fields: Fields) -> bool:
        return fields.get("kind", "").lower() in {name.lower() for name in self.layout.normal}

    def _with_masks(self, sample: Sample, fields: Fields) -> Found:
        for pattern in self.layout.masks:
            masks = self._listing.named(self.root, pattern, fields)
            if len(masks) > 1:
                return UnreadableInput(
                    f"The masks {sample.shown(masks[0])} and {sample.shown(masks[1])} share a "
                    "name, so it is unclear which belongs to the image.",
                    "Remove one.",
                    code="two-masks",
                )
            if masks:
                more = [self._listing.like(self.root, m, fields) for m in self.layout.more_masks]
                return replace(
                    sample,
                    mask_path=masks[0],
                    mask_above=self.layout.mask_above,
                    more_mask_paths=tuple(p for some in more for p in some if p != masks[0]),
                )
        return UnreadableInput(
            f"The image {sample.shown(sample.image_path)} has no mask of its name, and pairing by "
            "order would shift every mask after it.",
            "Fetch the masks again.",
            code="missing-mask",
        )

    def _category(self, fields: Fields) -> str:
        own = fields.get("category")
        if own is None:
            return self.known.category or self.root.resolve().name
        return next((name for name in self.known.categories if plain(name) == plain(own)), own)
