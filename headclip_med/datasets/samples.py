"""One labelled image, the set it belongs to, and how its pixels and its mask are read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from headclip_med.datasets.pixels.image import PictureSize, place_of, read_picture
from headclip_med.datasets.pixels.mask import PaintedMask, laid_on, read_painted
from headclip_med.datasets.report import Finding
from headclip_med.errors import InvalidSettings, UnreadableInput
from headclip_med.settings import Plane

Split = Literal["train", "test"]
Level = Literal["pixel", "image"]


@runtime_checkable
class SliceReader(Protocol):
    """What reads the slices of volumes; whoever opens a set of volumes provides it."""

    def cut(self, image_path: Path, mask_path: Path) -> tuple[int, Plane | None]:
        """Count the slices of a volume, and say which of the patient's planes they lie in, if any.

        Raises:
            UnreadableInput: A file cannot be read, or the mask lies on another grid.
        """

    def image(self, path: Path, index: int) -> UInt8[np.ndarray, "rows columns 3"]:
        """Read one slice, from 0, as red, green, blue in [0, 255]."""

    def mask(self, path: Path, index: int) -> Bool[np.ndarray, "rows columns"]:
        """Read which pixels of one slice, from 0, are abnormal."""


@dataclass(frozen=True)
class Sample:
    """One image of a set.

    Attributes:
        image_path: The picture.
        mask_path: The picture that marks what is abnormal; None where there is none.
        label: 1 abnormal, 0 normal, None where only the mask tells.
        category: The kind of thing shown; metrics are computed per category, then averaged.
        split: Sets without a split are all ``test``: nothing is ever trained on them.
        mask_above: A mask's pixel is abnormal where it is painted more strongly than this (0 to
            255): 0 for clean masks, whose values may be codes; 127 where compression blurred the
            edges. A mask that is found to be a JPEG is cut in the middle in any case.
        more_mask_paths: Further masks of the same image; what any of them marks is abnormal.
        slice_index: Which slice of a volume this is, from 0; None for a picture.
        plane: Which of the patient's planes that slice lies in, where this is known.
        slices: What reads it then.
        root: The set's folder, from which errors name files: sets have many of one name.
    """

    image_path: Path
    mask_path: Path | None
    label: Literal[0, 1] | None
    category: str
    split: Split = "test"
    mask_above: int = 0
    more_mask_paths: tuple[Path, ...] = ()
    slice_index: int | None = None
    plane: Plane | None = None
    slices: SliceReader | None = field(default=None, repr=False, compare=False)
    root: Path | None = field(default=None, repr=False, compare=False)

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """All masks of this image."""
        return (self.mask_path, *self.more_mask_paths) if self.mask_path else ()

    def shown(self, path: Path) -> str:
        """Name a file of the sample for an error; see ``shown``."""
        return shown(path, self.root)


def shown(path: Path, root: Path | None) -> str:
    """Name a file or folder by its path inside a set's folder, else by its name alone."""
    if root is not None and path != root and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name


