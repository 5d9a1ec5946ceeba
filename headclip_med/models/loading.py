"""From a name to models that are ready to be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from headclip_med.errors import HeadClipError, InvalidSettings, UnusableWeights
from headclip_med.models.checkpoint import Checkpoint, read_checkpoint
from headclip_med.models.clip.hub import EMBEDDED_PATH, Activation
from headclip_med.models.clip.loading import load_backbone
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.header import checkpoint_of, is_bundle, wrong_method
from headclip_med.models.inference import InferenceModel
from headclip_med.models.registry import DEFAULT, METHODS, method_named
from headclip_med.models.request import ALL, ModelRequest
from headclip_med.settings import EMBEDDED_NAME, MethodSettings, Precision


@dataclass(frozen=True, eq=False)
class LoadedMethods:
    """Methods on one backbone.

    Attributes:
        models: Those that can be used, by name, in the order of tables.
        missing: Why the others cannot, a sentence each.
    """

    models: Mapping[str, InferenceModel]
    missing: Mapping[str, str]


def load_model(  # noqa: PLR0913 - everything but the name is optional, and named
    name: str | Path = EMBEDDED_NAME,
    *,
    method: str | None = None,
    settings: MethodSettings | None = None,
    weights: str | Path | None = None,
    activation: Activation | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    seed: int = 0,
) -> InferenceModel:
    """Load one model; what the arguments mean, ``ModelRequest`` says.

    Args:
        name: See ``ModelRequest``, as for all that is not described here.
        method: One of ``METHODS``; by default the checkpoint's.
        settings: Of a method that needs no training; as published by default.
        weights: Of the backbone.
        activation: That these were trained with.
        device: Where it shall run.
        precision: Of the image tower.
        seed: Of random weights.

    Raises:
        InvalidSettings: The model, the method or the device is unknown, or a value is refused.
        UnusableWeights: There are no weights, or they do not fit, or are another method's.
    """
    if method is not None:
        method_named(method)  # one, and not all
    request = ModelRequest(
        name=str(name),
        method=method,
        settings={} if settings is None else {method or "": settings},
        weights=None if weights is None else str(weights),
        activation=activation,
        device=device,
        precision=precision,
        seed=seed,
    )
    (model,) = load_models(request).models.values()
    return model


def load_models(request: ModelRequest) -> LoadedMethods:
    """Load a model, or every method that can be had on one backbone; they share its weights.

    Returns:
        The models, and for each method that is not among them the reason.

    Raises:
        InvalidSettings: The backbone, the method or the device is unknown, or a method has two
            checkpoints.
        UnusableWeights: There are no weights, or a file is no checkpoint; of a single model also
            that it cannot be had.
    """
    place = choose_device(request.device)
    _refuse_foreign(request)
    own = _own_checkpoint(request)
    one = request.method or (own.method if own else DEFAULT)
    checkpoints = _checkpoints(request, own, one)
    backbone = _backbone(request, own if request.method == ALL else own or checkpoints.get(one))
    models: dict[str, InferenceModel] = {}
    missing: dict[str, str] = {}
    for name in METHODS if request.method == ALL else (one,):
        try:
            models[name] = _model(name, request, checkpoints.get(name), backbone)
        except HeadClipError as error:
            if request.method != ALL:
                raise
            missing[name] = str(error)
    move_together(models.values(), place)
    for model in models.values():
        model.precision = request.precision
        model.use = replace(model.use, scores=replace(model.scores, **request.scores))
    return LoadedMethods(models, missing)


def on_backbone(
    method: str, backbone: Backbone, settings: MethodSettings | None = None
) -> InferenceModel:
    """Build a method that needs no training; as published by default."""
    found = METHODS[method]
    model = found.build(backbone, settings or found.settings, 0)
    return _named(model, f"{method} on {backbone.name}")


def move_together(models: Iterable[nn.Module], place: torch.device) -> None:
    """Move models that share parameters so that they still do: ``to`` would copy them for each."""
    moved: dict[nn.Parameter, nn.Parameter] = {}
    for model in models:
        for module in model.modules():
            for key, parameter in list(module.named_parameters(recurse=False)):
                if parameter not in moved:
                    moved[parameter] = nn.Parameter(parameter.to(place), requires_grad=False)
                setattr(module, key, moved[parameter])
        model.to(place)


def choose_device(device: str) -> torch.device:
    """Turn a name into a device; ``auto`` takes an accelerator if there is one.

    Raises:
        InvalidSettings: There is no such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise InvalidSettings(
            f"The device '{device}' cannot be used here.",
            "Choose cpu, or leave --device out.",
            code="unknown-device",
        ) from error
    return place


