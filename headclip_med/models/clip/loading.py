"""From a name to towers with the right weights, or a sentence that says what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclip_med.errors import UnusableWeights
from headclip_med.models.clip.hub import (
    DEFAULT_TAG,
    find_weights,
    refuse_foreign_towers,
    registry_config,
    stated_activation,
)
from headclip_med.models.clip.towers import Backbone, build_clip, build_to_fill
from headclip_med.models.clip.vision import PositionInterpolation
from headclip_med.models.clip.weights import (
    Activation,
    describes_itself,
    fit_weights,
    read_weights,
)
from headclip_med.settings import EMBEDDED_NAME

EMBEDDED_PATH = (
    Path(__file__).parents[2]
    / "bundles/headclip_lesion_segmentation/models/headclip-mini.safetensors"
)

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""What open_clip calls the files of a model folder, preferred first."""

_FOLDER_PREFIX = "local-dir:"


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    activation: Activation | None = None,
    position_interpolation: PositionInterpolation = "bilinear",
    seed: int = 0,
) -> Backbone:
    """Load the towers of an open_clip model.

    Args:
        name: ``headclip-mini``; a name of open_clip's registry (``ViT-L-14-336``); a folder with
            ``open_clip_config.json`` and weights, with or without ``local-dir:`` before it; or a
            safetensors file that describes its own model, as headclip-mini's does.
        weights: A file, a pretrained tag of the registry (``openai``), or ``random``. By default
            the folder's own file, or ``openai`` where that tag exists. A tag is looked for in
            open_clip's cache and downloaded only if ``fetch_weights`` was asked to.
        activation: What the weights were trained with, for files that do not tell.
        position_interpolation: How positions are stretched to other image sizes.
        seed: Of random weights.

    Raises:
        InvalidSettings: The model is unknown, or not a native ViT.
        UnusableWeights: There are no weights, or they do not fit, or the activation is wrong.
    """
    if name == EMBEDDED_NAME:
        return _load_described(EMBEDDED_PATH, "embedded")
    for path in (Path(name), Path(weights or "")):
        if path.suffix == ".safetensors" and (path == Path(name) or describes_itself(path)):
            return _load_described(path, "file")
    folder = _as_folder(name)
    config, preprocess = _folder_config(folder) if folder else (registry_config(name), None)
    refuse_foreign_towers(config)
    if weights == "random":
        backbone = build_clip(config, name=name, preprocess=preprocess, seed=seed)
        backbone.vision.position_interpolation = position_interpolation
        return backbone
    path, source, known = _locate(name, folder, weights)
    file = read_weights(path)
    settled = _settle_activation(config, file.activation or known, activation, name)
    config = {**config, "quick_gelu": settled == "quickgelu"}
    label = path.name if folder else name
    backbone = build_clip(config, name=label, weights=source, preprocess=preprocess, seed=seed)
    fit_weights(backbone.clip, file.state, source=path.name)
    backbone.vision.position_interpolation = position_interpolation
    return backbone


def _load_described(path: Path, source: str) -> Backbone:
    """Load a file whose header holds the model's configuration."""
    file = read_weights(path)
    try:
        config = json.loads(file.metadata["config"])
        stated = json.loads(file.metadata["preprocess"])
        preprocess = {key: tuple(stated[key]) for key in ("mean", "std")}
        seed = int(file.metadata["token_seed"])
    except (KeyError, ValueError) as error:
        raise UnusableWeights(
            f"The header of {path.name} describes no model.",
            "Name the model, and pass this file as --weights.",
            code="weights-unreadable",
        ) from error
    backbone = build_to_fill(config, name=path.stem, weights=source, preprocess=preprocess)
    state = dict(file.state)
    rows = state.pop("token_embedding.rows", None)
    if rows is not None:
        state["token_embedding.weight"] = refill_token_rows(
            rows, state["token_embedding.weight"], config["text_cfg"]["vocab_size"], seed
        )
    fit_weights(backbone.clip, state, source=path.name)
    return backbone


def refill_token_rows(
    rows: Int[Tensor, "kept"], kept: Float[Tensor, "kept width"], vocabulary: int, seed: int
) -> Float[Tensor, "vocabulary width"]:
    """Complete a table of word embeddings of which only the trained rows were stored.

    Words that no training caption used carry no meaning; they get the seeded N(0, 0.02^2) noise
    that such tables start from.
    """
    noise = np.random.default_rng(seed).standard_normal((vocabulary, kept.shape[1]), np.float32)
    table = torch.from_numpy(noise * np.float32(0.02))
    table[rows.long()] = kept.float()
    return table


def _locate(
    name: str, folder: Path | None, weights: str | Path | None
) -> tuple[Path, str, Activation | None]:
    """Find the file, what to call it, and the activation that open_clip states for it."""
    if weights is not None and (Path(weights).suffix or Path(weights).is_file()):
        return Path(weights), "file", None
    if folder is not None:
        return _folder_weights(folder), "file", None
    tag = str(weights or DEFAULT_TAG)
    path = find_weights(name, tag)
    return path, tag, stated_activation(name, tag)


def _settle_activation(
    config: Mapping[str, Any], stated: Activation | None, asked: Activation | None, name: str
) -> Activation:
    """Decide between GELU and QuickGELU; a wrong choice costs accuracy without any sign."""
    # A plain registry name is silent: ViT-L-14-336 serves weights of both kinds.
    own: Activation | None = None
    if config.get("quick_gelu"):
        own = "quickgelu"
    elif name.startswith(_FOLDER_PREFIX) or Path(name).is_dir():
        own = "gelu"
    opinions = {opinion for opinion in (stated, asked, own) if opinion is not None}
    if len(opinions) > 1:
        raise UnusableWeights(
            f"The weights were trained with {stated or own}, but {name} would run them with "
            f"{asked or own}, which silently costs accuracy.",
            "Leave --activation out, or name the model that the weights belong to.",
            code="activation-mismatch",
        )
    if not opinions:
        raise UnusableWeights(
            "The file does not say which activation its weights were trained with, and a wrong "
            "one silently costs accuracy.",
            "Pass --activation quickgelu for OpenAI's weights, or --activation gelu.",
            code="activation-unknown",
        )
    return opinions.pop()


def _as_folder(name: str) -> Path | None:
    if name.startswith(_FOLDER_PREFIX):
        return Path(name.removeprefix(_FOLDER_PREFIX))
    return Path(name) if Path(name).is_dir() else None


def _folder_config(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[float, ...]] | None]:
    path = folder / CONFIG_FILE
    try:
        stated = json.loads(path.read_text())
        config = stated["model_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableWeights(
            f"{path} is missing or is no open_clip configuration.",
            "A model folder needs it beside its weights.",
            code="config-unreadable",
        ) from error
    preprocess = stated.get("preprocess_cfg", {})
    if "mean" in preprocess and "std" in preprocess:
        return config, {"mean": tuple(preprocess["mean"]), "std": tuple(preprocess["std"])}
    return config, None


def _folder_weights(folder: Path) -> Path:
    for file in WEIGHTS_FILES:
        if (folder / file).is_file():
            return folder / file
    raise UnusableWeights(
        f"{folder} holds none of {', '.join(WEIGHTS_FILES)}.",
        "Copy the weights there, or pass --weights.",
        code="weights-missing",
    )
