"""All methods that can be had on one backbone, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.models.checkpoint import Checkpoint, read_checkpoint
from headclip_med.models.inference import InferenceModel, Precision
from headclip_med.models.loading import choose_device, load_model
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import METHODS
from headclip_med.models.request import ALL, ModelRequest
from headclip_med.models.sources import (
    Source,
    embedded_checkpoints,
    fresh_model,
    learned_model,
    on_backbone,
    untrained,
)
from headclip_med.settings_training_free import TrainingFreeSettings


@dataclass(frozen=True, eq=False)
class LoadedMethods:
    """Methods on one backbone.

    Attributes:
        models: Those that can be used, by name, in the order of tables.
        missing: Why the others cannot, a sentence each.
    """

    models: Mapping[str, AnomalyModel]
    missing: Mapping[str, str]


def load_models(request: ModelRequest) -> LoadedMethods:
    """Load what is asked for: one model, or all methods on its backbone.

    Raises:
        InvalidSettings: The model, the method or the device is unknown.
        UnusableTracker: A registered model was named, and there is no tracker.
        UnusableWeights: There are no weights, or they do not fit, or are another method's.
    """
    if request.method == ALL:
        loaded = load_methods(
            Source(request.name, request.weights, request.activation, request.seed),
            checkpoints=request.checkpoints, settings=request.settings, device=request.device,
            precision=request.precision,
        )  # fmt: skip
    else:
        settings = request.settings.get(request.method or "")
        model = load_model(
            request.name, method=request.method, settings=settings,
            weights=request.weights, activation=request.activation, device=request.device,
            precision=request.precision, seed=request.seed, tracking_uri=request.tracking_uri,
        )  # fmt: skip
        loaded = LoadedMethods({str(model.describe()["method"]): model}, {})
    if not request.scores:
        return loaded
    scored = {
        name: model.with_scores(replace(model.scores, **request.scores))  # type: ignore[arg-type]
        for name, model in loaded.models.items()
    }
    return LoadedMethods(scored, loaded.missing)


def load_methods(
    source: Source,
    *,
    checkpoints: Sequence[Path] = (),
    settings: Mapping[str, TrainingFreeSettings] | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
) -> LoadedMethods:
    """Load every method that can be had on one backbone; they share its weights.

    Args:
        source: A backbone, or a checkpoint, which names its own.
        checkpoints: Of trained methods, on the same backbone.
        settings: Of methods that need no training, by name; as published by default.
        device: As for ``load_model``.
        precision: As for ``load_model``.

    Returns:
        The models, and for each method that is not among them the reason.

    Raises:
        InvalidSettings: The backbone or the device is unknown, or a method has two checkpoints.
        UnusableWeights: There are no weights, or a file is no checkpoint.
    """
    place, own = choose_device(device), source.checkpoint()
    given = [*embedded_checkpoints(source.name), *checkpoints]
    named = {path: read_checkpoint(path) for path in given}
    if own is not None:
        named[Path(source.name)] = own
    backbone = source.backbone() if own is None else source.backbone_of(own)
    learned: dict[str, tuple[Path, Checkpoint]] = {}
    for path, checkpoint in named.items():
        if checkpoint.method in learned:
            raise InvalidSettings(f"There are two checkpoints of {checkpoint.method}.", "Name one.")
        learned[checkpoint.method] = path, checkpoint
    models: dict[str, InferenceModel] = {}
    missing: dict[str, str] = {}
    for name, method in METHODS.items():
        try:
            if not method.needs_training:
                models[name] = on_backbone(name, backbone, (settings or {}).get(name))
            elif name in learned:
                models[name] = learned_model(*learned[name], backbone)
            elif source.weights == "random":
                models[name] = fresh_model(name, source, backbone)
            else:
                missing[name] = untrained(name, backbone.name)
        except HeadClipError as error:
            missing[name] = str(error)
    move_together(models.values(), place)
    for model in models.values():
        model.precision = precision
    return LoadedMethods(models, missing)


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
