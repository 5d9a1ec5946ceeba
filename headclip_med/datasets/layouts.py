"""How files of a set are arranged, written down as patterns; the words of the list of sets.

A pattern is a path below the set's folder whose parts in braces vary: ``{category}``, ``{split}``
and ``{kind}`` name folders, ``{stem}`` a file without its suffix, any other name what else varies.
The same names in the pattern of the masks stand for the same text.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from headclip_med.datasets.own.spec import SetOptions
from headclip_med.datasets.samples import Level, Split

PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".jp2",
)  # fmt: skip
NIFTI_SUFFIXES = (".nii.gz", ".nii")

NORMAL_NAMES = ("free", "good", "no", "normal", "ok")
"""Class folders of these names hold normal images, in any case of letters."""

Splits = tuple[tuple[str, Split], ...]
"""What a set calls its splits, and which they are."""


_CHECKS = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CHECKS)
class LabelFile:
    """A text file that says of each image what its folder does not.

    Attributes:
        paths: Patterns of where it may lie; the first that exists is read.
        key: Pattern of what the table calls an image; suffixes and leading zeros do not matter.
        key_column: Which column, from 0, holds that name.
        label_column: Which column holds ``0``/``1``, or ``normal``/``anomaly``; None: no labels.
        split_column: Which column holds ``train`` or ``test``; None: no splits.
        separator: Between columns; empty for any white space.
    """

    paths: tuple[str, ...]
    key: str
    key_column: int
    label_column: int | None = None
    split_column: int | None = None
    separator: str = ","


@dataclass(frozen=True, config=_CHECKS)
class Layout:
    """One arrangement of files that a set is known to come in.

    Attributes:
        images: Pattern of the images. A suffix, where one is written, is the only one accepted.
        masks: Patterns of the mask of an image; the first that exists counts.
        more_masks: Patterns of further masks of the same image, all of which count.
        normal: What ``{kind}`` is called where images are normal, in any case of letters.
        abnormal: What it is called elsewhere; empty: any other folder is a kind of anomaly.
        splits: What ``{split}`` is called, and which split that is.
        label: Of every image, where neither a kind nor a table tells; None leaves it to the mask.
        table: Where labels or splits are listed, for sets that list them.
        numbers: First number of normal and of abnormal images, and the one after their last, for
            sets told apart by number alone.
        mask_above: See ``Sample``.
        test: Normal and abnormal test images, where this arrangement holds others than the set's.
        suffixes: What files of this arrangement end in.
        apart: Folders beside the classes that are none of them, such as the masks'.
    """

    images: str
    masks: tuple[str, ...] = ()
    more_masks: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    abnormal: tuple[str, ...] = ()
    splits: Splits = (("train", "train"), ("test", "test"))
    label: Literal[0, 1] | None = None
    table: LabelFile | None = None
    numbers: tuple[tuple[int, int], tuple[int, int]] | None = None
    mask_above: int = 0
    test: tuple[int, int] | None = None
    suffixes: tuple[str, ...] = PICTURE_SUFFIXES
    apart: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """The pattern of the images' folder, part by part."""
        return PurePosixPath(self.images).parent.parts

    @property
    def file(self) -> str:
        """The pattern of an image's file name."""
        return PurePosixPath(self.images).name

    @property
    def level(self) -> Level:
        """``pixel`` where abnormal images have masks, ``image`` where only labels exist."""
        return "pixel" if self.masks else "image"

    @property
    def guesses_classes(self) -> bool:
        """Whether the folders inside the set are its classes, whatever they are called."""
        return self.folders[:1] == ("{kind}",) and not self.abnormal

    def describe(self) -> str:
        """Say in words what this arrangement wants to find."""
        text = self.images
        if "{kind}" in self.images:
            kinds = ", ".join(self.normal) or "none"
            rest = ", ".join(self.abnormal) or "any other"
            text += f" (normal kinds: {kinds}; abnormal: {rest})"
        if self.masks:
            text += f" with masks {self.masks[0]}"
        return f"{text} and {self.table.paths[0]}" if self.table else text


