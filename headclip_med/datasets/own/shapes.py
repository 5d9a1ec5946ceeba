"""What a folder that is not read looks like, and which command or option would read it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from headclip_med.datasets.layouts import NIFTI_SUFFIXES, NORMAL_NAMES, PICTURE_SUFFIXES
from headclip_med.datasets.walk import is_hidden
from headclip_med.errors import UnreadableInput

MASK_FOLDERS = (
    "masks", "mask", "ground_truth", "ground truth", "groundtruth", "gt", "labels", "label",
    "annotations", "annotation", "segmentations", "segmentation", "seg",
)  # fmt: skip
"""What folders of masks are called, in lower case."""

IMAGE_FOLDERS = (
    "images", "image", "imgs", "img", "original", "originals", "jpegimages", "pictures", "input",
)  # fmt: skip
"""What folders of images are called that are no classes, in lower case."""

FILES_AT_MOST = 5000
"""Files that are looked at to tell what a folder is."""

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".rar", ".7z")
_VOLUMES = (*NIFTI_SUFFIXES, ".nrrd", ".mha")

Said = tuple[str, str]
"""What it looks like, and what to do."""


def shape_refusal(path: Path, *, lacks_masks: bool = False) -> UnreadableInput:
    """Say what lies at a path, and which command or option reads it.

    Args:
        path: A folder, or a file that was given as one.
        lacks_masks: Its images were found, and none has a mask.
    """
    shape = _Shape(path)
    looks, advice = next(filter(None, (one(shape) for one in _KINDS)), _NOTHING)
    if lacks_masks and looks in (_FLAT, _NOTHING[0]):
        looks, advice = "images without masks or labels", _UNLABELLED
    return UnreadableInput(
        f"{path.name or 'The path'} is not laid out as 'folder:' reads it (one folder a class, or "
        f"images/ and masks/): it looks like {looks}.",
        advice,
        code="unknown-layout",
    )


@dataclass(frozen=True)
class _Shape:
    """The files below a path, as far as they tell what it is."""

    path: Path

    @cached_property
    def files(self) -> list[Path]:
        """Some files, from the path down; the file itself where it is one."""
        if not self.path.is_dir():
            return [Path(self.path.name)]
        return [one.relative_to(self.path) for one in self._some()]

    def _some(self) -> list[Path]:
        found: list[Path] = []
        for place, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            found += [Path(place) / name for name in sorted(names) if not is_hidden(name)]
            if len(found) > FILES_AT_MOST:
                break
        return found

    def whole(self, file: Path) -> Path:
        """The whole path of one of the files."""
        return self.path / file if self.path.is_dir() else self.path

    def ending(self, ends: Sequence[str]) -> list[Path]:
        """Those of some suffixes, in lower case."""
        return [one for one in self.files if one.name.lower().endswith(tuple(ends))]

    @cached_property
    def pictures(self) -> list[Path]:
        """The pictures."""
        return self.ending(PICTURE_SUFFIXES)


def _archive(shape: _Shape) -> Said | None:
    found = shape.ending(_ARCHIVES)
    if found and not shape.pictures and not shape.ending(NIFTI_SUFFIXES):
        return f"an archive ({found[0].name})", "Unpack it, and name the folder it unpacks into."
    return None


def _meta(shape: _Shape) -> Said | None:
    found = [one for one in shape.files if one.name.lower() == "meta.json"]
    return (
        ("a set with a meta.json", f"Name it as meta:{_at(shape, found[0].parent)}.")
        if found
        else None
    )


def _coco(shape: _Shape) -> Said | None:
    for one in shape.ending((".json",))[:20]:
        if {"images", "annotations"} <= _keys(
            shape.path / one if shape.path.is_dir() else shape.path
        ):
            return (
                f"COCO annotations ({one.name}), which are not read",
                "Draw them as masks, or list the images with their labels in a table, and name it "
                "as csv:FILE.",
            )
    return None


def _volumes(shape: _Shape) -> Said | None:
    if shape.ending(NIFTI_SUFFIXES):
        return (
            "NIfTI volumes",
            f"Name it as nifti:{_at(shape)} (imagesTr/ and labelsTr/, or alike).",
        )
    if shape.ending(_VOLUMES):
        return "volumes", "Convert them to NIfTI, and name the folder as nifti:DIR."
    if shape.ending((".dcm", ".ima")):
        return (
            "DICOM images",
            "Screen them with 'headclip batch'; to evaluate, convert them to PNG or NIfTI.",
        )
    return None


def _table(shape: _Shape) -> Said | None:
    found = shape.ending((".csv", ".tsv"))
    if not found:
        return None
    where = _at(shape, found[0]) if shape.path.is_dir() else _at(shape)
    return f"images with a table ({found[0].name})", f"Name the table, as csv:{where}."


def _boxes(shape: _Shape) -> Said | None:
    stems = {one.stem for one in shape.pictures}
    if sum(one.stem in stems for one in shape.ending((".txt", ".xml"))) >= 1:
        return (
            "images with boxes (YOLO or VOC), which are not read",
            "Draw them as masks, or list the images with their labels in a table, and name it as "
            "csv:FILE.",
        )
    return None


def _mvtec(shape: _Shape) -> Said | None:
    for one in shape.pictures:
        if "ground_truth" in one.parts[:-2] and "test" in {p for f in shape.files for p in f.parts}:
            return "a set in MVTec AD's layout", f"Name it as mvtec:{_at(shape)}."
    return None


def _masks(shape: _Shape) -> Said | None:
    folders = Counter(part for one in shape.pictures for part in set(one.parts[:-1]))
    found = [name for name in folders if name.lower() in MASK_FOLDERS]
    if not found:
        return None
    masks = [one for one in shape.pictures if found[0] in one.parts]
    rest = [one for one in shape.pictures if found[0] not in one.parts]
    suffix = _suffix_of([one.name for one in masks], {one.stem for one in rest})
    said = [f"--mask-folder {found[0]!r}" if " " in found[0] else f"--mask-folder {found[0]}"]
    said += [f"--mask-suffix {suffix}"] if suffix else []
    images = {one.parts[0] for one in rest if len(one.parts) > 1}
    if len(images) == 1 and not images & {"images", "train", "test"}:
        said.append(f"--image-folder {images.pop()}")
    return f"images with masks in {found[0]}/", f"Say {' '.join(said)}."


def _siblings(shape: _Shape) -> Said | None:
    stems = {one.stem for one in shape.pictures}
    names = [one.name for one in shape.pictures]
    suffix = _suffix_of(names, stems)
    return (
        ("images with their masks beside them", f"Say --mask-suffix {suffix}.") if suffix else None
    )


def _suffix_of(names: Sequence[str], images: set[str]) -> str:
    """What most masks' names have after their images'; empty where they are the same."""
    found: Counter[str] = Counter()
    for name in names:
        stem = name.rpartition(".")[0]
        cuts = (stem[:at] for at in range(len(stem) - 1, 0, -1) if not stem[at].isalnum())
        image = next((cut for cut in cuts if cut in images), stem)
        found[stem.removeprefix(image)] += any(letter.isalpha() for letter in stem[len(image) :])
    most, count = next(iter(found.most_common(1)), ("", 0))
    return most if count else ""


_FLAT = "pictures in one folder, without labels"
_UNLABELLED = (
    "Screen them with 'headclip screen DIR'; to evaluate, sort them into good/ and bad/, add "
    "masks/, or list them with their labels in a table, and name it as csv:FILE."
)


def _flat(shape: _Shape) -> Said | None:
    if not shape.pictures:
        return None
    if all(len(one.parts) == 1 for one in shape.pictures):
        return _FLAT, _UNLABELLED
    tops = {one.parts[0] for one in shape.pictures if len(one.parts) > 1}
    if len(tops) == 1:
        return (
            f"pictures of one class only ({tops.pop()}/)",
            "Put the others into a folder beside it; normal ones are known by a name such as "
            f"{', '.join(NORMAL_NAMES)}, or by --normal-class. To look at unlabelled pictures use "
            "'headclip screen DIR'.",
        )
    return None


_NOTHING: Said = (
    "nothing that is known, or holds no pictures",
    "Sort the images into good/ and bad/, or list them in a table, and name it as csv:FILE.",
)

_KINDS: tuple[Callable[[_Shape], Said | None], ...] = (
    _archive, _meta, _coco, _volumes, _table, _boxes, _mvtec, _masks, _siblings, _flat,
)  # fmt: skip


def _at(shape: _Shape, inner: Path = Path()) -> str:
    """Name a place inside, as DIR and what follows."""
    if not shape.path.is_dir():
        return "FILE"
    return "DIR" if inner == Path() else f"DIR/{inner.as_posix()}"


def _keys(file: Path) -> set[str]:
    try:
        found = json.loads(file.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return set()
    return set(found) if isinstance(found, dict) else set()
