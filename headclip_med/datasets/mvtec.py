"""The layout of MVTec AD, shared by MPDD, BTAD, DTD-Synthetic and others.

``CATEGORY/{train,test}/SPECIES/NNN.png`` with ``CATEGORY/ground_truth/SPECIES/NNN_mask.png``; the
species ``good`` (BTAD: ``ok``) is normal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from headclip_med.datasets.folders import (
    entries,
    is_normal_name,
    masks_by_stem,
    pictures,
    with_mask,
)
from headclip_med.datasets.samples import Dataset, Sample, Split
from headclip_med.errors import InvalidSettings

_SPLITS: tuple[Split, ...] = ("train", "test")


def mvtec(root: Path, categories: Sequence[str] | None = None) -> Dataset:
    """Read one category, or many, in the layout of MVTec AD.

    Args:
        root: A category's folder, or the folder that holds the categories.
        categories: Which of them; all by default.

    Raises:
        InvalidSettings: A category is unknown.
        UnreadableInput: A class is empty, or an abnormal image has no mask of its name.
    """
    if (root / "test").is_dir():
        folders = {root.resolve().name: root}
    else:
        folders = {path.name: path for path in entries(root) if (path / "test").is_dir()}
    for category in categories or ():
        if category not in folders:
            raise InvalidSettings(
                f"There is no category {category}; known here: {', '.join(folders) or 'none'}.",
                code="unknown-category",
            )
    chosen: Iterable[str] = folders if categories is None else categories
    samples = (sample for name in chosen for sample in _category(folders[name], name))
    return Dataset("mvtec", tuple(samples), "pixel")


def _category(folder: Path, category: str) -> Iterator[Sample]:
    for split in _SPLITS:
        if split == "train" and not (folder / split).is_dir():
            continue  # some mirrors leave it out, and nothing here trains on it
        for species in entries(folder / split):
            if species.is_dir():
                yield from _species(species, folder, category, split)


def _species(species: Path, folder: Path, category: str, split: Split) -> Iterator[Sample]:
    if is_normal_name(species.name):
        for path in pictures(species):
            yield Sample(path, None, 0, category, split)
        return
    masks = masks_by_stem(folder / "ground_truth" / species.name)
    for path in pictures(species):
        sample = Sample(path, None, 1, category, split)
        yield with_mask(sample, masks, (f"{path.stem}_mask", path.stem))
