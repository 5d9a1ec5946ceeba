"""The reference values as the project sees them: a backbone, learned tokens, and arrays by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from headclip_med.models.clip.towers import Backbone, fit_weights
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.inference import InferenceModel
from headclip_med.prediction import Prediction
from tests.tiny import build_clip


def arrays(folder: Path, name: str) -> NpzFile:
    return np.load(folder / f"{name}.npz")


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def predicted(model: InferenceModel, drawn: torch.Tensor) -> Prediction:
    """Predict what the reference values belong to: numbers that were drawn, and no images."""
    with mock.patch("headclip_med.models.inference.require_images"):
        return model.predict(drawn)


def tensor(file: NpzFile, key: str) -> torch.Tensor:
    return torch.from_numpy(file[key])


def backbone(oracles: Path) -> Backbone:
    """Build the shared backbone; every size comes from the file, head counts from the settings."""
    stored = np.load(oracles / "backbone.npz")
    state = {key: torch.from_numpy(stored[key]).float() for key in stored.files}
    heads = config(oracles / "anomalyclip")
    conv, positions = state["visual.conv1.weight"], state["visual.positional_embedding"]
    width, patch = conv.shape[0], conv.shape[-1]
    vocabulary, text_width = state["token_embedding.weight"].shape
    grid = round((len(positions) - 1) ** 0.5)
    stem = "visual.transformer.resblocks."
    described = {
        "embed_dim": state["visual.proj"].shape[1],
        "quick_gelu": True,
        "vision_cfg": {
            "layers": _layers(state, stem), "width": width, "patch_size": patch,
            "image_size": grid * patch, "head_width": width // heads["vision_heads"],
        },
        "text_cfg": {
            "layers": _layers(state, "transformer.resblocks."), "width": text_width,
            "heads": heads["text_heads"], "vocab_size": vocabulary,
            "context_length": len(state["positional_embedding"]),
        },
    }  # fmt: skip
    as_they_are = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    built = build_clip(described, name="oracle", preprocess=as_they_are)
    fit_weights(built.clip, state, source="backbone.npz")
    return built


def model(oracles: Path, settings: HeadClipSettings) -> HeadClip:
    """Build a HeadCLIP with the learned tokens of the anomalyclip folder."""
    built = HeadClip(backbone(oracles), settings)
    learned = arrays(oracles / "anomalyclip", "learned")
    deep = sorted(
        (key for key in learned.files if key.startswith("compound_prompts_text.")),
        key=lambda key: int(key.rpartition(".")[2]),
    )
    with torch.no_grad():
        built.prompts.context.copy_(
            torch.stack([tensor(learned, "ctx_pos")[0, 0], tensor(learned, "ctx_neg")[0, 0]])
        )
        built.prompts.deep.copy_(torch.stack([tensor(learned, key) for key in deep]))
    return built


def text_settings(oracles: Path, **more: Any) -> HeadClipSettings:
    stated = config(oracles / "anomalyclip")
    return HeadClipSettings(
        context_tokens=stated["Prompt_length"],
        deep_tokens=stated["t_n_ctx"],
        deep_layers=stated["depth"],
        temperature=stated["temperature"],
        **more,
    )


def _layers(state: dict[str, torch.Tensor], stem: str) -> int:
    return 1 + max(int(k.removeprefix(stem).split(".")[0]) for k in state if k.startswith(stem))
