"""What a set says of its images, on the grid that a model sees them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from headclip_med.datasets import Dataset, Sample, read_mask
from headclip_med.errors import InvalidSettings
from headclip_med.metrics.scores import release
from headclip_med.pipelines.examples import resize_mask

MakeArray = Callable[[str, tuple[int, ...], type], Shaped[np.ndarray, "..."]]
"""Gives room for an array of a name, a shape and a type: in memory, or in a file."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The images of a set and what is known of them.

    Attributes:
        ids: The number of each image among the samples of the set's ``test`` split.
        units: What a bootstrap draws as a whole: slices of one volume belong together, any other
            image stands for itself, since no set's layout names patients.
        labels: Whether an image is abnormal.
        masks: Which of its pixels are, resized as the published methods do; None without masks.
        grey: The images, in [0, 1].
        has_vanished: Where a mask marked something too small to survive the resizing.
    """

    ids: Int[np.ndarray, "images"]
    units: Int[np.ndarray, "images"]
    labels: Bool[np.ndarray, "images"]
    masks: Bool[np.ndarray, "images size size"] | None
    grey: Float[np.ndarray, "images size size"]
    has_vanished: Bool[np.ndarray, "images"]

    @classmethod
    def blank(cls, count: int, side: int, make: MakeArray, *, has_masks: bool) -> Truth:
        """Make room for so many images of this size."""
        square = (count, side, side)
        return cls(
            ids=make("ids", (count,), np.int64),
            units=make("units", (count,), np.int64),
            labels=make("labels", (count,), np.bool_),
            masks=make("masks", square, np.bool_) if has_masks else None,
            grey=make("grey", square, np.float32),
            has_vanished=make("has_vanished", (count,), np.bool_),
        )

    def fill(self, chosen: Chosen) -> None:
        """Write down all but the images themselves, which are read in batches."""
        self.ids[:] = chosen.ids
        self.units[:] = chosen.units
        for number, sample in enumerate(chosen.samples):
            self._fill_one(number, sample)

    def _fill_one(self, number: int, sample: Sample) -> None:
        if self.masks is None:
            self.labels[number], self.has_vanished[number] = sample.label == 1, False
            return
        mask = read_mask(sample)
        small = resize_mask(mask, self.grey.shape[-1])
        self.labels[number] = mask.any() if sample.label is None else sample.label == 1
        self.masks[number] = small
        release(self.masks)
        self.has_vanished[number] = mask.any() and not small.any()


@dataclass(frozen=True)
class Chosen:
    """The images that are judged.

    Attributes:
        samples: In the set's order, category by category.
        ids: The number of each among the samples of the ``test`` split.
    """

    samples: tuple[Sample, ...]
    ids: tuple[int, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of each."""
        return tuple(sample.category for sample in self.samples)

    @property
    def units(self) -> list[int]:
        """The number of what each is drawn with: its volume, or itself."""
        keys = [
            number if sample.slice_index is None else sample.image_path
            for number, sample in enumerate(self.samples)
        ]
        known = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return [known[key] for key in keys]

    def parts(self) -> dict[str, slice]:
        """Say where each category stands."""
        return parts_of(self.categories)


def parts_of(categories: Sequence[str]) -> dict[str, slice]:
    """Say where each category stands, given that each stands in one piece."""
    starts = {name: categories.index(name) for name in dict.fromkeys(categories)}
    return {name: slice(at, at + categories.count(name)) for name, at in starts.items()}


def choose(dataset: Dataset, limit: int | None) -> Chosen:
    """Choose the images of a set's ``test`` split that are judged.

    Args:
        dataset: The set.
        limit: At most this many of each category, evenly spread over its list; all by default.

    Raises:
        InvalidSettings: ``limit`` is below 1.
        UnreadableInput: There is no such image.
    """
    if limit is not None and limit < 1:
        raise InvalidSettings("limit must be at least 1.")
    tested = dataset.split("test")
    numbers: list[int] = []
    for category in tested.categories:
        own = [n for n, sample in enumerate(tested.samples) if sample.category == category]
        numbers += _thinned(own, limit)
    return Chosen(tuple(tested.samples[number] for number in numbers), tuple(numbers))


def _thinned(numbers: Sequence[int], limit: int | None) -> Sequence[int]:
    if limit is None or len(numbers) <= limit:
        return numbers
    return [numbers[at] for at in np.linspace(0, len(numbers) - 1, limit).round().astype(int)]
