"""From a name to a model that is ready to judge images."""

from __future__ import annotations

from pathlib import Path

import torch

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.anomaly import AnomalyModel
from headclip_med.models.backbones import EMBEDDED_NAME, EMBEDDED_PATH, load_backbone
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.headclip import HeadClip
from headclip_med.models.judging import JudgingModel, Precision
from headclip_med.models.trained import model_from
from headclip_med.models.weights import Activation

EMBEDDED_CHECKPOINT = EMBEDDED_PATH.with_name("headclip-mini.checkpoint.safetensors")


def load_model(
    name: str | Path = EMBEDDED_NAME,
    *,
    weights: str | Path | None = None,
    activation: Activation | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    seed: int = 0,
) -> AnomalyModel:
    """Load a model that judges images.

    Args:
        name: ``headclip-mini``; a checkpoint, which names its method and backbone; or, with
            ``weights="random"``, a backbone of open_clip's registry, for tests and benchmarks.
        weights: The backbone's weights, where its name alone does not lead to them: a file, a tag
            of open_clip's registry, or ``random``.
        activation: What the backbone's weights were trained with, for files that do not tell.
        device: ``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``bf16`` runs the trunk in bfloat16: faster where the hardware has it.
        seed: Of random weights.

    Raises:
        InvalidSettings: The model or the device is unknown.
        UnusableWeights: There are no weights, or they do not fit.
    """
    place = choose_device(device)
    model = _load(str(name), weights, activation, seed)
    model.precision = precision
    return model.to(place)


def _load(
    name: str, weights: str | Path | None, activation: Activation | None, seed: int
) -> JudgingModel:
    if name == EMBEDDED_NAME:
        return _from_checkpoint(EMBEDDED_CHECKPOINT, None, None, seed)
    if name.endswith(".safetensors"):
        return _from_checkpoint(Path(name), weights, activation, seed)
    if weights == "random":
        backbone = load_backbone(name, weights="random", seed=seed)
        about = {"name": f"{name} with random weights", "calibrated": False}
        return HeadClip(backbone, seed=seed).fold(about=about)
    load_backbone(name, weights=weights, activation=activation)  # says first what else is wrong
    raise UnusableWeights(
        f"{name} is a backbone: HeadCLIP's prompts and head weights must be learned on it first. "
        "Train them with 'headclip train', and name the checkpoint that it writes.",
        code="checkpoint-missing",
    )


def _from_checkpoint(
    path: Path, weights: str | Path | None, activation: Activation | None, seed: int
) -> JudgingModel:
    checkpoint = read_checkpoint(path)
    stated = checkpoint.backbone
    if weights is None and stated["weights"] not in ("embedded", "file"):
        weights = stated["weights"]
    trained_with: Activation = "quickgelu" if stated["activation"] == "quickgelu" else "gelu"
    towers = load_backbone(
        stated["name"], weights=weights, activation=activation or trained_with, seed=seed
    )
    about = {
        "name": path.name.removesuffix(".safetensors").removesuffix(".checkpoint"),
        "checkpoint_digest": checkpoint.digest,
        "training": dict(checkpoint.training),
        "calibrated": False,
    }
    return model_from(checkpoint, towers, about=about)


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
            f"The device '{device}' cannot be used here; choose cpu, or leave --device out.",
            code="unknown-device",
        ) from error
    return place
