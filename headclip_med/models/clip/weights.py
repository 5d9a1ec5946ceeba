"""Files of CLIP weights: safetensors, plain state dicts, and OpenAI's TorchScript archives.

Nothing is unpickled beyond tensors and plain containers. A TorchScript archive is parsed by
PyTorch's own loader of that format, which knows no Python.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from headclip_med.errors import UnusableWeights
from headclip_med.models.clip.snapshots import INDEX_SUFFIX, Activation
from headclip_med.models.clip.transformers import is_transformers, to_open_clip

OPENAI_ONLY_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep beside the weights; no other layout has them."""

WRAPPERS = (
    "state_dict", "model", "model_state_dict", "module", "ema", "model_ema", "ema_state_dict",
    "state_dict_ema",
)  # fmt: skip
"""What training programs call the entry that holds the weights."""


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
        path: ``.safetensors``, a ``torch.save``d state dict (bare, or wrapped; see ``unwrapped``),
            the index of several such files, or an OpenAI archive; with open_clip's names or
            transformers'.

    Raises:
        UnusableWeights: The file is damaged, or holds anything but tensors.
    """
    try:
        path.open("rb").close()
        if path.name.endswith(INDEX_SUFFIX):
            return _clean(_read_shards(path), None)
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


def _read_shards(path: Path) -> dict[str, Tensor]:
    """Put together what lies in several files beside their index."""
    try:
        names = sorted(set(json.loads(path.read_text("utf-8"))["weight_map"].values()))
        shards = [path.parent / Path(name).name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise UnusableWeights(
            f"{path.name} names files that are not beside it: {few(missing)}.",
            "Copy them there.",
            code="weights-missing",
        )
    state: dict[str, Tensor] = {}
    for shard in shards:
        state |= unwrapped(
            load_file(shard) if shard.suffix == ".safetensors" else read_pickle(shard)
        )
    return state


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
    found = unwrapped(found)
    if not found:
        raise UnusableWeights(
            "The file holds no state dict.",
            "Give the file of a CLIP model's weights.",
            code="weights-unreadable",
        )
    if any(key in found for key in OPENAI_ONLY_KEYS):
        activation = "quickgelu"
    state = {key: value for key, value in found.items() if key not in OPENAI_ONLY_KEYS}
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UnusableWeights(
            "The file holds more than tensors.",
            "Give the file of a CLIP model's weights.",
            code="weights-unreadable",
        )
    return WeightsFile(to_open_clip(state) if is_transformers(state) else state, activation)


def unwrapped(found: object) -> dict[str, Any]:
    """Take a state dict out of what training programs save around it.

    That is one of ``WRAPPERS``, however deep, beside a step, an optimiser and the like; and in the
    names the ``module.`` of parallel training and the ``_orig_mod.`` of a compiled model.

    Raises:
        UnusableWeights: It holds two sets of weights.
    """
    if not isinstance(found, dict):
        return {}
    sets = [key for key in found if key in WRAPPERS and isinstance(found[key], dict)]
    if len(sets) > 1:
        raise UnusableWeights(
            f"The file holds {len(sets)} sets of weights: {', '.join(map(str, sets))}.",
            "Save the one that is meant by itself.",
            code="weights-ambiguous",
        )
    if sets:
        return unwrapped(found[sets[0]])
    return {_bare(str(key)): value for key, value in found.items()}


def _bare(name: str) -> str:
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


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
