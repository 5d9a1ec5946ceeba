"""What a checkpoint says of itself, read without its tensors and without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from headclip_med.errors import HeadClipError, UnusableWeights
from headclip_med.models.clip.hub import find_model
from headclip_med.models.registry import DEFAULT, method_named
from headclip_med.settings import EMBEDDED_NAME, ScoreSettings

FORMAT = "headclip-checkpoint-1"

MODELS = Path(__file__).parents[1] / "bundles/headclip_lesion_segmentation/models"
"""Where the embedded backbone and its checkpoints lie."""

BUNDLE_METADATA = Path("configs", "metadata.json")
"""Every MONAI bundle has it, and no folder of weights."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Header:
    """What stands beside what was learned.

    Attributes:
        method: What was trained.
        settings: What the model is made of, plain JSON values that are the method's to read.
        scores: How its maps become scores.
        threshold: Map value from which a pixel counts as abnormal.
        backbone: ``name``, ``weights``, ``digest`` and ``activation`` of what it was trained on.
        training: Data, settings and versions of the training run.
    """

    method: str
    settings: Mapping[str, Any]
    scores: ScoreSettings
    threshold: float
    backbone: Mapping[str, str]
    training: Mapping[str, Any]


def read_header(path: Path) -> Header:
    """Read a checkpoint's header.

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
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
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
        return _parse(json.loads(metadata[FORMAT]))
    except (KeyError, TypeError, ValueError, HeadClipError) as error:
        raise UnusableWeights(
            f"The header of {path} is incomplete or from another version.",
            "Train it anew.",
            code="weights-unreadable",
        ) from error


def is_bundle(name: str) -> bool:
    """Tell whether a name is the folder of a bundle, as 'headclip bundle init' writes it."""
    return (Path(name) / BUNDLE_METADATA).is_file()


def checkpoint_of(name: str, method: str | None) -> Path | None:
    """Find the checkpoint that a model's name stands for, if it stands for one.

    Args:
        name: ``headclip-mini``, a checkpoint, the folder of a bundle, or a backbone.
        method: One that is trained; that of ``DEFAULT`` where none is named.
    """
    if name == EMBEDDED_NAME or is_bundle(name):
        folder = MODELS if name == EMBEDDED_NAME else Path(name) / "models"
        stem = EMBEDDED_NAME if method in (None, DEFAULT) else f"{EMBEDDED_NAME}.{method}"
        return folder / f"{stem}.checkpoint.safetensors"
    return Path(name) if name.endswith(".safetensors") else None


def _parse(header: Mapping[str, Any]) -> Header:
    method = method_named(str(header.get("method", DEFAULT)))  # the first files did not name it
    backbone = header["backbone"]
    return Header(
        method=method.name,
        settings=method.settings.from_json(header["settings"]).to_json(),
        scores=ScoreSettings.from_json(header["scores"]),
        threshold=float(header["threshold"]),
        backbone={key: str(backbone[key]) for key in ("name", "weights", "digest", "activation")},
        training=dict(header["training"]),
    )


def check_source(name: str, method: str | None, weights: str | None) -> None:
    """Refuse what ``load_model`` would refuse, as far as that can be told without torch.

    Args:
        name: As ``load_model`` takes it, but for registered models.
        method: As ``load_model`` takes it.
        weights: As ``load_model`` takes them.

    Raises:
        InvalidSettings: The method or the backbone is unknown.
        UnusableWeights: A file is missing, damaged, or another method's.
    """
    is_free = method is not None and not method_named(method).needs_training
    path = None if is_free else checkpoint_of(name, method)
    if path is None and not name.endswith(".safetensors") and not Path(name).is_dir():
        find_model(name, weights)  # of files and folders, whoever reads them says what is wrong
    elif path and (path.is_file() or name.endswith(".safetensors")):
        header = read_header(path)
        if method not in (None, header.method):
            raise wrong_method(name, header.method, str(method))


def wrong_method(name: str, has: str, asked: str) -> UnusableWeights:
    """Say that a checkpoint is another method's."""
    return UnusableWeights(
        f"{name} is a checkpoint of {has}, not of {asked}.",
        "Name that method's, or leave --method out.",
        code="wrong-method",
    )
