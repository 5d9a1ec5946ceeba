"""A method's training as the parts that ``configs/train.json`` names beside MONAI's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from headclip_med.datasets import Dataset, Sample
from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.evaluation.datasets import open_datasets
from headclip_med.evaluation.examples import Examples
from headclip_med.evaluation.threshold import healthy_threshold
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip.hub import Activation
from headclip_med.models.clip.loading import load_backbone
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import DEFAULT, learning_of, method_named
from headclip_med.pipelines.bundle.network import changed_scores, predict
from headclip_med.pipelines.bundle.tracking import fail_runs
from headclip_med.pipelines.train import training_record
from headclip_med.settings import Precision, ScoreSettings, TrainSettings
from headclip_med.training.batches import Batch
from headclip_med.training.handlers import (
    KeepState,
    LossHistory,
    ShuffleByEpoch,
    StepLog,
    StopEarly,
)
from headclip_med.training.network import BatchLoss
from headclip_med.training.processes import joined_ranks
from headclip_med.training.state import STATE_FILE, TrainingState


class LabelledImages(list[dict[str, Sample]]):
    """The images of a labelled set, as MONAI lists data.

    Args:
        dataset_dir: Its folder; None where a training is not validated, which lists nothing.
        layout: ``mvtec``, ``folder``, ``nifti``, or the name of a set.

    Attributes:
        dataset: The set.

    Raises:
        InvalidSettings: The layout is unknown.
        UnreadableInput: The folder does not have that layout.
    """

    def __init__(self, dataset_dir: Any, layout: str) -> None:
        super().__init__()
        self.dataset: Dataset | None = None
        if dataset_dir is not None:
            self.dataset = open_datasets([f"{layout}:{Path(str(dataset_dir)).expanduser()}"])
            self.extend({"image": one} for one in self.dataset.split("test").samples)


class TrainingNetwork(nn.Module):
    """A method in training: a batch goes in to learn from, images to be told what is found so far.

    Args:
        backbone: As for ``load_backbone``; it is frozen.
        weights: Of the backbone: a file, a tag, or ``random``.
        activation: What they were trained with, for files that do not tell.
        precision: ``bf16`` runs the towers' products in bfloat16.
        seed: Of what is learned, at its start.
        scores: How maps shall become scores, see ``changed_scores``.

    Raises:
        InvalidSettings: The backbone is unknown, or a number is out of its range.
        UnusableWeights: There are no weights, or they do not fit.
    """

    def __init__(
        self,
        backbone: str,
        *,
        weights: str | Path | None = None,
        activation: Activation | None = None,
        precision: Precision = "fp32",
        seed: int = 111,
        **scores: float | None,
    ) -> None:
        super().__init__()
        self.scores = changed_scores(ScoreSettings(), **scores)
        towers = load_backbone(backbone, weights=weights, activation=activation)
        method = method_named(DEFAULT)
        self.trained = method.trainable(towers, method.usual_settings(towers.name), seed)
        self.learning = learning_of(DEFAULT).network(self.trained, precision)

    @property
    def image_size(self) -> int:
        """Rows and columns of the images, in pixels."""
        return self.trained.image_size

    @property
    def learned(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return self.learning.learned

    @property
    def model(self) -> AnomalyModel:
        """What it would be if the training ended now."""
        return self.trained.fold(scores=self.scores)

    def loss(self, settings: TrainSettings) -> BatchLoss:
        """Give what is minimised."""
        return BatchLoss(self.learning.terms_of, settings)

    def forward(self, shown: Batch | Tensor) -> Any:
        """Run a batch for the trainer, or predict for images as ``ScreeningNetwork`` does."""
        return self.learning(shown) if isinstance(shown, Batch) else predict(self.model, shown)


class TrainingFolder:
    """Keeps what a training comes to: a log, the state to resume from, and its checkpoint.

    One of the trainer's handlers; the first of them is MONAI's ``CheckpointLoader``, which gives it
    the state of a training that is resumed.

    Args:
        ckpt_dir: Where all that is kept.
        network: Learns.
        optimizer: Of what learns.
        settings: Fields of ``TrainSettings``.
        data: What is learned from.
        resume: Go on with the training that left its state there.

    Attributes:
        loss: What is minimised.

    Raises:
        InvalidSettings: The folder holds a finished training that would be overwritten, or a number
            is out of its range.
        UnusableWeights: There is no usable state to resume from.
    """

    def __init__(
        self,
        ckpt_dir: str | Path,
        network: TrainingNetwork,
        optimizer: torch.optim.Optimizer,
        *,
        settings: Mapping[str, Any],
        data: LabelledImages,
        resume: bool = False,
    ) -> None:
        self._settings = TrainSettings(**settings)
        self._network, self._data = network, data
        self._folder = Path(ckpt_dir)
        self._checkpoint = self._folder / f"{network.trained.method}.safetensors"
        self.loss = network.loss(self._settings)
        self._refuse(resume)
        self._folder.mkdir(parents=True, exist_ok=True)
        state = self._folder / STATE_FILE
        self._state = TrainingState(state, network.trained, optimizer, self._settings)
        self._trainer: Any = None

    def _refuse(self, resume: bool) -> None:
        if self._checkpoint.exists() and not resume:
            raise InvalidSettings(
                "ckpt_dir already holds a trained checkpoint.",
                "Name another folder as --ckpt_dir, or add --resume True to train it further.",
                code="out-exists",
            )
        if resume and not is_zipfile(self._folder / STATE_FILE):  # PyTorch's files are archives
            raise UnusableWeights(
                f"{STATE_FILE} is missing or damaged in ckpt_dir, so no training can be resumed.",
                "Start it anew without --resume.",
                code="state-unreadable",
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of an earlier training, between two epochs.

        Raises:
            InvalidSettings: It was trained with other settings, or by another method.
            UnusableWeights: It is of another backbone.
        """
        self._state.load_state_dict(state)
        if self._trainer is not None:
            epochs = len(self._state.losses)
            self._trainer.state.epoch = epochs
            self._trainer.state.iteration = epochs * self._trainer.state.epoch_length

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        self._trainer = engine
        # Its own logger repeats exceptions, which may quote a file's name; they reach the caller.
        engine.logger = logging.Logger("trainer", logging.CRITICAL + 1)
        ShuffleByEpoch(self._trainer.data_loader).attach(engine)
        history = LossHistory(self.loss, self._state.losses)
        history.attach(engine)
        engine.add_event_handler(Events.EXCEPTION_RAISED, fail_runs)
        if joined_ranks().first:
            StepLog(self._folder, history).attach(engine)
            KeepState(self._state).attach(engine)
        StopEarly(self._state.losses, self._settings.patience).attach(engine)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self) -> None:
        dataset, network = self._data.dataset, self._network
        if dataset is None:
            raise TypeError("there is a data set behind what was learned from")
        examples = Examples(dataset, network.image_size)
        threshold = healthy_threshold(network.model, examples)
        about = {"name": dataset.name, "digest": dataset.content_digest, "images": len(examples)}
        if joined_ranks().first:
            write_checkpoint(
                self._checkpoint,
                network.trained,
                scores=network.scores,
                threshold=threshold,
                training=training_record(
                    about, self._settings, self._state.losses, network.trained.backbone.device
                ),
            )
