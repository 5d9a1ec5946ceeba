"""One labelled image, the set it belongs to, and how its pixels and its mask are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from headclip_med.errors import UnreadableInput

Split = Literal["train", "test"]

# What Pillow raises on a file that is broken, cut short or absurdly large.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


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
    """

    image_path: Path
    mask_path: Path | None
    label: Literal[0, 1] | None
    category: str
    split: Split = "test"
    mask_above: int = 0


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
    level: Literal["pixel", "image"]

    def __post_init__(self) -> None:
        """Refuse a set without images."""
        if not self.samples:
            raise UnreadableInput(
                f"The set {self.name} holds no images; check the folder and the layout's name.",
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
        for sample in self.samples:
            facts = (sample.category, sample.split, sample.label, sample.mask_above)
            digest.update(repr((facts, sample.image_path.name)).encode())
            for path in (sample.image_path, sample.mask_path):
                digest.update(_file_digest(path) if path else b"-")
        return digest.hexdigest()


def read_image(sample: Sample) -> UInt8[np.ndarray, "rows columns 3"]:
    """Read an image as red, green, blue in [0, 255].

    Grey images are shown three times, transparency is dropped, 16-bit levels keep their upper half.

    Raises:
        UnreadableInput: The file is missing, broken, or holds several pictures.
    """
    with _opened(sample.image_path) as picture:
        if picture.mode == "F":
            raise UnreadableInput(
                f"The image {sample.image_path.name} has floating-point values of no known range; "
                "save it with 8 or 16 bits per channel.",
                code="unknown-range",
            )
        if picture.mode.startswith("I"):
            deep = np.asarray(picture).clip(0, 65535) >> 8
            return np.repeat(deep.astype(np.uint8)[..., None], 3, axis=2)
        return np.array(picture.convert("RGB"))


def read_mask(sample: Sample) -> Bool[np.ndarray, "rows columns"]:
    """Read which pixels of a sample's image are abnormal.

    Returns:
        True where abnormal, at the image's own size; all False for a normal image without a mask.

    Raises:
        UnreadableInput: The mask is missing or broken, of another size than its image, or the
            sample is abnormal and has none.
    """
    with _opened(sample.image_path) as picture:
        size = picture.size
    if sample.mask_path is None:
        if sample.label == 0:
            return np.zeros(size[::-1], dtype=bool)
        raise UnreadableInput(
            f"The image {sample.image_path.name} is abnormal but has no mask; evaluate this set on "
            "image level.",
            code="no-mask",
        )
    with _opened(sample.mask_path) as mask:
        if mask.size != size:
            raise UnreadableInput(
                f"The mask {sample.mask_path.name} has {mask.size[0]} x {mask.size[1]} px, but its "
                f"image {sample.image_path.name} has {size[0]} x {size[1]}; find the mask that was "
                "drawn on this image.",
                code="mask-size",
            )
        return np.asarray(mask.convert("L")) > sample.mask_above


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; whatever then fails on its bytes is said with the file's name."""
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise UnreadableInput(
                    f"The file {path.name} holds several pictures, but one is needed; save the one "
                    "that is meant.",
                    code="several-pictures",
                )
            yield picture
    except FileNotFoundError as error:
        raise UnreadableInput(
            f"The file {path.name} is not there; fetch the set again, or correct the path.",
            code="missing-file",
        ) from error
    except _BROKEN as error:
        raise UnreadableInput(
            f"The file {path.name} is not a readable picture (empty, cut short or another format); "
            "fetch it again.",
            code="broken-picture",
        ) from error


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UnreadableInput(
            f"The file {path.name} cannot be read; check that it is there and its permissions.",
            code="missing-file",
        ) from error
