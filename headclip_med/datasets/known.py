"""The sets we know by name, as one table, and the one function that opens any of them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headclip_med.datasets.folders import (
    JPEG_MASK_ABOVE,
    class_folders,
    masks_by_stem,
    paired_folders,
    pictures,
    with_mask,
)
from headclip_med.datasets.mvtec import mvtec
from headclip_med.datasets.samples import Dataset, Sample
from headclip_med.errors import InvalidSettings, UnreadableInput


@dataclass(frozen=True)
class KnownSet:
    """How one public set lies on disk.

    Attributes:
        domain: Where its images come from.
        level: ``pixel`` where abnormal images have masks.
        form: ``classes`` one folder a class; ``paired`` images/ and masks/; ``beside`` classes
            whose masks lie beside the images as ``.png``; ``numbered`` one folder and a table.
        normal: Folders of normal images.
        abnormal: Folders of abnormal images.
        mask_above: See ``Sample``; None lets it follow from the masks' format.
        renamed: A part of an image's stem, and what stands for it in its mask's.
    """

    domain: Literal["industrial", "medical"]
    level: Literal["pixel", "image"]
    form: Literal["classes", "paired", "beside", "numbered"]
    normal: tuple[str, ...] = ()
    abnormal: tuple[str, ...] = ()
    mask_above: int | None = None
    renamed: tuple[str, str] = ("", "")


KNOWN_SETS = {
    "BrainMRI": KnownSet("medical", "image", "classes", ("no",), ("yes",)),
    "HeadCT": KnownSet("medical", "image", "numbered"),
    "COVID": KnownSet("medical", "image", "classes", ("normal",), ("covid", "viral_pneumonia")),
    "BUSI": KnownSet("medical", "image", "classes", ("normal",), ("benign", "malignant")),
    "KvasirSEG": KnownSet("medical", "pixel", "paired"),
    "ISIC2017": KnownSet("medical", "pixel", "paired", renamed=("imgx", "imgy")),
    "DDTI_thyroid": KnownSet("medical", "pixel", "paired"),
    "magnetic_tile": KnownSet(
        "industrial",
        "pixel",
        "beside",
        ("MT_Free",),
        ("MT_Blowhole", "MT_Break", "MT_Crack", "MT_Fray", "MT_Uneven"),
        JPEG_MASK_ABOVE,  # its .png masks were made from blurred ones
    ),
}
"""The single sets; ``mvtec`` and ``folder`` are layouts that any set may have."""


def open_dataset(spec: str) -> Dataset:
    """Open a set given as ``LAYOUT:FOLDER``.

    Args:
        spec: The layout is ``mvtec``, ``folder`` (class folders, or images/ and masks/), or a name
            of ``KNOWN_SETS``.

    Raises:
        InvalidSettings: The layout is unknown or the folder is left out.
        UnreadableInput: The folder does not have that layout, or a file of it is missing.
    """
    layout, _, folder = spec.partition(":")
    root = Path(folder)
    if not folder or (layout not in _LAYOUTS and layout not in KNOWN_SETS):
        raise InvalidSettings(
            "A set is given as LAYOUT:FOLDER, where LAYOUT is one of "
            f"{', '.join((*_LAYOUTS, *KNOWN_SETS))}.",
            code="unknown-dataset",
        )
    if not root.is_dir():
        raise UnreadableInput(
            f"There is no folder for the set {layout} at the path given; correct the path.",
            code="missing-folder",
        )
    if layout in _LAYOUTS:
        return _LAYOUTS[layout](root)
    known = KNOWN_SETS[layout]
    return Dataset(layout, tuple(_FORMS[known.form](root, layout, known)), known.level)


def _folder(root: Path) -> Dataset:
    name = root.resolve().name
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return Dataset(name, tuple(paired_folders(root, category=name)), "pixel")
    return Dataset(name, tuple(class_folders(root, category=name)), "image")


def _classes(root: Path, name: str, known: KnownSet) -> list[Sample]:
    return class_folders(root, category=name, normal=known.normal, abnormal=known.abnormal)


def _paired(root: Path, name: str, known: KnownSet) -> list[Sample]:
    return paired_folders(
        root, category=name, label=1, mask_above=known.mask_above, renamed=known.renamed
    )


def _beside(root: Path, name: str, known: KnownSet) -> list[Sample]:
    samples = []
    for folder in (*known.normal, *known.abnormal):
        inner = root / folder / "Imgs"  # as first published; other copies leave this level out
        place = inner if inner.is_dir() else root / folder
        images = pictures(place, {".jpg"})
        if folder in known.normal:
            samples += [Sample(path, None, 0, name) for path in images]
            continue
        masks = masks_by_stem(place, {".png"})
        samples += [
            with_mask(Sample(path, None, 1, name), masks, (path.stem,), known.mask_above)
            for path in images
        ]
    return samples


def _numbered(root: Path, name: str, known: KnownSet) -> list[Sample]:
    labels = _head_ct_labels(root)
    samples = []
    for path in pictures(root):
        number = int(path.stem) if path.stem.isdecimal() else -1
        if number not in labels:
            raise UnreadableInput(
                f"The image {path.name} has no label in {name}, whose images are numbered; remove "
                "it, or fetch the set again.",
                code="missing-label",
            )
        samples.append(Sample(path, None, labels[number], name))
    return samples


def _head_ct_labels(root: Path) -> dict[int, Literal[0, 1]]:
    """Read the set's own labels.csv, beside the images or above them; else its known numbering.

    In the set as published, 000 to 099 show a haemorrhage and 100 to 199 do not.
    """
    table = next(
        (f for f in (root / "labels.csv", root.parent / "labels.csv") if f.is_file()), None
    )
    if table is None:
        return {number: 1 if number < 100 else 0 for number in range(200)}
    try:
        with table.open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        return {int(row[0]): 1 if int(row[1]) else 0 for row in rows if row}
    except (OSError, ValueError, IndexError) as error:
        raise UnreadableInput(
            "The table labels.csv must hold a header, then a number and a 0 or 1 a line; fetch it "
            "again.",
            code="bad-labels",
        ) from error


_LAYOUTS: dict[str, Callable[[Path], Dataset]] = {"mvtec": mvtec, "folder": _folder}
_FORMS: dict[str, Callable[[Path, str, KnownSet], list[Sample]]] = {
    "classes": _classes,
    "paired": _paired,
    "beside": _beside,
    "numbered": _numbered,
}
