"""What a training is resumed from: learned tensors, the optimiser's, settings and losses."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from headclip_med.atomic import write_file
from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.settings import TrainSettings
from headclip_med.training.network import Trainable

STATE_FILE = "training-state.pt"
EPOCHS_FOLDER = "epochs"
"""Beside the state, which is that of the last epoch: the states of all."""


def rewind(folder: Path, epoch: int) -> None:
    """Let a training be resumed from the end of an earlier epoch than its last.

    Args:
        folder: Of the training.
        epoch: From 1.

    Raises:
        InvalidSettings: The state of that epoch is not there.
    """
    kept = _state_of(folder, epoch)
    if not kept.is_file():
        there = sorted(int(path.stem) for path in kept.parent.glob("[0-9]*.pt"))
        shown = f"{there[0]} to {there[-1]}" if there else "none"
        raise InvalidSettings(
            f"The training in this folder has no state of epoch {epoch} (it has {shown}).",
            "Name another, or leave --from-epoch out.",
            code="no-such-epoch",
        )
    write_file(folder / STATE_FILE, kept.read_bytes())


def _state_of(folder: Path, epoch: int) -> Path:
    return folder / EPOCHS_FOLDER / f"{epoch:04}.pt"


class TrainingState:
    """The state of a training, in memory and in its file.

    Args:
        path: Of the file.
        model: Learns; ``restore`` changes it in place.
        optimizer: Of what learns; likewise.
        settings: What the training is run with.
    """

    def __init__(
        self,
        path: Path,
        model: Trainable,
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
    ) -> None:
        self.path = path
        self.losses: list[float] = []
        self.settings = settings
        self._model, self._optimizer = model, optimizer

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer, and save what it is resumed from after every epoch.

        MONAI's ``CheckpointSaver`` writes in place: a process that is killed leaves half a file.
        """
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        model = self._model
        state = {
            "method": model.method,
            "learned": model.learned_state(),
            "optimiser": self._optimizer.state_dict(),
            "settings": json.dumps(self.settings.to_json()),
            "model": json.dumps(model.settings.to_json()),
            "backbone": model.backbone.digest,
            "losses": self.losses,
        }
        partial = self.path.with_name(f".{self.path.name}.partial")
        torch.save(state, partial)
        kept = _state_of(self.path.parent, len(self.losses))
        kept.parent.mkdir(exist_ok=True)
        kept.unlink(missing_ok=True)
        try:
            os.link(partial, kept)  # takes no room of its own until the next epoch
        except OSError:  # not every file system has links
            shutil.copyfile(partial, kept)
        partial.replace(self.path)

    def restore(self) -> None:
        """Read the file.

        Raises:
            InvalidSettings: It was written with other settings, or by another method.
            UnusableWeights: It is missing or damaged, or of another backbone.
        """
        device = next(self._model.parameters()).device
        try:
            state = torch.load(self.path, map_location=device, weights_only=True)
        except Exception as error:  # a damaged state can break anywhere in the unpickler
            raise self._damaged() from error
        self.load_state_dict(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was saved.

        Raises:
            InvalidSettings: It was written with other settings, or by another method.
            UnusableWeights: It is damaged, or of another backbone.
        """
        self._check(state)
        if state["backbone"] != self._model.backbone.digest:
            raise UnusableWeights(
                "The training in this folder was started on another backbone.",
                "Name that one.",
                code="wrong-backbone",
            )
        self._model.load_learned(state["learned"])
        self._optimizer.load_state_dict(state["optimiser"])
        self.losses[:] = state["losses"]

    def _check(self, state: Mapping[str, Any]) -> None:
        model, settings = self._model, self.settings
        try:
            # Older states lack what was added since; they were trained with its defaults.
            started = TrainSettings().to_json() | json.loads(state["settings"])
            method = state.get("method", model.method)
            made_of = json.dumps(model.settings.to_json())
            same_model = (method, state.get("model", made_of)) == (model.method, made_of)
            same_model &= state["learned"].keys() == model.learned_state().keys()
        except Exception as error:  # what is in the file was written by anyone
            raise self._damaged() from error
        same = json.loads(json.dumps(started | {"epochs": settings.epochs}))
        if not same_model or same != json.loads(json.dumps(settings.to_json())):
            raise InvalidSettings(
                "The training in this folder was started with other settings.",
                "Resume it with the same ones (only --epochs may change), or start anew without "
                "--resume.",
                code="settings-changed",
            )

    def _damaged(self) -> UnusableWeights:
        return UnusableWeights(
            f"{self.path} is missing or damaged, so the training cannot be resumed.",
            "Start it anew without --resume.",
            code="state-unreadable",
        )
