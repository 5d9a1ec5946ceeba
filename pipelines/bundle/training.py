"""HeadCLIP's training as the parts that ``configs/train.json`` names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.trainer import SupervisedTrainer
from monai.inferers.inferer import Inferer
from torch import distributed

from headclip_med.datasets import Dataset
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.datasets import open_datasets
from headclip_med.evaluation.examples import Examples
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip.loading import load_backbone
from headclip_med.models.clip.weights import Activation
from headclip_med.models.headclip.learning import headclip_network, headclip_terms
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.inference import Precision
from headclip_med.pipelines.bundle.tracking import fail_runs
from headclip_med.pipelines.train import healthy_threshold, training_record
from headclip_med.ranks import torchrun_ranks
from headclip_med.settings import ScoreSettings, TrainSettings, usual_headclip
from headclip_med.training.batches import Batches
from headclip_med.training.handlers import KeepState, LossHistory, StepLog, StopEarly
from headclip_med.training.loop import optimiser_of
from headclip_med.training.network import BatchLoss, LearningNetwork
from headclip_med.training.processes import joined_ranks, own_device
from headclip_med.training.state import STATE_FILE, TrainingState
from headclip_med.training.trainer import build_trainer

CHECKPOINT_FILE = "headclip.safetensors"
"""What a training leaves for ``inference.json``'s ``model`` and for ``headclip screen --model``."""


def open_data(dataset_dir: Any, layout: str) -> Dataset | None:
    """Open a labelled set.

    Args:
        dataset_dir: Its folder; None where a training is not validated.
        layout: ``mvtec``, ``folder``, ``nifti``, or the name of a set.

    Raises:
        InvalidSettings: The layout is unknown.
        UnreadableInput: The folder does not have that layout.
    """
    if dataset_dir is None:
        return None
    return open_datasets([f"{layout}:{Path(str(dataset_dir)).expanduser()}"])


class TrainExamples(Examples):
    """Images and masks to learn from.

    Args:
        data: As ``open_data`` gives it.
        network: Whose input size they are resized to.
    """

    def __init__(self, data: Dataset, network: LearningNetwork) -> None:
        super().__init__(data, headclip_of(network).image_size)
        self.data = data


def learning_network(
    backbone: str,
    *,
    weights: str | Path | None = None,
    activation: Activation | None = None,
    precision: Precision = "fp32",
    seed: int = 111,
) -> LearningNetwork:
    """Build HeadCLIP in training on a frozen backbone.

    Args:
        backbone: As for ``load_backbone``.
        weights: Of the backbone: a file, a tag, or ``random``.
        activation: What they were trained with, for files that do not tell.
        precision: ``bf16`` runs the towers' products in bfloat16.
        seed: Of the fresh prompts.

    Raises:
        InvalidSettings: The backbone is unknown.
        UnusableWeights: There are no weights, or they do not fit.
    """
    towers = load_backbone(backbone, weights=weights, activation=activation)
    model = HeadClip(towers, usual_headclip(towers.name), seed=seed)
    return headclip_network(model, precision=precision)


def learning_optimizer(network: LearningNetwork, settings: TrainSettings) -> torch.optim.Optimizer:
    """Build the optimiser of what learns."""
    return optimiser_of(network.learned, settings)


def training_loss(settings: TrainSettings) -> BatchLoss:
    """Build HeadCLIP's loss (eq. 10 and 11)."""
    return BatchLoss(headclip_terms(settings), settings.local_weight)


def training_state(
    network: LearningNetwork,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    *,
    ckpt_dir: str | Path,
    resume: bool = False,
) -> TrainingState:
    """Give the state of a training, of an earlier one where it is resumed.

    Args:
        network: Learns.
        optimizer: Of what learns.
        settings: What it is run with.
        ckpt_dir: Where the state is kept.
        resume: Go on with the training that left its state there.

    Raises:
        InvalidSettings: The folder holds a finished training that would be overwritten.
        UnusableWeights: There is no usable state to resume from.
    """
    folder = Path(ckpt_dir)
    if (folder / CHECKPOINT_FILE).exists() and not resume:
        raise InvalidSettings(
            "ckpt_dir already holds a trained checkpoint.",
            "Name another folder as --ckpt_dir, or add --resume True to train it further.",
            code="out-exists",
        )
    folder.mkdir(parents=True, exist_ok=True)
    state = TrainingState(folder / STATE_FILE, headclip_of(network), optimizer, settings)
    if resume:
        state.restore()
    return state


