"""What a checkpoint says of itself, read without its tensors and without torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from headclip_med.errors import HeadClipError, InvalidSettings, UnusableWeights
from headclip_med.models.clip.hub import EMBEDDED_PATH, FoundModel, find_model, refuse_unused
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.registry import DEFAULT, METHODS, method_named
from headclip_med.models.request import ALL, ModelRequest
from headclip_med.settings import EMBEDDED_NAME, ScoreSettings

FORMAT = "headclip-checkpoint-1"

MODELS = EMBEDDED_PATH.parent
"""Where the embedded backbone and its checkpoints lie."""

DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "mtia", "xla")
"""Kinds of devices; a number may follow."""

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


def check_device(device: str) -> None:
    """Refuse what is the name of no device; whether it is there, torch says.

    Raises:
        InvalidSettings: It is none.
    """
    if device.partition(":")[0] not in DEVICES:
        raise unusable_device(device)


def unusable_device(device: str) -> InvalidSettings:
    """Say that there is no such device."""
    return InvalidSettings(
        f"The device '{device}' cannot be used here.",
        "Choose cpu, or leave --device out.",
        code="unknown-device",
    )


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


def free_checkpoint(out: Path, method: str) -> Path:
    """Name the checkpoint that a training writes, where there is none yet.

    Raises:
        InvalidSettings: There is one.
    """
    path = out / f"{method}.safetensors"
    if path.exists():
        raise InvalidSettings(
            f"{out} already holds a checkpoint.",
            "Choose another folder, or add --resume.",
            code="out-exists",
        )
    return path


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


@dataclass(frozen=True, eq=False)
class Sources:
    """What a request leads to: headers and files, before any tensor is read.

    Attributes:
        methods: Those that are wanted, in the order of tables.
        checkpoints: Files and headers of those that are trained, by method, where there are any.
        towers: What all of them stand on.
        activation: What the towers' weights were trained with, where that was named or is stated.
    """

    methods: Collection[str]
    checkpoints: Mapping[str, tuple[Path, Header]]
    towers: FoundModel
    activation: Activation | None


def find_sources(request: ModelRequest) -> Sources:
    """Find what ``load_models`` loads, and refuse what can be refused without torch.

    Raises:
        InvalidSettings: A method or the backbone is unknown, settings are another method's, or a
            method has two checkpoints.
        UnusableWeights: A file is missing, damaged, or another method's.
    """
    own = _own_checkpoint(request)
    one = request.method or (own.method if own else DEFAULT)
    paths = list(request.checkpoints)
    if own is not None:
        paths.insert(0, Path(request.name))
    elif request.name == EMBEDDED_NAME or is_bundle(request.name):
        wanted = METHODS if request.method == ALL else (one,)
        embedded = (checkpoint_of(request.name, name) for name in wanted)
        paths = [*(path for path in embedded if path and path.is_file()), *paths]
    found: dict[str, tuple[Path, Header]] = {}
    for path in paths:
        header = read_header(path)
        if header.method in found:
            raise InvalidSettings(f"There are two checkpoints of {header.method}.", "Name one.")
        found[header.method] = path, header
    trained = own
    if own is None and request.method != ALL and one in found:
        trained = found[one][1]
    name, weights, activation = request.name, request.weights, request.activation
    if trained is not None:
        name, stated = trained.backbone["name"], trained.backbone
        if weights is None and stated["weights"] not in ("embedded", "file"):
            weights = stated["weights"]
        activation = activation or ("quickgelu" if stated["activation"] == "quickgelu" else "gelu")
    elif is_bundle(name):
        name = str(Path(name, "models", f"{EMBEDDED_NAME}.safetensors"))
    methods = tuple(METHODS) if request.method == ALL else (one,)
    towers = find_model(name, weights)
    refuse_unused(towers, activation=request.activation, seed=request.seed)
    return Sources(methods, found, towers, activation)


def _own_checkpoint(request: ModelRequest) -> Header | None:
    """Read the header of the file that the name stands for, where it is a checkpoint."""
    wanted = request.method
    if not request.name.endswith(".safetensors"):
        return None
    may_be_backbone = wanted == ALL or (wanted is not None and not METHODS[wanted].learning)
    try:
        own = read_header(Path(request.name))
    except UnusableWeights as error:
        if error.code == "not-a-checkpoint" and may_be_backbone:
            return None
        raise
    if wanted in (None, ALL, own.method):
        return own
    reason = f"{request.name} is a checkpoint of {own.method}, not of {wanted}."
    advice = "Name that method's, or leave --method out."
    if may_be_backbone:
        reason = f"{request.name} is a checkpoint of {own.method}, and {wanted} needs none."
        advice = f"Name the backbone instead, here {own.backbone['name']}."
    raise UnusableWeights(reason, advice, code="wrong-method")
