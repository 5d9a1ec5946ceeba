"""Handlers of a training on MONAI's trainer: what is recorded, kept and stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from ignite.engine import Engine, Events
from torch import distributed

from headclip_med.training.batches import Batch
from headclip_med.training.network import BatchLoss
from headclip_med.training.processes import joined_ranks
from headclip_med.training.state import TrainingState

LOG_FILE = "log.jsonl"


@runtime_checkable
class Handler(Protocol):
    """A handler of MONAI, of ignite, or of this package."""

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""


@dataclass(frozen=True)
class StepReport:
    """Where a training is.

    Attributes:
        epoch: From 1.
        step: From 1, within the epoch.
        steps: In an epoch.
        loss: Total of this step.
        terms: Its parts.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    terms: dict[str, float]


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to.

    Attributes:
        epoch: From 1.
        loss: Mean over its steps.
        terms: Means of the parts.
    """

    epoch: int
    loss: float
    terms: dict[str, float]


class LossHistory:
    """Averages the loss over processes and epochs, and ends a training where it stops falling.

    MONAI's ``EarlyStopHandler`` forgets what it has seen when a training is resumed.

    ``engine.state.metrics`` gets the means of each epoch, for MONAI's and ignite's handlers.

    Args:
        loss: The trainer's loss function.
        losses: Mean of each epoch; those that a resumed training has behind it are there already.
        patience: See ``out_of_patience``.
        report: Called after every step.
        report_epoch: Called after every epoch.

    Attributes:
        losses: With every epoch one more.
        steps: Of the epoch that runs, or has just ended.
    """

    def __init__(
        self,
        loss: BatchLoss,
        losses: list[float] | None = None,
        *,
        patience: int = 0,
        report: Callable[[StepReport], None] = lambda step: None,
        report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
    ) -> None:
        self.losses = losses if losses is not None else []
        self.steps: list[StepReport] = []
        self._patience = patience
        self._loss, self._report, self._report_epoch = loss, report, report_epoch

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.steps.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)

    def _step(self, engine: Engine) -> None:
        state: Any = engine.state  # MONAI adds the device
        values = over_processes(self._loss.last, state.batch, state.device)
        number = (state.iteration - 1) % state.epoch_length + 1
        step = StepReport(state.epoch, number, state.epoch_length, values["loss"], values)
        self.steps.append(step)
        self._report(step)

    def _epoch(self, engine: Engine) -> None:
        count, names = len(self.steps), self.steps[0].terms
        means = {name: sum(step.terms[name] for step in self.steps) / count for name in names}
        engine.state.metrics.update(means)
        self.losses.append(means["loss"])
        self._report_epoch(EpochReport(engine.state.epoch, means["loss"], means))
        if out_of_patience(self.losses, self._patience):
            engine.terminate()


class StepLog:
    """Writes a line of JSON for every step, an epoch at a time.

    Args:
        folder: Gets ``log.jsonl``.
        history: Whose steps are written.
    """

    def __init__(self, folder: Path, history: LossHistory) -> None:
        self._path, self._history = folder / LOG_FILE, history

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _open(self, engine: Engine) -> None:
        """Keep the lines of the epochs that a resumed training has behind it, and no others."""
        behind = engine.state.epoch
        lines = self._path.read_text().splitlines() if behind and self._path.exists() else []
        kept = [line for line in lines if json.loads(line)["epoch"] <= behind]
        self._path.write_text("".join(f"{line}\n" for line in kept))

    def _write(self) -> None:
        with self._path.open("a") as log:
            log.writelines(f"{json.dumps(asdict(step))}\n" for step in self._history.steps)


def read_log(folder: Path) -> list[StepReport]:
    """Read the steps of a training; none where it has no log."""
    path = folder / LOG_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [StepReport(**json.loads(line)) for line in lines]


def followers(
    loss: BatchLoss,
    state: TrainingState,
    *,
    report: Callable[[StepReport], None] = lambda step: None,
    report_epoch: Callable[[EpochReport], None] = lambda epoch: None,
) -> list[Handler]:
    """Give the handlers that every training has; what is written, the first process writes.

    Args:
        loss: The trainer's loss function.
        state: Of the training; the log stands beside its file.
        report: Called after every step.
        report_epoch: Called after every epoch.
    """
    history = LossHistory(
        loss, state.losses, patience=state.settings.patience,
        report=report, report_epoch=report_epoch,
    )  # fmt: skip
    return (
        [history, StepLog(state.path.parent, history), state] if joined_ranks().first else [history]
    )


def out_of_patience(losses: list[float], patience: int) -> bool:
    """Tell whether the lowest mean loss lies ``patience`` epochs back; never where that is 0."""
    if not patience or not losses:
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= patience


def over_processes(
    values: dict[str, float], batch: Batch, device: torch.device
) -> dict[str, float]:
    """Average values of this process's part of a batch over all processes, by image."""
    if not distributed.is_initialized():
        return dict(values)
    count = distributed.get_world_size()
    together = torch.tensor(list(values.values()), device=device) * batch.share / count
    distributed.all_reduce(together)
    return dict(zip(values, together.tolist(), strict=True))
