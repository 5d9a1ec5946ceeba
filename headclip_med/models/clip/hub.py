"""What open_clip knows: models by name, their pretrained weights, and where those are cached."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.clip.towers import refuse_foreign_towers
from headclip_med.models.clip.weights import Activation


def known_models() -> tuple[str, ...]:
    """Name the open_clip models that can be used: native ViTs with a class token."""
    usable = []
    for name in open_clip.list_models():
        try:
            refuse_foreign_towers(open_clip.get_model_config(name))
        except InvalidSettings:
            continue
        usable.append(name)
    return tuple(usable)


def known_tags(name: str) -> tuple[str, ...]:
    """Name the pretrained weights that open_clip knows for a model."""
    return tuple(open_clip.list_pretrained_tags_by_model(name))


def cached_weights(name: str, tag: str) -> Path | None:
    """Look for pretrained weights in open_clip's caches; nothing is fetched."""
    entry = open_clip.get_pretrained_cfg(name, tag)
    repository, _, file = entry.get("hf_hub", "").rpartition("/")
    if repository:
        for wanted in (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME):
            found = try_to_load_from_cache(repository, wanted)
            if isinstance(found, str):
                return Path(found)
    url = entry.get("url", "")
    plain = Path("~/.cache/clip").expanduser() / url.rpartition("/")[2]
    return plain if url and plain.is_file() else None


def fetch_weights(name: str, tag: str) -> Path:
    """Download pretrained weights into open_clip's cache.

    Raises:
        UnusableWeights: The tag is unknown, or the download failed.
    """
    entry = open_clip.get_pretrained_cfg(name, tag)
    if not entry:
        raise UnusableWeights(
            f"open_clip has no weights '{tag}' for {name}.",
            f"It has {', '.join(known_tags(name)) or 'none'}.",
            code="unknown-tag",
        )
    try:
        return Path(open_clip.download_pretrained(entry))
    except Exception as error:  # whatever the network or the hub's client meets
        raise UnusableWeights(
            f"The weights '{tag}' of {name} could not be downloaded.",
            "Check the network, or copy the file here by other means and pass it as --weights "
            "FILE.",
            code="download-failed",
        ) from error


def stated_activation(name: str, tag: str) -> Activation:
    """Say what open_clip states that pretrained weights were trained with."""
    return "quickgelu" if open_clip.get_pretrained_cfg(name, tag).get("quick_gelu") else "gelu"


def registry_config(name: str) -> dict[str, Any]:
    """Look a model up.

    Raises:
        InvalidSettings: It is unknown; the message names its neighbours.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, known_models(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InvalidSettings(
            f"There is no model '{name}'.",
            f"{hint}'headclip weights' lists them.",
            code="unknown-model",
        )
    return dict(config)
