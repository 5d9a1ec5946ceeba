"""One pass of the frozen image tower for all models that read it alike.

HeadCLIP's and AnomalyCLIP's maps, and AdaCLIP's first pass, come from CLIP's own stream and from
value-value heads beside it, which never feed back. So models on the same weights, run with the same
activation, positions and precision, can read one pass block by block, whatever layers each wants.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.models.clip.vision import BlockOutput, VisionTower
from headclip_med.models.model import AnomalyModel
from headclip_med.prediction import Prediction


@runtime_checkable
class TrunkReader(Protocol):
    """Takes what it needs of a pass over one batch."""

    @property
    def local_layers(self) -> Collection[int]:
        """One-based layers whose value-value heads it wants."""

    def read(self, block: BlockOutput) -> None:
        """Take what it needs of a block; heads may be there that others wanted."""

    def finish(self) -> Prediction:
        """Give map and score, once the last block was read."""


@runtime_checkable
class ReadsTrunk(Protocol):
    """A model that can share its pass of the trunk with others."""

    vision: VisionTower

    def trunk_key(self, height: int, width: int) -> Hashable:
        """Tell passes apart: models with the same key see the same blocks at this size."""

    def prepare(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Move images in [0, 1] to the model's device, and normalise them."""

    def trunk_context(self) -> AbstractContextManager[object]:
        """Give what the blocks are run in: autocast, or nothing."""

    def reader(self, images: Float[Tensor, "batch 3 height width"]) -> TrunkReader:
        """Start reading a pass over prepared images."""


@torch.no_grad()
def run_trunk(
    models: Sequence[ReadsTrunk], images: Float[Tensor, "batch 3 height width"]
) -> list[Prediction]:
    """Run the first model's trunk once, and let all models read it.

    Args:
        models: At least one; all have the same ``trunk_key`` at this size.
        images: Values in [0, 1]; sides a multiple of the patch.

    Returns:
        What each model predicts, in their order.
    """
    first = models[0]
    prepared = first.prepare(images)
    readers = [model.reader(prepared) for model in models]
    wanted = frozenset[int]().union(*(reader.local_layers for reader in readers))
    with first.trunk_context():
        for block in first.vision.walk(prepared, wanted):
            for reader in readers:
                reader.read(block)
    return [reader.finish() for reader in readers]


def predict_together(
    models: Sequence[AnomalyModel], images: Float[Tensor, "batch 3 height width"]
) -> list[Prediction]:
    """Judge a batch with several models; those that can share a pass of the trunk do.

    Args:
        models: Of any kind; one that cannot share simply predicts.
        images: Values in [0, 1], of a size that fits all; sides a multiple of the patch.

    Returns:
        What each model predicts, in their order: the same as each one's ``predict``.
    """
    height, width = images.shape[-2:]
    found: dict[int, Prediction] = {}
    groups: dict[Hashable, list[tuple[int, ReadsTrunk]]] = {}
    for number, model in enumerate(models):
        if isinstance(model, ReadsTrunk):
            groups.setdefault(model.trunk_key(height, width), []).append((number, model))
        else:
            found[number] = model.predict(images)
    for group in groups.values():
        numbers, sharing = zip(*group, strict=True)
        found.update(zip(numbers, run_trunk(sharing, images), strict=True))
    return [found[number] for number in range(len(models))]
