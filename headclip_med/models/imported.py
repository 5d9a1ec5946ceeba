"""The files that authors of methods publish become checkpoints: what is the same for all of them.

Their names and shapes are the method's own affair. Nothing but tensors is ever unpickled from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from headclip_med.atomic import sha256_of
from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip.hub import unusable_file
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.weights import read_pickle, refuse_misfits, unwrapped
from headclip_med.models.inference import TrainedModel
from headclip_med.models.model import EVEN
from headclip_med.models.registry import METHODS, method_named


def read_published(path: Path) -> dict[str, Any]:
    """Read a published file; only tensors and plain containers are unpickled.

    Raises:
        UnusableWeights: The file is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise unusable_file(path)
    found = unwrapped(read_pickle(path))
    if not found:
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
            projections for; the last where it has none.

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


def compare(
    state: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    *,
    optional: tuple[str, ...] = (),
) -> None:
    """Say which names are missing or unknown, and which shapes differ.

    Args:
        state: Of the file.
        expected: Shapes by name.
        optional: What names may begin with that are not needed.

    Raises:
        UnusableWeights: Any does; the message says which.
    """
    refuse_misfits(
        state, expected, optional,
        reason="The file is not laid out as published for this method and backbone",
        advice="Give the authors' file, and the backbone it was trained on.",
    )  # fmt: skip


def count_of(state: Mapping[str, Any], stem: str) -> int:
    """Count the numbered entries behind a name."""
    tails = (str(key).removeprefix(f"{stem}.") for key in state if str(key).startswith(f"{stem}."))
    numbers = {int(number) for tail in tails if (number := tail.partition(".")[0]).isdigit()}
    return max(numbers, default=-1) + 1


def length_of(value: object, axis: int) -> int | None:
    """Measure a tensor along an axis, where there is one."""
    return value.shape[axis] if isinstance(value, Tensor) and value.ndim > abs(axis) else None
