"""MONAI's trainer for the learned methods; the bundle's configuration builds the same one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from ignite.engine import Engine
from monai.engines.trainer import SupervisedTrainer
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from headclip_med.training.batches import Batch, Batches
from headclip_med.training.handlers import ShuffleByEpoch
from headclip_med.training.network import BatchLoss, LearningNetwork


@runtime_checkable
class Handler(Protocol):
    """A handler of MONAI, of ignite, or of this package."""

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""


def build_trainer(  # noqa: PLR0913 - MONAI's parts of a training, each by its name
    network: LearningNetwork,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    loss: BatchLoss,
    *,
    epochs: int,
    epochs_before: int = 0,
    handlers: Sequence[Handler] = (),
) -> SupervisedTrainer:
    """Build the trainer; ``run`` starts it.

    Where ``torch.distributed`` has been initialised, gradients are averaged over the processes.

    Args:
        network: Lies on the device that is trained on.
        batches: The auxiliary data.
        optimizer: Of ``network.learned``.
        loss: What is minimised.
        epochs: After which the training ends.
        epochs_before: Of a training that is resumed.
        handlers: Called in their order.
    """
    trainer = SupervisedTrainer(
        device=network.learned[0].device,
        max_epochs=epochs,
        train_data_loader=batches,
        network=_shared(network),
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=_placed,
        train_handlers=[ShuffleByEpoch(batches), *handlers],
        decollate=False,
        optim_set_to_none=True,
    )
    trainer.state.epoch = epochs_before
    trainer.state.iteration = epochs_before * len(batches)
    # Its own logger repeats exceptions, which may quote a file's name; they reach the caller.
    trainer.logger = logging.Logger("trainer", logging.CRITICAL + 1)
    return trainer


def _shared(network: LearningNetwork) -> torch.nn.Module:
    if not distributed.is_initialized():
        return network
    # The graph is the same in every step, and some parameters (AdaCLIP's first) have no part in it.
    return DistributedDataParallel(network, static_graph=True, broadcast_buffers=False)


def _placed(batch: Batch, device: torch.device, *_: object, **__: object) -> tuple[Batch, Batch]:
    """Give MONAI's trainer its inputs and targets: both lie in the batch."""
    here = batch.to(device)
    return here, here