def _refuse_foreign(request: ModelRequest) -> None:
    """Refuse an unknown method, and settings of another than they are given for."""
    if request.method is not None and request.method != ALL:
        method_named(request.method)
    for name, given in request.settings.items():
        method = METHODS.get(name)
        if method is None or method.learning or type(given) is not type(method.settings):
            raise InvalidSettings(
                f"The settings given are not those of {name or 'a checkpoint, which has its own'}.",
                "Leave them out, or name their method.",
            )


def _own_checkpoint(request: ModelRequest) -> Checkpoint | None:
    """Read the file that the name stands for, where it is a checkpoint."""
    wanted = request.method
    if not request.name.endswith(".safetensors"):
        return None
    may_be_backbone = wanted == ALL or (wanted is not None and not METHODS[wanted].learning)
    try:
        own = read_checkpoint(Path(request.name))
    except UnusableWeights as error:
        if error.code == "not-a-checkpoint" and may_be_backbone:
            return None
        raise
    if wanted in (None, ALL, own.method):
        return own
    if not may_be_backbone:
        raise wrong_method(request.name, own.method, str(wanted))
    raise UnusableWeights(
        f"{request.name} is a checkpoint of {own.method}, and {wanted} needs none.",
        f"Name the backbone instead, here {own.backbone['name']}.",
        code="wrong-method",
    )


def _checkpoints(request: ModelRequest, own: Checkpoint | None, one: str) -> dict[str, Checkpoint]:
    """Read what travels with the package or the bundle, and what else was named, by method."""
    paths = list(request.checkpoints)
    if request.name == EMBEDDED_NAME or is_bundle(request.name):
        wanted = METHODS if request.method == ALL else (one,)
        embedded = (checkpoint_of(request.name, name) for name in wanted)
        paths = [*(path for path in embedded if path and path.is_file()), *paths]
    found = {} if own is None else {own.method: own}
    for path in paths:
        checkpoint = read_checkpoint(path)
        if checkpoint.method in found:
            raise InvalidSettings(f"There are two checkpoints of {checkpoint.method}.", "Name one.")
        found[checkpoint.method] = checkpoint
    return found


def _backbone(request: ModelRequest, checkpoint: Checkpoint | None) -> Backbone:
    """Load the towers that a checkpoint was trained on, or those that were named."""
    name, weights, activation = request.name, request.weights, request.activation
    if checkpoint is None:
        name = str(Path(name, "models", EMBEDDED_PATH.name)) if is_bundle(name) else name
        return load_backbone(name, weights=weights, activation=activation, seed=request.seed)
    stated = checkpoint.backbone
    if weights is None and stated["weights"] not in ("embedded", "file"):
        weights = stated["weights"]
    trained_with: Activation = "quickgelu" if stated["activation"] == "quickgelu" else "gelu"
    return load_backbone(
        stated["name"], weights=weights, activation=activation or trained_with, seed=request.seed
    )


def _model(
    name: str, request: ModelRequest, checkpoint: Checkpoint | None, backbone: Backbone
) -> InferenceModel:
    """Build one method on a backbone.

    Raises:
        UnusableWeights: It must be trained first.
    """
    method = METHODS[name]
    if method.learning is None:
        return on_backbone(name, backbone, request.settings.get(name))
    if checkpoint is not None:
        return checkpoint.build(backbone)
    if request.weights == "random":
        model = method.build(backbone, method.settings, request.seed)
        return _named(model, f"{request.name} with random weights")
    free = " or ".join(one.name for one in METHODS.values() if one.learning is None)
    raise UnusableWeights(
        f"{method.title} must be trained on {backbone.name} first.",
        f"'headclip train --method {name} --backbone {backbone.name}' writes a checkpoint to name "
        f"as --model, or beside others as --checkpoint; --method {free} needs none.",
        code="checkpoint-missing",
    )


def _named(model: InferenceModel, name: str) -> InferenceModel:
    model.use = replace(model.use, about={"name": name, "calibrated": False})
    return model
