"""From a name to a model that is ready to judge images."""

from __future__ import annotations

from pathlib import Path

import torch

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.clip.hub import Activation
from headclip_med.models.header import wrong_method
from headclip_med.models.inference import InferenceModel, Precision
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import method_named
from headclip_med.models.sources import (
    Source,
    embedded_checkpoint,
    fresh_model,
    learned_model,
    on_backbone,
    untrained,
)
from headclip_med.settings import EMBEDDED_NAME
from headclip_med.settings_training_free import TRAINING_FREE_MODEL, TrainingFreeSettings
from headclip_med.tracking import REGISTERED, registered_checkpoint


def load_model(  # noqa: PLR0913 - everything but the name is optional, and named
    name: str | Path = EMBEDDED_NAME,
    *,
    method: str | None = None,
    settings: TrainingFreeSettings | None = None,
    weights: str | Path | None = None,
    activation: Activation | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    seed: int = 0,
    tracking_uri: str | None = None,
) -> AnomalyModel:
    """Load a model that judges images.

    Args:
        name: ``headclip-mini``; a checkpoint, which names its method and backbone, or one that was
            registered with MLflow, as ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``; the
            folder of a bundle, which stands for the checkpoint that travels with it; for a method
            that needs no training any backbone; or, with ``weights="random"``, a backbone of
            open_clip's registry with nothing learned, for tests and benchmarks.
        method: One of ``METHODS``; by default the checkpoint's.
        settings: Of ``winclip`` or ``anovl``; as published by default. Checkpoints have their own.
        weights: The backbone's weights, where its name alone does not lead to them: a file, a tag
            of open_clip's registry, or ``random``.
        activation: What the backbone's weights were trained with, for files that do not tell.
        device: ``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``bf16`` runs the trunk in bfloat16: faster where the hardware has it.
        seed: Of random weights.
        tracking_uri: Where a registered model is looked up; by default what
            ``MLFLOW_TRACKING_URI`` says, else ``sqlite:///mlflow.db``.

    Raises:
        InvalidSettings: The model, the method or the device is unknown.
        UnusableTracker: A registered model was named, and there is no tracker.
        UnusableWeights: There are no weights, or they do not fit, or are another method's.
    """
    if str(name).startswith(REGISTERED):
        with registered_checkpoint(str(name), tracking_uri) as path:
            return load_model(
                path, method=method, settings=settings, weights=weights, activation=activation,
                device=device, precision=precision, seed=seed,
            )  # fmt: skip
    place = choose_device(device)
    if settings is not None and type(settings) is not type(TRAINING_FREE_MODEL.get(method or "")):
        raise InvalidSettings(
            f"The settings given are not those of {method or 'a checkpoint, which has its own'}.",
            "Leave them out, or name their method.",
        )
    source = Source(str(name), weights, activation, seed)
    if method is None or method_named(method).needs_training:
        model = _load_trained(source, method)
    else:
        model = _load_training_free(source, method, settings)
    model.precision = precision
    return model.to(place)


def _load_trained(source: Source, method: str | None) -> InferenceModel:
    wanted = method or "headclip"
    if source.name == EMBEDDED_NAME or source.is_bundle:
        path = source.bundled(embedded_checkpoint(wanted))
        if not path.is_file():
            raise UnusableWeights(untrained(wanted, EMBEDDED_NAME), code="checkpoint-missing")
        source = Source(str(path))
    if source.name.endswith(".safetensors"):
        checkpoint = read_checkpoint(Path(source.name))
        if method not in (None, checkpoint.method):
            raise wrong_method(source.name, checkpoint.method, method)
        return learned_model(Path(source.name), checkpoint, source.backbone_of(checkpoint))
    backbone = source.backbone()  # says first what else is wrong
    if source.weights == "random":
        return fresh_model(wanted, source, backbone)
    raise UnusableWeights(untrained(wanted, source.name), code="checkpoint-missing")


def _load_training_free(
    source: Source, method: str, settings: TrainingFreeSettings | None
) -> InferenceModel:
    checkpoint = source.checkpoint()
    if checkpoint is not None:
        raise UnusableWeights(
            f"{source.name} is a checkpoint of {checkpoint.method}, and {method} needs none.",
            f"Name the backbone instead, here {checkpoint.backbone['name']}.",
            code="wrong-method",
        )
    return on_backbone(method, source.backbone(), settings)


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