@dataclass(frozen=True, config=_CHECKS)
class KnownSet:
    """One public set: what it is, under which terms, and how it lies on disk.

    Attributes:
        name: As used in tables and in ``NAME:FOLDER``.
        title: Its full name.
        domain: Where its images come from.
        layouts: The arrangements it is known in; the first that fits is read.
        licence: Its terms as far as they are known; the source page decides.
        source: The page where it is found.
        category: Of every image, for sets of one, as a sentence would call what is shown; ``""``
            takes the folder's name.
        modality: DICOM modality of medical images.
        categories: The names of ``{category}``, for sets of several.
        test: Normal and abnormal images that are evaluated on, as published; None: not known.
        train: The same of the training split.
        aliases: Other names of the set or of its folder; case, spaces and dashes do not matter.
        note: What one should know before using it.
        listing: How its images are listed, for sets that no pattern describes.
        options: What a user says of a copy, of an arrangement that any set may have.
    """

    name: str
    title: str
    layouts: tuple[Layout, ...]
    domain: Literal["industrial", "medical"] = "medical"
    licence: str = "not stated"
    source: str = ""
    category: str = ""
    modality: str | None = None
    categories: tuple[str, ...] = ()
    test: tuple[int, int] | None = None
    train: tuple[int, int] | None = None
    aliases: tuple[str, ...] = ()
    note: str = ""
    listing: Literal["meta", "csv", "real-iad"] | None = None
    options: SetOptions = SetOptions()

    @property
    def level(self) -> Level:
        """What a whole copy can be evaluated on; see ``Layout.level``."""
        return self.layouts[0].level

    def expected(self, layout: Layout) -> dict[Split, tuple[int, int]]:
        """Give the published counts of normal and abnormal images of each split, where known."""
        published: dict[Split, tuple[int, int] | None] = {
            "train": None if layout.test else self.train,
            "test": layout.test or self.test,
        }
        return {split: count for split, count in published.items() if count}

    @property
    def is_generic(self) -> bool:
        """Whether this is an arrangement that any set may have."""
        return not self.source

    def is_called(self, name: str) -> bool:
        """Tell whether the set or its folder goes by a name."""
        return plain(name) in {plain(known) for known in (self.name, *self.aliases)}


def plain(name: str) -> str:
    """Reduce a name to letters and digits, so that ways of writing it compare equal."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


_MVTEC_MASKS = ("ground_truth/{kind}/{stem}_mask", "ground_truth/{kind}/{stem}")

MVTEC = Layout(
    "{category}/{split}/{kind}/{stem}",
    masks=tuple(f"{{category}}/{mask}" for mask in _MVTEC_MASKS),
    normal=NORMAL_NAMES,
)
"""MVTec AD's own arrangement, which MPDD, BTAD, DTD-Synthetic and others took over."""

MVTEC_CATEGORY = Layout("{split}/{kind}/{stem}", masks=_MVTEC_MASKS, normal=NORMAL_NAMES)
"""One category of such a set."""

IMAGES_AND_MASKS = Layout(
    "images/{stem}",
    masks=("masks/{stem}", "masks/{stem}_mask", "masks/{stem}_segmentation"),
    label=1,
)
"""Pictures that all show something, each with its mask in the folder beside."""

_BESIDE = ("_mask", "_seg", "_label")

_NAMED = {"mvtec": MVTEC, "images-and-masks": IMAGES_AND_MASKS}
"""Arrangements that several sets have."""


def declared_sets(domain: Literal["industrial", "medical"]) -> tuple[KnownSet, ...]:
    """Read the public sets of a domain off the list in this folder."""
    text = files(__package__).joinpath(f"{domain}.toml").read_text("utf-8")
    sets = tomllib.loads(text)["set"]
    for one in sets:
        one["layouts"] = [_NAMED[lay["like"]] if "like" in lay else lay for lay in one["layouts"]]
    return tuple(KnownSet(**one, domain=domain) for one in sets)


GENERIC_SETS = (
    KnownSet("mvtec", "any set in MVTec AD's layout", (MVTEC_CATEGORY, MVTEC), "industrial"),
    KnownSet(
        "folder",
        "class folders, or images/ beside masks/",
        (
            Layout("images/{stem}", masks=IMAGES_AND_MASKS.masks),
            Layout("{kind}/{stem}", normal=NORMAL_NAMES),
        ),
    ),
    KnownSet(
        "meta",
        "images that a meta.json lists, as the field's published codes write it",
        (Layout("what meta.json names", masks=("its masks",)),),
        listing="meta",
    ),
    KnownSet(
        "csv",
        "images that a table lists: image, and mask, label, class or split",
        (Layout("what a table names", masks=("its masks",)),),
        listing="csv",
    ),
    KnownSet(
        "nifti",
        "NIfTI volumes with masks, judged slice by slice",
        (
            Layout("imagesTr/{stem}_0000", ("labelsTr/{stem}",), suffixes=NIFTI_SUFFIXES),
            Layout("imagesTr/{stem}", ("labelsTr/{stem}",), suffixes=NIFTI_SUFFIXES),
            Layout(
                "images/{stem}",
                ("masks/{stem}", "labels/{stem}", *(f"masks/{{stem}}{end}" for end in _BESIDE)),
                suffixes=NIFTI_SUFFIXES,
            ),
            Layout("{stem}", tuple(f"{{stem}}{end}" for end in _BESIDE), suffixes=NIFTI_SUFFIXES),
        ),
    ),
)
"""Arrangements rather than sets: ``mvtec:DIR``, ``folder:DIR``, ``meta:DIR``, ``csv:FILE`` and
``nifti:DIR``."""
