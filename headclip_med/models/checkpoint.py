"""HeadCLIP checkpoints: a safetensors file of what was learned, and a header that says the rest.

A checkpoint holds no backbone; it names the one it was trained on and that one's digest, so that
it can never be run on another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headclip_med.errors import HeadClipError, UnusableWeights
from headclip_med.models.clip import Backbone
from headclip_med.models.headclip import HeadClip
from headclip_med.settings import HeadClipSettings, ScoreSettings

FORMAT = "headclip-checkpoint-1"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint as read: nothing of it has been tried on a backbone yet.

    Attributes:
        learned: ``context``, ``deep`` and ``head_weights``.
        settings: What the model is made of.
        scores: How its maps become scores.
        threshold: Map value from which a pixel counts as abnormal.
        backbone: ``name``, ``weights``, ``digest`` and ``activation`` of what it was trained on.
        training: Data, settings and versions of the training run.
        digest: SHA-256 of the file.
    """

    learned: Mapping[str, Tensor]
    settings: HeadClipSettings
    scores: ScoreSettings
    threshold: float
    backbone: Mapping[str, str]
    training: Mapping[str, Any]
    digest: str


def write_checkpoint(
    path: Path,
    model: HeadClip,
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
    save_file(state, partial, metadata=metadata)
    partial.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UnusableWeights: The file is missing, truncated, or something else than a checkpoint.
    """
    if not path.is_file():
        raise UnusableWeights(
            f"There is no checkpoint at {path}; train one with 'headclip train', or check the "
            "path.",
            code="weights-missing",
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            learned = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UnusableWeights(
            f"{path} is truncated, damaged, or no safetensors file (pickles are never loaded); "
            "copy it anew, or give the checkpoint that 'headclip train' wrote.",
            code="weights-unreadable",
        ) from error
    if FORMAT not in metadata:
        raise UnusableWeights(
            f"{path} is a safetensors file, but no HeadCLIP checkpoint; give the one that "
            "'headclip train' wrote, and the backbone's weights as --weights.",
            code="not-a-checkpoint",
        )
    try:
        return _parse(json.loads(metadata[FORMAT]), learned, sha256_of(path))
    except (KeyError, TypeError, ValueError, HeadClipError) as error:
        raise UnusableWeights(
            f"The header of {path} is incomplete or from another version; train it anew.",
            code="weights-unreadable",
        ) from error


def restore(checkpoint: Checkpoint, backbone: Backbone) -> HeadClip:
    """Build the model that a checkpoint describes.

    Raises:
        UnusableWeights: The backbone is not the one that it was trained on.
    """
    stated = checkpoint.backbone
    if stated["digest"] != backbone.digest:
        raise UnusableWeights(
            f"The checkpoint was trained on {stated['name']} ({stated['weights']} weights, digest "
            f"{stated['digest'][:12]}), but the backbone here is {backbone.name} "
            f"({backbone.weights} weights, digest {backbone.digest[:12]}); load the one it was "
            "trained on.",
            code="wrong-backbone",
        )
    model = HeadClip(backbone, checkpoint.settings)
    own = model.learned_state()
    given = checkpoint.learned
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.items()}:
        raise UnusableWeights(
            "The checkpoint's tensors do not have the shapes that its own settings ask for; "
            "it is damaged, so copy it anew.",
            code="weights-mismatch",
        )
    with torch.no_grad():
        for key, value in given.items():
            own[key].copy_(value)
    return model


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(header: Mapping[str, Any], learned: Mapping[str, Tensor], digest: str) -> Checkpoint:
    return Checkpoint(
        learned,
        HeadClipSettings.from_json(header["settings"]),
        ScoreSettings(**header["scores"]),
        float(header["threshold"]),
        {key: str(header["backbone"][key]) for key in ("name", "weights", "digest", "activation")},
        dict(header["training"]),
        digest,
    )
