"""Files of CLIP weights: safetensors, plain state dicts, and OpenAI's TorchScript archives.

Nothing is unpickled beyond tensors and plain containers. A TorchScript archive is parsed by
PyTorch's own loader of that format, which knows no Python.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from headclip_med.errors import UnusableWeights
from headclip_med.models.clip.hub import no_weights_file

Activation = Literal["gelu", "quickgelu"]

OPENAI_ONLY_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep beside the weights; no other layout has them."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        state: Tensors by name, in open_clip's naming, which is OpenAI's as well.
        activation: What the weights were trained with, where the file tells.
        metadata: The header of a safetensors file; empty otherwise.
    """

    state: dict[str, Tensor]
    activation: Activation | None
    metadata: Mapping[str, str]


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights.

    Args:
        path: ``.safetensors``, a ``torch.save``d state dict (bare, under ``state_dict``, or with
            the ``module.`` prefix that parallel training leaves), or an OpenAI archive.

    Raises:
        UnusableWeights: The file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise no_weights_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if _is_torchscript(path):
        return _clean(_read_torchscript(path), "quickgelu", {})
    return _clean(_read_pickle(path), None, {})


def describes_itself(path: Path) -> bool:
    """Tell whether a safetensors file's header holds the configuration of its model."""
    try:
        with safe_open(path, framework="pt") as file:
            return "config" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False  # whoever reads it says what is wrong


def fit_weights(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Put weights into a model; every tensor must be there, with the model's shape.

    Raises:
        UnusableWeights: Names or shapes differ; the message says which.
    """
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    # logit_scale is a number in some layouts and a vector of one in others.
    wrong = [
        key
        for key, value in expected.items()
        if key in state and state[key].squeeze().shape != value.squeeze().shape
    ]
    problems = [
        f"{len(keys)} tensors {what} (for example {', '.join(keys[:3])})"
        for keys, what in (
            (missing, "are missing"),
            (unknown, "are not part of the model"),
            (wrong, "have another size"),
        )
        if keys
    ]
    if problems:
        raise UnusableWeights(
            f"The weights in {source} do not fit the model: {'; '.join(problems)}.",
            "Name the model that they were trained for.",
            code="weights-mismatch",
        )
    shaped = {key: state[key].reshape(value.shape).float() for key, value in expected.items()}
    model.load_state_dict(shaped)


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error
    stated = metadata.get("activation")
    activation: Activation | None = None
    if stated == "gelu":
        activation = "gelu"
    elif stated == "quickgelu":
        activation = "quickgelu"
    return _clean(state, activation, metadata)


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the format is announced to go; these files will not
            archive = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return dict(archive.state_dict())
    except RuntimeError as error:
        raise _damaged(path) from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets whatever bytes a damaged file has
        raise UnusableWeights(
            f"{path} is damaged, or holds more than tensors, which is not loaded because it could "
            "run code.",
            "Download it anew, or save its state dict as safetensors.",
            code="weights-unreadable",
        ) from error


def _clean(
    found: object, activation: Activation | None, metadata: Mapping[str, str]
) -> WeightsFile:
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise UnusableWeights(
            "The file holds no state dict.",
            "Give the file of a CLIP model's weights.",
            code="weights-unreadable",
        )
    state = {str(key).removeprefix("module."): value for key, value in found.items()}
    if any(key in state for key in OPENAI_ONLY_KEYS):
        activation = "quickgelu"
    for key in OPENAI_ONLY_KEYS:
        state.pop(key, None)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UnusableWeights(
            "The file holds more than tensors.",
            "Give the file of a CLIP model's weights.",
            code="weights-unreadable",
        )
    return WeightsFile(state, activation, metadata)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _damaged(path: Path) -> UnusableWeights:
    return UnusableWeights(
        f"{path} is truncated or damaged.", "Copy or download it anew.", code="weights-unreadable"
    )
