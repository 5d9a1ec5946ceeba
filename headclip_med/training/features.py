"""Examples whose images need no second look: a method keeps what the frozen tower makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from torch.utils.data import Dataset

from headclip_med.training.batches import Example

Place = Literal["ram"] | Path
"""Where features are kept: in memory, or in files of a folder that the next training finds."""


@runtime_checkable
class KeptFeatures(Protocol):
    """What the frozen tower makes of numbered images, kept by a method that can do with it."""

    @property
    def complete(self) -> bool:
        """Whether the features of every image are there."""


class Remembered(Dataset[Example]):
    """Examples whose images are not read any more once all their features are known.

    Args:
        examples: The auxiliary images.
        features: Of these.
    """

    def __init__(self, examples: Dataset[Example], features: KeptFeatures) -> None:
        self._examples = examples
        self._features = features
        self._masks: dict[int, Example] = {}

    def __len__(self) -> int:
        """Count the images."""
        return len(self._examples)  # type: ignore[arg-type]

    def __getitem__(self, number: int) -> Example:
        """Give a numbered example, its image empty where its features are known."""
        known = self._masks.get(number)
        if known is not None and self._features.complete:
            return known._replace(mask=known.mask.float())
        example = self._examples[number]._replace(number=number)
        bare = example._replace(image=torch.empty(3, 0, 0))
        self._masks[number] = bare._replace(mask=example.mask.bool())
        return bare if self._features.complete else example
