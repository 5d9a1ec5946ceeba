"""The files that authors of methods publish become checkpoints: what is the same for all of them.

Their names and shapes are the method's own affair. Nothing but tensors is ever unpickled from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.checkpoint import sha256_of, write_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.model import EVEN, TrainedModel
from headclip_med.models.registry import METHODS, method_named


def read_published(path: Path) -> dict[str, Any]:
    """Read a published file; only tensors and plain containers are unpickled.

    Raises:
        UnusableWeights: The file is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise UnusableWeights(
            f"There is no file {path}.", "Check the path.", code="weights-missing"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets whatever bytes a damaged file has
        raise UnusableWeights(
            f"{path} is damaged, or holds more than tensors, which is not loaded because it could "
            "run code.",
            "Download it anew from the authors.",
            code="weights-unreadable",
        ) from error
    if not isinstance(found, dict):
        raise UnusableWeights(f"{path} holds no state dict.", "Give the authors' file.")
    return found


def build_published(
    method: str,
    found: Mapping[str, Any],
    backbone: Backbone,
    *,
    feature_layers: tuple[int, ...] | None = None,
) -> TrainedModel:
    """Build the form that learns from what a published file holds.

    Args:
        method: One whose authors publish what they trained.
        found: What ``read_published`` gave.
        backbone: The towers it was trained on.
        feature_layers: Which layers give maps; by default as many, evenly spread, as the file has
            projections for, or as published.

    Raises:
        InvalidSettings: The method's authors publish no such file.
        UnusableWeights: Names or shapes differ; the message says which.
    """
    learning = method_named(method).learning
    if learning is None or learning.published is None:
        there = (one.name for one in METHODS.values() if one.learning and one.learning.published)
        raise InvalidSettings(
            f"There is no published file of {method}.",
            f"Choose {' or '.join(there)}.",
            code="no-published-file",
        )
    return learning.published(found, backbone, feature_layers)


def import_published(
    path: Path,
    method: str,
    backbone: Backbone,
    *,
    out: Path,
    feature_layers: tuple[int, ...] | None = None,
) -> Path:
    """Turn a published file into a checkpoint of this project.

    Args:
        path: The authors' file.
        method: As for ``build_published``.
        backbone: The towers it was trained on; the checkpoint will run on no other.
        out: Where to, ending in ``.safetensors``.
        feature_layers: See ``build_published``.

    Raises:
        InvalidSettings: The method's authors publish no such file, or ``out`` is no such name.
        UnusableWeights: The file is damaged, or names or shapes differ; the message says which.
    """
    if out.suffix != ".safetensors":
        raise InvalidSettings(f"{out} must end in .safetensors.")
    found = read_published(path)
    model = build_published(method, found, backbone, feature_layers=feature_layers)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(
        out,
        model,
        scores=method_named(method).scores,
        threshold=EVEN,
        training={"published": {"file": path.name, "digest": sha256_of(path)}},
    )
    return out