@dataclass(frozen=True)
class Dataset:
    """A set of labelled images in a fixed order.

    Attributes:
        name: As used in tables, for example ``"BrainMRI"``.
        samples: Ordered by category, split and file name.
        level: ``pixel`` where abnormal images have masks, ``image`` where only labels exist.
        findings: What was noticed beside the images, such as files that were passed over.
    """

    name: str
    samples: tuple[Sample, ...]
    level: Level
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a set without images."""
        if not self.samples:
            raise UnreadableInput(
                f"The set {self.name} holds no images.",
                "Check the folder and the layout's name.",
                code="empty-dataset",
            )

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories, in order, each once."""
        return tuple(dict.fromkeys(sample.category for sample in self.samples))

    def split(self, name: Split) -> Dataset:
        """Keep one split.

        Raises:
            UnreadableInput: It has no images.
        """
        return replace(self, samples=tuple(s for s in self.samples if s.split == name))

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 over labels and the bytes of images and masks: equal wherever the set lies."""
        digest = hashlib.sha256(self.level.encode())
        files: dict[Path, bytes] = {}  # every slice of a volume has the same one
        for sample in self.samples:
            facts = (sample.category, sample.split, sample.label, sample.mask_above)
            slices = () if sample.slice_index is None else (sample.plane, sample.slice_index)
            digest.update(repr((facts, sample.image_path.name, *slices)).encode())
            for path in (sample.image_path, sample.mask_path, *sample.more_mask_paths):
                if path and path not in files:
                    files[path] = file_digest(path)
                digest.update(files[path] if path else b"-")
        return digest.hexdigest()


def join_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """Put several sets together, for training on all of them.

    Categories are called ``SET/CATEGORY``, so that two sets may have categories of one name.

    Args:
        datasets: At least one; a single one is returned as it is.

    Raises:
        InvalidSettings: There is none, one is given twice, or some have masks and others do not.
    """
    names = [dataset.name for dataset in datasets]
    levels = {dataset.level for dataset in datasets}
    paths = [path for dataset in datasets for path in {s.image_path for s in dataset.samples}]
    if not paths or len(set(paths)) < len(paths):
        raise InvalidSettings(
            "No set was named, or one was named twice.",
            "Name at least one set, and each of them once.",
            code="no-datasets",
        )
    if len(levels) > 1:
        plain = ", ".join(dataset.name for dataset in datasets if dataset.level == "image")
        raise InvalidSettings(
            f"Sets with masks cannot be joined with sets without ({plain}): what is learned from "
            "masks would be learned from some images only.",
            "Leave those out, or use them alone.",
            code="mixed-levels",
        )
    if len(datasets) == 1:
        return datasets[0]
    samples = (
        replace(sample, category=f"{dataset.name}/{sample.category}")
        for dataset in datasets
        for sample in dataset.samples
    )
    findings = tuple(one for dataset in datasets for one in dataset.findings)
    return Dataset("+".join(names), tuple(samples), datasets[0].level, findings)


def read_image(sample: Sample) -> UInt8[np.ndarray, "rows columns 3"]:
    """Read an image as red, green, blue in [0, 255], as it would be screened.

    The picture is upright by its EXIF orientation. Grey images are shown three times, transparency
    is laid over black unless it is the same everywhere, and deeper levels are shown by the bits in
    use.

    Raises:
        UnreadableInput: The file is missing, broken, or holds several pictures.
    """
    if sample.slices is not None and sample.slice_index is not None:
        return sample.slices.image(sample.image_path, sample.slice_index)
    return read_picture(sample.image_path, sample.shown(sample.image_path))


def read_mask(sample: Sample) -> Bool[np.ndarray, "rows columns"]:
    """Read which pixels of a sample's image are abnormal.

    Returns:
        True where abnormal, on the upright image; all False for a normal image without a mask.

    Raises:
        UnreadableInput: The mask is missing or broken, of another size than its image, or the
            sample is abnormal and has none.
    """
    if sample.slices is not None and sample.slice_index is not None and sample.mask_path:
        return sample.slices.mask(sample.mask_path, sample.slice_index)
    if not sample.mask_paths and sample.label != 0:
        raise UnreadableInput(
            f"The image {sample.shown(sample.image_path)} is abnormal but has no mask.",
            "Evaluate this set on image level.",
            code="no-mask",
        )
    if not sample.mask_paths:
        return np.zeros(_place(sample)[:2], dtype=bool)
    return joined_masks(read_painted_masks(sample))


def joined_masks(masks: Sequence[PaintedMask]) -> Bool[np.ndarray, "rows columns"]:
    """Mark what any of an image's masks marks; there is at least one."""
    return np.asarray(np.logical_or.reduce([one.marked for one in masks]))


def read_painted_masks(sample: Sample) -> tuple[PaintedMask, ...]:
    """Read the masks of a picture, each laid on its upright image.

    Raises:
        UnreadableInput: A mask is missing, broken, or of another size than its image.
    """
    place = _place(sample)
    return tuple(_laid(path, sample, place) for path in sample.mask_paths)


def _place(sample: Sample) -> PictureSize:
    return place_of(sample.image_path, sample.shown(sample.image_path))


def _laid(path: Path, sample: Sample, place: PictureSize) -> PaintedMask:
    mask, image = sample.shown(path), sample.shown(sample.image_path)
    painted, own = read_painted(path, mask, sample.mask_above)
    found = laid_on(painted, own, place)
    if found is not None:
        return found
    rows, columns = painted.levels.shape
    is_turned = (columns, rows) == place[:2]
    raise UnreadableInput(
        f"The mask {mask} has {columns} x {rows} px, but its image {image} has "
        f"{place.columns} x {place.rows}{', as if one of them were turned' * is_turned}.",
        "Find the mask that was drawn on this image"
        + (", or turn it as its image is." if is_turned else "."),
        code="mask-size",
    )


def file_digest(path: Path) -> bytes:
    """SHA-256 over a file.

    Raises:
        UnreadableInput: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UnreadableInput(
            f"The file {path.name} cannot be read.",
            "Check that it is there and its permissions.",
            code="missing-file",
        ) from error
