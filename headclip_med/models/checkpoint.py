"""Checkpoints: a safetensors file of what was learned, and a header that says the rest.

One form serves every method that is trained; the header names it (a file without a name is
HeadCLIP's). A checkpoint holds no backbone; it names the one it was trained on and that one's
digest, so that it can never be run on another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from headclip_med.errors import HeadClipError, UnusableWeights
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.headclip.model import HeadClip
from headclip_med.settings import HeadClipSettings, ScoreSettings
from headclip_med.settings_learned import PUBLISHED_MODEL, LearnedSettings

FORMAT = "headclip-checkpoint-1"

Settings = TypeVar("Settings", bound=LearnedSettings)


@runtime_checkable
class LearnedModel(Protocol):
    """The trainable form of a method, as far as a checkpoint needs it."""

    @property
    def method(self) -> str:
        """What it is called by."""

    @property
    def settings(self) -> LearnedSettings:
        """What it is made of."""

    @property
    def backbone(self) -> Backbone:
        """The towers it stands on."""

    def learned_state(self) -> dict[str, Tensor]:
        """Collect what was learned, by name; everything else belongs to the backbone."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint as read: nothing of it has been tried on a backbone yet.

    Attributes:
        method: What was trained.
        learned: Tensors by name, as the method's ``learned_state`` has them.
        settings: What the model is made of.
        scores: How its maps become scores.
        threshold: Map value from which a pixel counts as abnormal.
        backbone: ``name``, ``weights``, ``digest`` and ``activation`` of what it was trained on.
        training: Data, settings and versions of the training run.
        digest: SHA-256 of the file.
    """

    method: str
    learned: Mapping[str, Tensor]
    settings: LearnedSettings
    scores: ScoreSettings
    threshold: float
    backbone: Mapping[str, str]
    training: Mapping[str, Any]
    digest: str


def write_checkpoint(
    path: Path,
    model: LearnedModel,
    *,
    scores: ScoreSettings,
    threshold: float,
    training: Mapping[str, object],
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: Ends in ``.safetensors``.
        model: What was trained.
        scores: How its maps become scores.
        threshold: Map value from which a pixel counts as abnormal.
        training: Data, settings and versions of the run, plain JSON values without any path.
    """
    backbone = model.backbone
    header = {
        "method": model.method,
        "settings": model.settings.to_json(),
        "scores": scores.to_json(),
        "threshold": threshold,
        "backbone": {
            "name": backbone.name,
            "weights": backbone.weights,
            "digest": backbone.digest,
            "activation": backbone.activation,
        },
        "training": dict(training),
    }
    state = {key: value.float().cpu().contiguous() for key, value in model.learned_state().items()}
    # One key only: the order of several is random, and the same training shall give the same file.
    metadata = {FORMAT: json.dumps(header, sort_keys=True)}
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(save(state, metadata))  # save_file would hide it from other users
    partial.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UnusableWeights: The file is missing, truncated, or something else than a checkpoint.
    """
    if not path.is_file():
        raise UnusableWeights(
            f"There is no checkpoint at {path}.",
            "Train one with 'headclip train', or check the path.",
            code="weights-missing",
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            learned = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UnusableWeights(
            f"{path} is truncated, damaged, or no safetensors file (pickles are never loaded).",
            "Copy it anew, or give the checkpoint that 'headclip train' wrote.",
            code="weights-unreadable",
        ) from error
    if FORMAT not in metadata:
        raise UnusableWeights(
            f"{path} is a safetensors file, but no HeadCLIP checkpoint.",
            "Give the one that 'headclip train' wrote, and the backbone's weights as --weights.",
            code="not-a-checkpoint",
        )
    try:
        return _parse(json.loads(metadata[FORMAT]), learned, sha256_of(path))
    except (KeyError, TypeError, ValueError, HeadClipError) as error:
        raise UnusableWeights(
            f"The header of {path} is incomplete or from another version.",
            "Train it anew.",
            code="weights-unreadable",
        ) from error


def restore(checkpoint: Checkpoint, backbone: Backbone) -> HeadClip:
    """Build the HeadCLIP that a checkpoint describes.

    Raises:
        UnusableWeights: It is another method's checkpoint, or was trained on another backbone.
    """
    model = HeadClip(backbone, settings_for(checkpoint, backbone, HeadClipSettings))
    fit_learned(model, checkpoint)
    return model


def settings_for(checkpoint: Checkpoint, backbone: Backbone, kind: type[Settings]) -> Settings:
    """Give the settings to build a checkpoint's model with, on this backbone, as this method.

    Raises:
        UnusableWeights: It is another method's checkpoint, or was trained on another backbone.
    """
    if not isinstance(checkpoint.settings, kind):
        wanted = next(name for name, one in PUBLISHED_MODEL.items() if isinstance(one, kind))
        raise UnusableWeights(
            f"This is a checkpoint of {checkpoint.method}, not of {wanted}.",
            "Name that method, or leave the method out.",
            code="wrong-method",
        )
    stated = checkpoint.backbone
    if stated["digest"] != backbone.digest:
        raise UnusableWeights(
            f"The checkpoint was trained on {stated['name']} ({stated['weights']} weights, digest "
            f"{stated['digest'][:12]}), but the backbone here is {backbone.name} "
            f"({backbone.weights} weights, digest {backbone.digest[:12]}).",
            "Load the one it was trained on.",
            code="wrong-backbone",
        )
    return checkpoint.settings


def fit_learned(model: LearnedModel, checkpoint: Checkpoint) -> None:
    """Put what was learned into a model.

    Raises:
        UnusableWeights: It is damaged.
    """
    own, given = model.learned_state(), checkpoint.learned
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.items()}:
        raise UnusableWeights(
            "The checkpoint's tensors do not have the shapes that its own settings ask for.",
            "It is damaged, so copy it anew.",
            code="weights-mismatch",
        )
    with torch.no_grad():
        for key, value in given.items():
            own[key].copy_(value)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(header: Mapping[str, Any], learned: Mapping[str, Tensor], digest: str) -> Checkpoint:
    method = str(header.get("method", "headclip"))  # the first files did not name it
    return Checkpoint(
        method,
        learned,
        type(PUBLISHED_MODEL[method]).from_json(header["settings"]),
        ScoreSettings(**header["scores"]),
        float(header["threshold"]),
        {key: str(header["backbone"][key]) for key in ("name", "weights", "digest", "activation")},
        dict(header["training"]),
        digest,
    )
