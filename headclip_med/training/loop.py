"""The loop that every learned method is trained in: repeatable, and resumable after any epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from monai.engines.trainer import SupervisedTrainer
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Batch, Batches, Example
from headclip_med.training.handlers import (
    EpochReport,
    Handler,
    StepReport,
    followers,
    out_of_patience,
)
from headclip_med.training.network import BatchLoss, LearningNetwork
from headclip_med.training.state import STATE_FILE, TrainingState


def learn(  # noqa: PLR0913 - what learns, from what, how and where, each by its name
    network: LearningNetwork,
    examples: Dataset[Example],
    settings: TrainSettings,
    *,
    folder: Path,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
    report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
) -> list[float]:
    """Train with MONAI's trainer; deterministic for a seed on one device.

    After every epoch the state is saved to ``folder``, so that a stopped training can be resumed
    and ends with the weights that it would have had. Processes that have joined share each batch,
    and end with the weights that one would have had, up to rounding; the first writes.

    Args:
        network: Its model is changed in place.
        examples: The auxiliary images, equally sized.
        settings: Optimiser and schedule.
        folder: Gets ``training-state.pt`` and ``log.jsonl``; it must exist.
        resume: Go on from the state in ``folder``.
        report: Called after every step.
        report_epoch: Called after every epoch.

    Returns:
        Mean loss of each epoch.

    Raises:
        InvalidSettings: There is nothing to train on.
        UnusableWeights: There is no usable state to resume from.
    """
    batches = Batches(examples, settings.batch_size, seed=settings.seed)
    torch.manual_seed(settings.seed)
    optimizer = optimiser_of(network.learned, settings)
    state = TrainingState(folder / STATE_FILE, network.model, optimizer, settings)
    if resume:
        state.restore()
    losses = state.losses
    if len(losses) >= settings.epochs or out_of_patience(losses, settings.patience):
        return losses
    loss = BatchLoss(network.terms_of, settings)
    trainer = build_trainer(
        network, batches, optimizer, loss, epochs=settings.epochs, epochs_before=len(losses),
        handlers=followers(loss, state, report=report, report_epoch=report_epoch),
    )  # fmt: skip
    trainer.run()
    return losses


def optimiser_of(learned: list[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Build Adam, or AdamW where weights decay."""
    options = {"lr": settings.learning_rate, "betas": settings.betas}
    if settings.weight_decay:
        return torch.optim.AdamW(learned, weight_decay=settings.weight_decay, **options)  # type: ignore[arg-type]
    return torch.optim.Adam(learned, **options)  # type: ignore[arg-type]


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
        train_handlers=[batches, *handlers],
        decollate=False,
        optim_set_to_none=True,
    )
    trainer.state.epoch = epochs_before
    trainer.state.iteration = epochs_before * len(batches)
    # Its own logger repeats exceptions, which may quote a file's name; they reach the caller.
    trainer.logger = logging.Logger("trainer", logging.CRITICAL + 1)
    return trainer


def _shared(network: LearningNetwork) -> nn.Module:
    if not distributed.is_initialized():
        return network
    # The graph is the same in every step, and some parameters (AdaCLIP's first) have no part in it.
    return DistributedDataParallel(network, static_graph=True, broadcast_buffers=False)


def _placed(batch: Batch, device: torch.device, *_: object, **__: object) -> tuple[Batch, Batch]:
    """Give MONAI's trainer its inputs and targets: both lie in the batch."""
    here = batch.to(device)
    return here, here
