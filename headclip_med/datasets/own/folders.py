"""Folders of images of anybody's own: which are classes, splits, images and masks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from headclip_med.datasets.layouts import PICTURE_SUFFIXES, KnownSet, Layout
from headclip_med.datasets.own.classes import Classes, resolve
from headclip_med.datasets.own.listing import split_names
from headclip_med.datasets.own.shapes import IMAGE_FOLDERS, MASK_FOLDERS, shape_refusal
from headclip_med.datasets.own.spec import SetOptions
from headclip_med.datasets.own.table import said_classes
from headclip_med.datasets.samples import Split
from headclip_med.datasets.scan import Scan, scan
from headclip_med.datasets.walk import entries
from headclip_med.errors import UnreadableInput

_USUAL_SUFFIXES = ("", "_mask", "_segmentation")
_SPLIT_FOLDERS = (
    "train", "training", "test", "testing", "val", "valid", "validation",
)  # fmt: skip
TAKEN = ("normal", "masks", "mask_suffix", "images")
"""Options that folders take."""


def scan_folders(known: KnownSet, folder: Path) -> Scan:
    """Find all images of a folder by how it lies: classes, splits, images and masks.

    Args:
        known: The layout ``folder``, with the options that a user gave.
        folder: Where the set is.

    Raises:
        UnreadableInput: Its class folders do not tell which is normal, or it lies in no way that is
            read: the error says what it looks like, and which command or option would do.
    """
    options = known.options
    options.require(TAKEN, known.name)
    if folder.exists() and not folder.is_dir():
        raise shape_refusal(folder)
    layouts, classes = _arranged(folder, options)
    try:
        found = scan(replace(known, layouts=layouts), folder)
    except UnreadableInput as problem:
        raise (shape_refusal(folder) if problem.code == "unknown-layout" else problem) from None
    if not any(one.mask_paths for one in found.samples) and any(
        one.code == "missing-mask" for one in found.problems
    ):
        raise shape_refusal(folder, lacks_masks=True)
    said = tuple(said_classes(classes)) if classes and "{kind}" in found.layout.images else ()
    return replace(found, passed_over=(*found.passed_over, *said))


def _arranged(folder: Path, options: SetOptions) -> tuple[tuple[Layout, ...], Classes | None]:
    """Write down the patterns that may fit a folder, and what its class folders mean."""
    inner = folders_in(folder) if folder.exists() else []
    apart = tuple(name for name in inner if _is_apart(name, options))
    splits = [name for name in inner if name.lower() in _SPLIT_FOLDERS]
    others = [name for name in inner if name not in splits and not _is_beside(name, options)]
    prefix, places = "", [folder]
    named: tuple[tuple[str, Split], ...] = (("test", "test"),)
    if splits and not others:
        prefix, places = "{split}/", [folder / name for name in splits]
        named = tuple(sorted(split_names(splits, "the folder").items()))
    kinds = sorted(
        dict.fromkeys(name for place in places if place.exists() for name in _kinds(place, options))
    )
    if not any(_has_pictures(place / name) for place in places for name in kinds):
        kinds = []
    if not kinds or _has_images_folder(places, options):
        if options.normal:
            raise UnreadableInput(
                f"There are no class folders in {folder.name}, so that none can be the normal one.",
                "Leave --normal-class out.",
                code="no-such-class",
            )
        return tuple(_layouts(prefix, options, (), named, apart)), None
    if len(kinds) > 1:
        _refuse_masks_beside([folder, *places], options)
    what, option = "class folders", "--normal-class NAME"
    classes = resolve(kinds, options.normal, what=what, option=option)
    return tuple(_layouts(prefix, options, classes.normal, named, apart)), classes


def _refuse_masks_beside(places: Sequence[Path], options: SetOptions) -> None:
    for name in dict.fromkeys(name for place in places for name in folders_in(place)):
        if name.lower() in MASK_FOLDERS and not options.masks:
            by_mvtec = name.lower() == "ground_truth" and "test" in folders_in(places[0])
            raise UnreadableInput(
                f"The folder {name} beside the classes does not name a class, and its images would "
                "count as abnormal.",
                "Read the set as mvtec:DIR, or move the folder away."
                if by_mvtec
                else f"Say --mask-folder {name} if it holds masks, or move it away.",
                code="not-a-class",
            )


def folders_in(folder: Path) -> list[str]:
    """List the names of the folders in a folder, hidden ones apart."""
    return [one.name for one in entries(folder) if one.is_dir()]


def _is_beside(name: str, options: SetOptions) -> bool:
    """Whether a folder holds masks, or images that have no classes."""
    beside = (*MASK_FOLDERS, *IMAGE_FOLDERS, options.images.lower())
    return name.lower() in beside or _is_apart(name, options)


def _is_apart(name: str, options: SetOptions) -> bool:
    return bool(options.masks) and name.lower() == options.masks.lower()


def _kinds(place: Path, options: SetOptions) -> Iterator[str]:
    """Yield the folders that may be classes."""
    for name in folders_in(place):
        if not _is_beside(name, options):
            yield name


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(
        name.lower().endswith(PICTURE_SUFFIXES) for _, _, names in os.walk(folder) for name in names
    )


def _has_images_folder(places: Sequence[Path], options: SetOptions) -> bool:
    wanted = (options.images or "images").lower()
    return any(name.lower() == wanted for place in places for name in folders_in(place))


def _layouts(
    prefix: str,
    options: SetOptions,
    normal: tuple[str, ...],
    splits: tuple[tuple[str, Split], ...],
    apart: tuple[str, ...],
) -> Iterator[Layout]:
    """Yield the arrangements in question, those with masks first."""
    ends = tuple(_ends(options))
    masks = options.masks or "masks"
    images = options.images or "images"

    def layout(place: str, mask_folders: Sequence[str]) -> Layout:
        patterns = [f"{one}/{{stem}}{end}" for one in mask_folders for end in ends]
        if options.mask_suffix:
            patterns += [f"{place}/{{stem}}{end}" for end in ends]
        return Layout(
            f"{place}/{{stem}}".lstrip("/"),
            masks=tuple(one.lstrip("/") for one in patterns),
            normal=normal,
            splits=splits,
            apart=apart,
        )

    start = prefix.rstrip("/")
    here = [f"{prefix}{masks}", *([f"{masks}/{start}"] if start else [])]
    yield layout(f"{prefix}{images}", here)
    if options.masks or options.mask_suffix:
        kind = f"{prefix}{{kind}}"
        beside = [f"{prefix}{masks}/{{kind}}", f"{masks}/{kind}", f"{prefix}{masks}", masks]
        yield layout(kind, [*dict.fromkeys(beside), f"{kind}/{masks}"])
        yield layout(f"{kind}/{images}", [f"{kind}/{masks}", f"{prefix}{masks}/{{kind}}"])
        yield layout(start, here)
    else:
        yield Layout(f"{prefix}{{kind}}/{images}/{{stem}}", normal=normal, splits=splits)
        yield Layout(f"{prefix}{{kind}}/{{stem}}", normal=normal, splits=splits)


def _ends(options: SetOptions) -> Iterator[str]:
    """Yield what a mask's name may have after its image's."""
    if not options.mask_suffix:
        yield from _USUAL_SUFFIXES
        return
    if "." in options.mask_suffix and not options.mask_suffix.lower().endswith(PICTURE_SUFFIXES):
        yield from (f"{options.mask_suffix}{end}" for end in PICTURE_SUFFIXES)
        return
    yield options.mask_suffix
