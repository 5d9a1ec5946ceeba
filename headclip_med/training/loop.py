"""The loop that every learned method is trained in: repeatable, and resumable after any epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Batches, Example
from headclip_med.training.handlers import (
    EpochReport,
    KeepState,
    LossHistory,
    StepLog,
    StepReport,
    StopEarly,
    out_of_patience,
)
from headclip_med.training.network import BatchLoss, LearningNetwork
from headclip_med.training.processes import joined_ranks
from headclip_med.training.state import STATE_FILE, TrainingState
from headclip_med.training.trainer import Handler, build_trainer


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
    before = len(losses)
    if before >= settings.epochs or out_of_patience(losses, settings.patience):
        return losses
    loss = BatchLoss(network.terms_of, settings)
    history = LossHistory(loss, losses, report=report, report_epoch=report_epoch)
    handlers: list[Handler] = [history]
    if joined_ranks().first:
        handlers += [StepLog(folder, history), KeepState(state)]
    handlers.append(StopEarly(losses, settings.patience))
    trainer = build_trainer(
        network, batches, optimizer, loss,
        epochs=settings.epochs, epochs_before=before, handlers=handlers,
    )  # fmt: skip
    trainer.run()
    return losses


def optimiser_of(learned: list[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Build Adam, or AdamW where weights decay."""
    options = {"lr": settings.learning_rate, "betas": settings.betas}
    if settings.weight_decay:
        return torch.optim.AdamW(learned, weight_decay=settings.weight_decay, **options)  # type: ignore[arg-type]
    return torch.optim.Adam(learned, **options)  # type: ignore[arg-type]
