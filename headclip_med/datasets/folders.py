"""Sets kept as plain folders: one folder a class, or images beside a folder of masks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from headclip_med.datasets.samples import Sample
from headclip_med.errors import UnreadableInput

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"})

NORMAL_NAMES = frozenset({"good", "normal", "no", "ok", "free"})
"""Class folders of these names hold normal images, in any case of letters."""

# A folder of unlabelled pictures taken for a class would be counted as abnormal without a word.
_NO_CLASSES = frozenset(
    {"ground_truth", "images", "masks", "pred", "prediction", "predictions", "test", "train"}
    | {"unlabeled", "unlabelled", "val"}
)

JPEG_MASK_ABOVE = 127
"""JPEG blurs a mask's edges and speckles its background; the middle of the range undoes both."""


def pictures(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """List the pictures of a folder by name; hidden files and other formats are passed over.

    Raises:
        UnreadableInput: There is no such folder, it may not be read, or it holds no picture.
    """
    found = [
        path for path in entries(folder) if path.suffix.lower() in suffixes and not path.is_dir()
    ]
    if not found:
        raise UnreadableInput(
            f"The folder {folder.name} holds no pictures; fetch the set again, or remove the "
            "empty folder.",
            code="empty-class",
        )
    return found


def entries(folder: Path) -> list[Path]:
    """List what a folder holds by name, hidden entries apart.

    Raises:
        UnreadableInput: There is no such folder, or it may not be read.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise UnreadableInput(
            f"There is no readable folder {folder.name} where the set's layout wants one; check "
            "the path, its permissions, and the name of the layout.",
            code="missing-folder",
        ) from error
    return [path for path in found if not path.name.startswith((".", "__"))]


def class_folders(
    root: Path,
    *,
    category: str,
    normal: Iterable[str] | None = None,
    abnormal: Iterable[str] | None = None,
) -> list[Sample]:
    """Read a set that keeps each class in a folder of its own.

    Args:
        root: Holds the class folders.
        category: Of every sample.
        normal: Names of the folders of normal images; by default those of ``NORMAL_NAMES``.
        abnormal: Names of the others; by default every other folder is a kind of abnormality.

    Raises:
        UnreadableInput: A class is missing or empty, or a folder does not look like a class.
    """
    if normal is None or abnormal is None:
        normal, abnormal = _guess_classes(root)
    labelled: list[tuple[str, Literal[0, 1]]] = [(name, 0) for name in normal]
    labelled += [(name, 1) for name in abnormal]
    return [
        Sample(path, None, label, category)
        for name, label in labelled
        for path in pictures(root / name)
    ]


def paired_folders(
    root: Path,
    *,
    category: str,
    label: Literal[0, 1] | None = None,
    mask_above: int | None = None,
    renamed: tuple[str, str] = ("", ""),
) -> list[Sample]:
    """Read a set that keeps pictures in ``images/`` and masks of the same stem in ``masks/``.

    A mask's stem may also end in ``_mask`` or ``_segmentation``.

    Args:
        root: Holds the two folders.
        category: Of every sample.
        label: Of every sample; None leaves it to the mask.
        mask_above: See ``Sample``; by default it follows from the masks' format.
        renamed: A part of an image's stem, and what stands for it in the mask's.

    Raises:
        UnreadableInput: A folder is missing or empty, or an image has no mask.
    """
    masks = masks_by_stem(root / "masks")
    samples = []
    for path in pictures(root / "images"):
        stem = path.stem.replace(*renamed)
        stems = (stem, f"{stem}_mask", f"{stem}_segmentation")
        samples.append(with_mask(Sample(path, None, label, category), masks, stems, mask_above))
    return samples


def masks_by_stem(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """List masks by file name without suffix.

    Raises:
        UnreadableInput: The folder is missing or empty, or two masks share a name.
    """
    masks: dict[str, Path] = {}
    for path in pictures(folder, suffixes):
        if masks.setdefault(path.stem, path) != path:
            raise UnreadableInput(
                f"The masks {masks[path.stem].name} and {path.name} share a name, so it is unclear "
                "which belongs to the image; remove one.",
                code="two-masks",
            )
    return masks


def with_mask(
    sample: Sample, masks: dict[str, Path], stems: Iterable[str], mask_above: int | None = None
) -> Sample:
    """Give a sample the first mask that is found under one of the stems.

    Raises:
        UnreadableInput: There is none.
    """
    mask = next((masks[stem] for stem in stems if stem in masks), None)
    if mask is None:
        raise UnreadableInput(
            f"The image {sample.image_path.name} of {sample.category} has no mask of its name; "
            "fetch the masks again. Pairing by order would shift every mask after it.",
            code="missing-mask",
        )
    if mask_above is None:
        mask_above = JPEG_MASK_ABOVE if mask.suffix.lower() in (".jpg", ".jpeg") else 0
    return Sample(sample.image_path, mask, sample.label, sample.category, sample.split, mask_above)


def is_normal_name(name: str) -> bool:
    """Whether a class folder's name says that its images are normal."""
    return name.lower() in NORMAL_NAMES


def _guess_classes(root: Path) -> tuple[list[str], list[str]]:
    names = [path.name for path in entries(root) if path.is_dir()]
    strange = [name for name in names if name.lower() in _NO_CLASSES]
    if strange:
        raise UnreadableInput(
            f"The folder {strange[0]} beside the classes does not name a class, and its images "
            "would count as abnormal; move it away, or name the set's own layout.",
            code="not-a-class",
        )
    normal = [name for name in names if is_normal_name(name)]
    abnormal = [name for name in names if not is_normal_name(name)]
    if not normal or not abnormal:
        raise UnreadableInput(
            f"The folder {root.name} must hold a folder of normal images (named "
            f"{', '.join(sorted(NORMAL_NAMES))}) and at least one of abnormal ones, or images/ "
            "and masks/.",
            code="no-classes",
        )
    return normal, abnormal
