"""One labelled image, the set it belongs to, and how its pixels and its mask are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from headclip_med.errors import InvalidSettings, UnreadableInput
from headclip_med.settings import Plane
from headclip_med.volume import significant_bits

Split = Literal["train", "test"]
Level = Literal["pixel", "image"]

ORIENTATION_TAG = 0x0112

# What Pillow raises on a file that is broken, cut short or absurdly large.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


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
        mask_above: A mask's pixel is abnormal where its grey level (0 to 255) is above this: 0 for
            clean masks, whose values may be codes; 127 where compression blurred the edges.
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
    """

    name: str
    samples: tuple[Sample, ...]
    level: Level

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
    return Dataset("+".join(names), tuple(samples), datasets[0].level)


def read_image(sample: Sample) -> UInt8[np.ndarray, "rows columns 3"]:
    """Read an image as red, green, blue in [0, 255].

    The picture is upright by its EXIF orientation. Grey images are shown three times, transparency
    is dropped; of deeper levels the upper eight of the bits in use are kept.

    Raises:
        UnreadableInput: The file is missing, broken, or holds several pictures.
    """
    if sample.slices is not None and sample.slice_index is not None:
        return sample.slices.image(sample.image_path, sample.slice_index)
    with _opened(sample, sample.image_path) as picture:
        if picture.mode == "F":
            raise UnreadableInput(
                f"The image {sample.shown(sample.image_path)} has floating-point values of no "
                "known range.",
                "Save it with 8 or 16 bits per channel.",
                code="unknown-range",
            )
        if picture.mode.startswith("I"):
            deep = np.asarray(picture).clip(0, 65535)
            deep >>= significant_bits(float(deep.max())) - 8
            return np.repeat(deep.astype(np.uint8)[..., None], 3, axis=2)
        return np.array(picture.convert("RGB"))


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
    with _opened(sample, sample.image_path) as picture:
        size = picture.size
    if not sample.mask_paths:
        if sample.label == 0:
            return np.zeros(size[::-1], dtype=bool)
        raise UnreadableInput(
            f"The image {sample.shown(sample.image_path)} is abnormal but has no mask.",
            "Evaluate this set on image level.",
            code="no-mask",
        )
    marked = np.zeros(size[::-1], dtype=bool)
    for path in sample.mask_paths:
        marked |= read_mask_levels(path, sample, size) > sample.mask_above
    return marked


def read_mask_levels(
    path: Path, sample: Sample, size: tuple[int, int]
) -> UInt8[np.ndarray, "rows columns"]:
    """Read the grey levels of a mask, before any threshold.

    Args:
        path: The mask.
        sample: Whose mask it is, to be named in an error.
        size: Columns and rows of that image.

    Raises:
        UnreadableInput: The mask is missing, broken, or of another size.
    """
    with _opened(sample, path) as mask:
        if mask.size != size:  # drawn on the pixels as they are stored, before they were turned
            with Image.open(sample.image_path) as image:
                mask.getexif()[ORIENTATION_TAG] = image.getexif().get(ORIENTATION_TAG, 1)
            mask = ImageOps.exif_transpose(mask)
        if mask.size != size:
            raise UnreadableInput(
                f"The mask {sample.shown(path)} has {mask.size[0]} x {mask.size[1]} px, but its "
                f"image {sample.shown(sample.image_path)} has {size[0]} x {size[1]}.",
                "Find the mask that was drawn on this image.",
                code="mask-size",
            )
        return np.asarray(mask.convert("L"))


@contextmanager
def _opened(sample: Sample, path: Path) -> Iterator[Image.Image]:
    """Open a picture; whatever then fails on its bytes is said with the file's name."""
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise UnreadableInput(
                    f"The file {sample.shown(path)} holds several pictures, but one is needed.",
                    "Save the one that is meant.",
                    code="several-pictures",
                )
            yield ImageOps.exif_transpose(picture)
    except FileNotFoundError as error:
        raise UnreadableInput(
            f"The file {sample.shown(path)} is not there.",
            "Fetch the set again, or correct the path.",
            code="missing-file",
        ) from error
    except _BROKEN as error:
        raise UnreadableInput(
            f"The file {sample.shown(path)} is not a readable picture (empty, cut short or "
            "another format).",
            "Fetch it again.",
            code="broken-picture",
        ) from error


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
