"""From a name to towers with the right weights, or a sentence that says what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclip_med.errors import UnusableWeights
from headclip_med.models.clip.hub import EMBEDDED_PATH, FoundModel, find_model, refuse_unused
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.clip.towers import Backbone, assemble
from headclip_med.models.clip.weights import read_weights
from headclip_med.settings import PositionInterpolation

__all__ = ["EMBEDDED_PATH", "load_backbone", "refill_token_rows"]


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
            ``open_clip_config.json``, or transformers' ``config.json``, and weights, with or
            without ``local-dir:`` before it; a name of the Hub (``hf-hub:ORG/NAME``) that its cache
            has; or a safetensors file that describes its own model, as headclip-mini's does.
        weights: A file, such a folder, a pretrained tag of the registry (``openai``), or
            ``random``. By default the folder's own file, or ``openai`` where that tag exists. A tag
            is looked for in open_clip's cache and downloaded only if ``fetch_weights`` was asked
            to.
        activation: What the weights were trained with, for files that do not tell.
        position_interpolation: How positions are stretched to other image sizes.
        seed: Of random weights.

    Raises:
        InvalidSettings: The model is unknown, or not a native ViT, or something that was asked for
            would not be used.
        UnusableWeights: There are no weights, or they do not fit, or the activation is wrong.
    """
    found = find_model(name, weights)
    refuse_unused(found, activation=activation, seed=seed)
    backbone = load_found(found, activation=activation, seed=seed)
    backbone.vision.position_interpolation = position_interpolation
    return backbone


def load_found(
    found: FoundModel, *, activation: Activation | None = None, seed: int = 0
) -> Backbone:
    """Read the weights of a model that was found, and build it; see ``load_backbone``."""
    state = None
    if found.path is not None:
        file = read_weights(found.path)
        state = _completed(file.state, found)
        if found.token_seed is None:
            run = _settle_activation(found, file.activation or found.activation, activation)
            found = replace(found, config={**found.config, "quick_gelu": run == "quickgelu"})
    return assemble(found, state, seed=seed)


def _completed(state: dict[str, Tensor], found: FoundModel) -> dict[str, Tensor]:
    """Give all tensors of a file that may hold the trained rows of its words only."""
    if found.token_seed is None or "token_embedding.rows" not in state:
        return state
    rows, kept = state.pop("token_embedding.rows"), state["token_embedding.weight"]
    vocabulary = found.config["text_cfg"]["vocab_size"]
    table = refill_token_rows(rows, kept, vocabulary, found.token_seed)
    return {**state, "token_embedding.weight": table}


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


def _settle_activation(
    found: FoundModel, stated: Activation | None, asked: Activation | None
) -> Activation:
    """Decide between GELU and QuickGELU; a wrong choice costs accuracy without any sign."""
    own = found.runs_with
    opinions = {opinion for opinion in (stated, asked, own) if opinion is not None}
    if len(opinions) > 1:
        raise UnusableWeights(
            f"The weights were trained with {stated or own}, but {found.name} would run them with "
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
