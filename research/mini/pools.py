"""Pools of procedural pictures, drawn ahead in the background; batches fixed by (seed, step)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from headclip_med.models.clip.towers import tokenizer
from research.mini.corpus import draw_samples
from research.mini.corpus.samples import EMPHASIS_UNIT
from research.mini.settings import MiniSettings

_NICENESS = 15
"""How much the drawing process steps back behind the training process."""


class Pool(TypedDict):
    """Finished pictures with their captions as padded token numbers."""

    images: Tensor
    masks: Tensor
    emphasis: Tensor
    labels: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class PictureBatch:
    """What one step learns from."""

    images: Float[Tensor, "batch 3 height width"]
    """In [0, 1], apart from a gain and an offset."""
    masks: Float[Tensor, "batch rows columns"]
    """At the map's size: 1 where any pixel is defective."""
    emphasis: Float[Tensor, "batch rows columns"]
    """Weight of each defective place."""
    labels: Bool[Tensor, "batch"]
    tokens: Int[Tensor, "batch context"]
    mirrored: bool
    """Whether the captions' places are wrong."""


PHASE_POOLS = 1_000_000
"""Pools of a phase: the next one's are numbered from there on."""


class _Pools(Dataset[Pool]):
    """The endless row of pools, by number."""

    def __init__(self, settings: MiniSettings) -> None:
        self.settings = settings

    def __getitem__(self, index: int) -> Pool:
        settings = self.settings
        family = settings.families[index // PHASE_POOLS]
        samples = draw_samples(
            settings.seed, index, settings.pool_images, settings.image_px, family
        )
        return Pool(
            images=samples.images,
            masks=samples.masks,
            emphasis=samples.emphasis,
            labels=samples.labels,
            tokens=tokenizer(settings.context_length)(list(samples.captions)),
        )


def _step_back(_: int) -> None:
    torch.set_num_threads(1)
    os.nice(_NICENESS)


class Corpus:
    """Batches of the corpus.

    Step s draws from ``live_pools`` pools, the first of which is s // steps_per_pool; so a resumed
    run sees what an unbroken one would have seen. A corpus serves one phase: the steps before the
    closings, or one of these.
    """

    def __init__(self, settings: MiniSettings, first_step: int) -> None:
        self.settings = settings
        phase = settings.phase(first_step)
        self._first = (0, *settings.ends)[phase]
        self._offset = phase * PHASE_POOLS
        self._next = self._pool_of(first_step)
        last = self._pool_of(settings.ends[phase]) + settings.live_pools
        self._loader = self._load(range(self._next, last + 1))
        self._live: list[Pool] = []

    def _pool_of(self, step: int) -> int:
        return self._offset + (step - self._first) // self.settings.steps_per_pool

    def _load(self, numbers: range) -> Iterator[Pool]:
        settings = self.settings
        background = settings.workers > 0
        loader = DataLoader(
            _Pools(settings),
            batch_size=None,
            sampler=numbers,
            num_workers=settings.workers,
            prefetch_factor=2 if background else None,
            worker_init_fn=_step_back,
            multiprocessing_context="spawn" if background else None,
        )
        return iter(loader)

    def _pools(self, step: int) -> list[Pool]:
        wanted = self._pool_of(step) + self.settings.live_pools
        while self._next < wanted:
            self._live = [*self._live, next(self._loader)][-self.settings.live_pools :]
            self._next += 1
        return self._live

    def batch(self, step: int) -> PictureBatch:
        """The batch of a step, alike in every run; ask for steps in rising order."""
        settings = self.settings
        state = np.random.SeedSequence((settings.seed, 1, step)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
        pools = self._pools(step)
        pool = pools[int(torch.randint(len(pools), (1,), generator=generator))]
        rows = torch.randint(len(pool["labels"]), (settings.batch,), generator=generator)
        picture = torch.cat(
            [
                pool["images"][rows].float() / 255,
                pool["masks"][rows, None].float(),
                pool["emphasis"][rows, None].float() / EMPHASIS_UNIT,
            ],
            dim=1,
        )
        picture, mirrored = _mirror(picture, settings.flip, generator)
        images, truth = picture[:, :3], picture[:, 3:]
        images = _retone(images, generator)
        size = (settings.size_px(step),) * 2
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        truth = functional.adaptive_max_pool2d(truth, settings.map_px)
        labels, tokens = pool["labels"][rows], pool["tokens"][rows]
        return PictureBatch(images.contiguous(), truth[:, 0], truth[:, 1], labels, tokens, mirrored)


def _mirror(picture: Tensor, flip: float, generator: torch.Generator) -> tuple[Tensor, bool]:
    draws = torch.rand(5, generator=generator)
    if draws[0] >= flip:
        return picture, False
    if draws[1] < 0.6:
        picture = picture.flip(3)
    if draws[2] < 0.4:
        picture = picture.flip(2)
    if draws[3] < 0.3:
        picture = picture.transpose(2, 3)
    if draws[4] < 0.2:
        order = torch.randperm(3, generator=generator).tolist()
        picture = picture[:, [*order, 3, 4]]
    return picture, True


def _retone(images: Tensor, generator: torch.Generator) -> Tensor:
    count = len(images)
    gain = torch.exp(0.15 * torch.randn(count, 1, 1, 1, generator=generator))
    offset = 0.03 * torch.randn(count, 1, 1, 1, generator=generator)
    return (images - 0.5) * gain + 0.5 + offset
