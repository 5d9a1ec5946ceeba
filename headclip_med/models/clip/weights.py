"""Files of CLIP weights: safetensors, plain state dicts, and OpenAI's TorchScript archives.

Nothing is unpickled beyond tensors and plain containers. A TorchScript archive is parsed by
PyTorch's own loader of that format, which knows no Python.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headclip_med.errors import UnusableWeights
from headclip_med.models.clip.hub import Activation

OPENAI_ONLY_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep beside the weights; no other layout has them."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        state: Tensors by name, in open_clip's naming, which is OpenAI's as well.
        activation: What the weights were trained with, where the file tells.
    """

    state: dict[str, Tensor]
    activation: Activation | None


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights.

    Args:
        path: ``.safetensors``, a ``torch.save``d state dict (bare, under ``state_dict``, or with
            the ``module.`` prefix that parallel training leaves), or an OpenAI archive.

    Raises:
        UnusableWeights: The file is damaged, or holds anything but tensors.
    """
    try:
        path.open("rb").close()
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if _is_torchscript(path):
            return _clean(_read_torchscript(path), "quickgelu")
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UnusableWeights(
            f"{path} is truncated or damaged.",
            "Copy or download it anew.",
            code="weights-unreadable",
        ) from error
    return _clean(read_pickle(path), None)


def _read_safetensors(path: Path) -> WeightsFile:
    with safe_open(path, framework="pt") as file:
        stated = (file.metadata() or {}).get("activation")
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    known: dict[str | None, Activation] = {"gelu": "gelu", "quickgelu": "quickgelu"}
    return _clean(state, known.get(stated))


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is announced to go; these files will not
        archive = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        return dict(archive.state_dict())


def read_pickle(path: Path) -> object:
    """Read tensors and plain containers that were saved by torch.

    Raises:
        UnusableWeights: The file is damaged, or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets whatever bytes a damaged file has
        raise UnusableWeights(
            f"{path} is damaged, or holds more than tensors, which is not loaded because it could "
            "run code.",
            "Download it anew, or save its state dict as safetensors.",
            code="weights-unreadable",
        ) from error


def _clean(found: object, activation: Activation | None) -> WeightsFile:
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
    return WeightsFile(state, activation)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def refuse_misfits(
    state: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    optional: tuple[str, ...] = (),
    *,
    reason: str,
    advice: str,
) -> None:
    """Say which tensors are missing, unknown or of another shape, a few of each.

    Args:
        state: Of a file.
        expected: Shapes by name.
        optional: What names may begin with that are not needed.
        reason: What is then said before them.
        advice: What is said behind them.

    Raises:
        UnusableWeights: Any is.
    """
    missing = [name for name in expected if not isinstance(state.get(name), Tensor)]
    unknown = [str(k) for k in state if k not in expected and not str(k).startswith(optional)]
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name not in missing and tuple(state[name].shape) != shape
    ]
    named = {"missing": missing, "not part of it": unknown, "of another shape": wrong}
    problems = "; ".join(f"{what} {few(names)}" for what, names in named.items() if names)
    if problems:
        raise UnusableWeights(f"{reason}: {problems}.", advice, code="weights-mismatch")


def few(names: Sequence[str], count: int = 4) -> str:
    """List the first few names."""
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest
