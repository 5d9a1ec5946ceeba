"""What is learned from, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from headclip_med.errors import InvalidSettings
from headclip_med.prediction import Images
from headclip_med.ranks import Ranks
from headclip_med.training.processes import joined_ranks

if TYPE_CHECKING:
    from ignite.engine import Engine


class Example(NamedTuple):
    """One image of the auxiliary data.

    Attributes:
        image: Values in [0, 1]; without pixels where what the image tower makes of it is kept.
        mask: 1 on abnormal pixels.
        label: 1 for an abnormal image.
        category: What is shown, in words; only AdaCLIP's sentences use it.
        number: Of the image in its data set, where that matters.
    """

    image: Float[Tensor, "3 height width"]
    mask: Float[Tensor, "size size"]
    label: int
    category: str = "object"
    number: int = -1


@runtime_checkable
class ChangesByEpoch(Protocol):
    """Examples that are not the same in every epoch."""

    def begin_epoch(self, epoch: int) -> None:
        """Give the examples of this epoch, from 1, from now on."""


Place = Literal["ram"] | Path
"""Where features are kept: in memory, or in files of a folder that the next training finds."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch, or this process's part of one.

    Attributes:
        images: Values in [0, 1]; none where what the image tower makes of them is known.
        masks: 1 on abnormal pixels.
        labels: 1 for abnormal images.
        categories: What each shows.
        numbers: Of each image in its data set.
        whole: Images of the batch over all processes.
        share: What this part's mean loss is multiplied with before processes average their
            gradients, so that every image of the whole batch weighs the same; 1 for one process.
    """

    images: Images
    masks: Float[Tensor, "batch rows columns"]
    labels: Tensor
    categories: tuple[str, ...]
    numbers: Tensor
    whole: int
    share: float = 1.0

    def to(self, device: torch.device | str) -> Batch:
        """Move what is computed with; numbers stay on the CPU."""
        images, masks, labels = (one.to(device) for one in (self.images, self.masks, self.labels))
        return replace(self, images=images, masks=masks, labels=labels)


class Batches(DataLoader[Example]):
    """Batches of examples, shuffled anew in every epoch; iterating gives one epoch.

    Processes that have joined share each batch: with the same ``batch_size`` they learn what one
    would.

    Args:
        examples: The auxiliary images, equally sized; or dictionaries of an example's fields.
        batch_size: Images per step, over all processes.
        seed: With the epoch it decides the order: a resumed training sees the same batches.

    Raises:
        InvalidSettings: There is nothing to train on.
    """

    def __init__(self, examples: Dataset[Example], batch_size: int, *, seed: int = 0) -> None:
        count = len(examples)  # type: ignore[arg-type]
        if not count:
            raise InvalidSettings(
                "There are no images to train on.", "Name a set that has some.", code="no-images"
            )
        self._parts = Parts(count, batch_size, seed, joined_ranks())
        super().__init__(examples, batch_sampler=self._parts)

    def begin_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 1, that is iterated next."""
        self._parts.epoch = epoch
        if isinstance(self.dataset, ChangesByEpoch):
            self.dataset.begin_epoch(epoch)

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer: each of its epochs has an order of its own."""
        from ignite.engine import Events  # evaluating does without ignite

        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self.begin_epoch(engine.state.epoch))

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Load the batches of the epoch, on the CPU."""
        for step, loaded in enumerate(super().__iter__()):
            shown: Any = Example(**loaded) if isinstance(loaded, dict) else loaded
            images, masks, labels, categories, numbers = shown
            own, whole = self._parts.sizes(step)
            share = own * self._parts.ranks.count / whole
            yield Batch(images, masks, labels, tuple(categories), numbers, whole, share)


class Parts(Sampler[list[int]]):
    """Numbers of the images in this process's part of each batch.

    Args:
        count: Of all images.
        batch_size: Images per step, over all processes.
        seed: See ``Batches``.
        ranks: Which process this is.
    """

    def __init__(self, count: int, batch_size: int, seed: int, ranks: Ranks) -> None:
        self.ranks = ranks
        self.epoch = 1
        self._count, self._batch_size, self._seed = count, batch_size, seed

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return -(-self._count // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Draw the order of the epoch; all processes draw the same."""
        generator = torch.Generator().manual_seed(self._seed + self.epoch)
        # A loader that shuffles draws one number before the order; so did every earlier training.
        torch.empty((), dtype=torch.int64).random_(generator=generator)
        order = torch.randperm(self._count, generator=generator).tolist()
        for start in range(0, self._count, self._batch_size):
            whole = order[start : start + self._batch_size]
            # A process without an image of its own takes part with one that counts nothing.
            yield whole[self.ranks.rank :: self.ranks.count] or whole[:1]

    def sizes(self, step: int) -> tuple[int, int]:
        """Count the images that this process, and all processes, have in a step from 0."""
        whole = min(self._batch_size, self._count - step * self._batch_size)
        return len(range(self.ranks.rank, whole, self.ranks.count)), whole


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
