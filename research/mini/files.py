"""Checkpoints of a run, and the file it ends with: safetensors, written beside and renamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headclip_med.errors import UnusableWeights
from research.mini.model import MiniModel

if TYPE_CHECKING:
    from research.mini.pretrain import Pretraining

FORMAT_VERSION = "1"
"""Of the backbone file's layout."""

CHECKPOINT = "checkpoint.safetensors"
"""Name of a run's only checkpoint."""

BACKBONE = "headclip-mini.safetensors"
"""Name of the finished file."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file so that it is either whole or absent."""
    partial = path.with_suffix(".partial")
    save_file({key: value.contiguous() for key, value in tensors.items()}, partial, metadata)
    partial.replace(path)


def save_checkpoint(run: Pretraining, folder: Path) -> None:
    """Write weights, their average, the optimiser's moments and the step."""
    tensors: dict[str, Tensor] = {}
    for name, value in run.model.trained().items():
        tensors[f"weight.{name}"] = value.detach()
        tensors[f"average.{name}"] = run.average[name]
        for key, moment in run.optimiser.state[value].items():
            tensors[f"{key}.{name}"] = moment
    metadata = {"step": str(run.step), "settings": json.dumps(run.settings.to_json())}
    write_tensors(folder / CHECKPOINT, tensors, metadata)


def has_progress(folder: Path) -> bool:
    """Whether a folder holds something to go on from."""
    return (folder / CHECKPOINT).exists() or (folder / BACKBONE).exists()


def load_progress(run: Pretraining, folder: Path) -> None:
    """Go on where a checkpoint was written or, where there is none, after a finished file.

    Raises:
        UnusableWeights: There is neither, or it is damaged or of another network, or no closing
            begins anew where the finished file ends.
    """
    path, load = folder / CHECKPOINT, _load_checkpoint
    if not path.exists():
        path, load = folder / BACKBONE, _load_backbone
    try:
        with safe_open(path, framework="pt") as file:
            load(run, file)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise UnusableWeights(
            f"{path.name} is missing, damaged or of another network.",
            "Start without --resume.",
            code="checkpoint-unusable",
        ) from error
    if path.name == BACKBONE and not run.settings.begins_anew(run.step):
        raise UnusableWeights(
            f"{path.name} ends at step {run.step}, where no closing begins anew.",
            "Start without --resume.",
            code="checkpoint-unusable",
        )


def _load_checkpoint(run: Pretraining, file: Any) -> None:
    run.step = int(file.metadata()["step"])
    for name, value in run.model.trained().items():
        with torch.no_grad():
            value.copy_(file.get_tensor(f"weight.{name}"))
        run.average[name] = file.get_tensor(f"average.{name}")
        run.optimiser.state[value] = {
            key: file.get_tensor(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")
        }


def _load_backbone(run: Pretraining, file: Any) -> None:
    tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    adopt_backbone(run, tensors, int(file.metadata()["steps"]))


def save_backbone(run: Pretraining, folder: Path) -> None:
    """Write the averaged backbone as float16, with only the trained rows of the word table.

    Layout: every key of open_clip's state dict, except that ``token_embedding.weight`` holds the
    rows that ``token_embedding.rows`` (int32) numbers. The other rows are noise N(0, 0.02^2) from
    numpy's ``default_rng(token_seed)``, and mean nothing. The header has ``format``, ``version``,
    ``config`` (open_clip's, JSON), ``preprocess`` (JSON), ``activation``, ``token_seed``,
    ``training`` (JSON of the settings) and ``steps``.
    """
    tensors = backbone_tensors(run.model, run.average)
    settings = run.settings
    metadata = {
        "format": "headclip-backbone",
        "version": FORMAT_VERSION,
        "config": json.dumps(settings.model_config()),
        "preprocess": json.dumps(settings.preprocess()),
        "activation": "gelu",
        "token_seed": str(settings.seed),
        "training": json.dumps(settings.to_json()),
        "steps": str(run.step),
    }
    write_tensors(folder / BACKBONE, tensors, metadata)


def backbone_tensors(model: MiniModel, average: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors in open_clip's naming, words compact, in float16."""
    state = dict(model.backbone.clip.state_dict())
    for name, value in average.items():
        if name.startswith("backbone.clip."):
            state[name.removeprefix("backbone.clip.")] = value
    state["token_embedding.weight"] = average["table"]
    half = {key: value.detach().half() for key, value in state.items()}
    half["token_embedding.rows"] = model.rows.to(torch.int32)
    return half


def adopt_backbone(run: Pretraining, tensors: dict[str, Tensor], step: int) -> None:
    """Go on after ``step`` with a finished file's tensors as weights and as their average.

    Raises:
        RuntimeError: They are of another network, or of other words.
    """
    if not torch.equal(tensors["token_embedding.rows"], run.model.rows.to(torch.int32)):
        raise RuntimeError("the words differ")
    run.step = step
    for name, value in run.model.trained().items():
        key = "token_embedding.weight" if name == "table" else name.removeprefix("backbone.clip.")
        if key in tensors:
            with torch.no_grad():
                value.copy_(tensors[key])
            run.average[name] = value.detach().clone()
