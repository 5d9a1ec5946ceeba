"""From a name to models that are ready to be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from headclip_med.errors import HeadClipError, UnusableWeights
from headclip_med.models.checkpoint import Checkpoint, read_tensors
from headclip_med.models.clip.loading import load_found
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.header import find_sources, unusable_device
from headclip_med.models.inference import InferenceModel
from headclip_med.models.registry import METHODS, method_named
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
    sources = find_sources(request)
    backbone = load_found(sources.towers, activation=sources.activation, seed=request.seed)
    models: dict[str, InferenceModel] = {}
    missing: dict[str, str] = {}
    for name in sources.methods:
        try:
            file = sources.checkpoints.get(name)
            checkpoint = None if file is None else read_tensors(*file)
            models[name] = _model(name, request, checkpoint, backbone)
        except HeadClipError as error:
            if request.method != ALL:
                raise
            missing[name] = str(error)
    move_together(models.values(), place)
    for model in models.values():
        model.precision = request.precision
        model.scores = replace(model.scores, **request.scores)
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
        raise unusable_device(device) from error
    return place


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
    model.about = {"name": name, "calibrated": False}
    return model