class TrainingRecord:
    """Keeps what a training comes to: a log, the state to resume from, and its checkpoint.

    Args:
        loss: The trainer's loss function.
        state: Of the training.
        settings: What it is run with.
        scores: How maps shall become scores.
        examples: What is learned from.
    """

    def __init__(
        self,
        loss: BatchLoss,
        state: TrainingState,
        settings: TrainSettings,
        *,
        scores: ScoreSettings,
        examples: TrainExamples,
    ) -> None:
        self._loss, self._state, self._settings = loss, state, settings
        self._scores, self._examples = scores, examples

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        history = LossHistory(self._loss, self._state.losses)
        history.attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, _as_handlers_expect)
        engine.add_event_handler(Events.EXCEPTION_RAISED, fail_runs)
        if joined_ranks().first:
            StepLog(self._state.path.parent, history).attach(engine)
            KeepState(self._state).attach(engine)
        StopEarly(self._state.losses, self._settings.patience).attach(engine)
        engine.add_event_handler(Events.COMPLETED, self._write, history)

    def _write(self, engine: Engine, history: LossHistory) -> None:
        network: Any = engine.network  # type: ignore[attr-defined]  # MONAI's engines have it
        model = headclip_of(getattr(network, "module", network))
        threshold = healthy_threshold(model.fold(scores=self._scores), self._examples)
        data = self._examples.data
        about = {"name": data.name, "digest": data.content_digest, "images": len(self._examples)}
        if joined_ranks().first:
            write_checkpoint(
                self._state.path.with_name(CHECKPOINT_FILE),
                model,
                scores=self._scores,
                threshold=threshold,
                training=training_record(about, self._settings, history.losses),
            )


def supervised_trainer(  # noqa: PLR0913 - the names that MONAI's configurations use
    *,
    max_epochs: int,
    train_data_loader: Batches,
    network: LearningNetwork,
    optimizer: torch.optim.Optimizer,
    loss_function: BatchLoss,
    inferer: Inferer,
    state: TrainingState,
    train_handlers: Iterable[Any] = (),
) -> SupervisedTrainer:
    """Build the trainer that ``headclip train`` uses, from the names that MONAI's bundles use.

    Args:
        max_epochs: After which the training ends, those of a resumed training included.
        train_data_loader: The auxiliary data.
        network: Learns; it lies on the device that is trained on.
        optimizer: Of what learns.
        loss_function: What is minimised.
        inferer: Runs the network on a batch.
        state: Of the training.
        train_handlers: Called in their order.
    """
    trainer = build_trainer(
        network,
        train_data_loader,
        optimizer,
        loss_function,
        epochs=max_epochs,
        epochs_before=len(state.losses),
        handlers=list(train_handlers),
    )
    trainer.inferer = inferer
    return trainer


def headclip_of(network: LearningNetwork) -> HeadClip:
    """Give the HeadCLIP that a network trains.

    Raises:
        InvalidSettings: It trains another method.
    """
    if not isinstance(network.model, HeadClip):
        raise InvalidSettings(
            "The bundle trains headclip only.", "See 'headclip train' for others."
        )
    return network.model


def join_processes(device: Any) -> None:
    """Join the other processes that ``torchrun`` started, if it did."""
    if torchrun_ranks().count > 1 and not distributed.is_initialized():
        kind = torch.device(device).type
        distributed.init_process_group("nccl" if kind == "cuda" else "gloo")


def leave_processes() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def device_of_process(device: Any) -> torch.device:
    """Give each process that ``torchrun`` started an accelerator of its own."""
    return own_device(torch.device(device))


def _as_handlers_expect(engine: Engine) -> None:
    """Leave the loss where MONAI's handlers look for it, and let the batch go."""
    state: Any = engine.state
    state.output = [{"loss": state.output["loss"].item()}]
