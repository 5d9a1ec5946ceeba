"""What open_clip knows: models by name, their pretrained weights, and where those are cached."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.clip.library import folder, part
from headclip_med.settings import EMBEDDED_NAME

DEFAULT_TAG = "openai"
"""The pretrained weights meant by a bare model name: those of the compared publications."""

if TYPE_CHECKING:
    from headclip_med.models.clip.weights import Activation


def known_models() -> tuple[str, ...]:
    """Name the open_clip models that can be used: native ViTs with a class token."""
    usable = []
    for name, config in _configs().items():
        try:
            refuse_foreign_towers(config)
        except InvalidSettings:
            continue
        usable.append(name)
    return tuple(usable)


def known_tags(name: str) -> tuple[str, ...]:
    """Name the pretrained weights that open_clip knows for a model."""
    return tuple(_tables().list_pretrained_tags_by_model(name))


def cached_weights(name: str, tag: str) -> Path | None:
    """Look for pretrained weights in open_clip's caches; nothing is fetched."""
    entry = _tables().get_pretrained_cfg(name, tag)
    repository, _, file = entry.get("hf_hub", "").rpartition("/")
    if repository:
        from huggingface_hub import try_to_load_from_cache

        names = part("constants")
        usual = (names.HF_SAFE_WEIGHTS_NAME, names.HF_WEIGHTS_NAME)
        for wanted in (file,) if file else usual:
            found = try_to_load_from_cache(repository, wanted)
            if isinstance(found, str):
                return Path(found)
    url = entry.get("url", "")
    plain = Path("~/.cache/clip").expanduser() / url.rpartition("/")[2]
    return plain if url and plain.is_file() else None


def find_weights(name: str, tag: str) -> Path:
    """Give the file of pretrained weights that was fetched before.

    Raises:
        UnusableWeights: It is not on this machine.
    """
    path = cached_weights(name, tag)
    if path is None:
        tags = ", ".join(known_tags(name)) or "none"
        raise UnusableWeights(
            f"The weights '{tag}' of {name} are not on this machine (open_clip knows: {tags}).",
            f"Get them with 'headclip weights fetch {name} --tag {tag}', or copy the file here and "
            "pass it as --weights FILE.",
            code="weights-missing",
        )
    return path


def check_backbone(name: str, weights: str | None) -> None:
    """Refuse towers that cannot be loaded, as far as names and files tell.

    Args:
        name: As ``load_backbone`` takes it.
        weights: As ``load_backbone`` takes them.

    Raises:
        InvalidSettings: The model is unknown.
        UnusableWeights: Its weights are not on this machine.
    """
    is_file = Path(name).suffix == ".safetensors"
    if name == EMBEDDED_NAME or is_file or name.startswith("local-dir:") or Path(name).is_dir():
        return  # whoever reads it says what is wrong
    refuse_foreign_towers(registry_config(name))
    if weights is None or not (Path(weights).suffix or Path(weights).is_file()):
        if weights != "random":
            find_weights(name, weights or DEFAULT_TAG)
    elif not Path(weights).is_file():
        raise no_weights_file(Path(weights))


def no_weights_file(path: Path) -> UnusableWeights:
    """Say that a file of weights is missing."""
    return UnusableWeights(
        f"There is no weights file at {path}.",
        "Check the path, or see 'headclip weights'.",
        code="weights-missing",
    )


def fetch_weights(name: str, tag: str) -> Path:
    """Download pretrained weights into open_clip's cache.

    Raises:
        UnusableWeights: The tag is unknown, or the download failed.
    """
    entry = _tables().get_pretrained_cfg(name, tag)
    if not entry:
        raise UnusableWeights(
            f"open_clip has no weights '{tag}' for {name}.",
            f"It has {', '.join(known_tags(name)) or 'none'}.",
            code="unknown-tag",
        )
    import open_clip

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
    return "quickgelu" if _tables().get_pretrained_cfg(name, tag).get("quick_gelu") else "gelu"


def registry_config(name: str) -> dict[str, Any]:
    """Look a model up.

    Raises:
        InvalidSettings: It is unknown; the message names its neighbours.
    """
    config = _config(name)
    if config is None:
        near = difflib.get_close_matches(name, known_models(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InvalidSettings(
            f"There is no model '{name}'.",
            f"{hint}'headclip weights' lists them.",
            code="unknown-model",
        )
    return dict(config)


def refuse_foreign_towers(config: Mapping[str, Any]) -> None:
    """Accept native ViTs with a class token and a causal text tower only.

    Raises:
        InvalidSettings: The model is of another kind.
    """
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    foreign = (
        ("timm_model_name" in vision or not isinstance(vision.get("layers"), int), "image tower"),
        (vision.get("attentional_pool"), "attentional pooling"),
        (vision.get("pool_type", "tok") != "tok", "pooling without a class token"),
        ("hf_model_name" in text or "hf_tokenizer_name" in text, "text tower"),
        (text.get("embed_cls") or text.get("no_causal_mask"), "text tower"),
        (text.get("pool_type", "argmax") not in ("argmax", "eos"), "text pooling"),
        ("multimodal_cfg" in config, "caption decoder"),
        (any(vision.get(key) or text.get(key) for key in _CUSTOM_BLOCKS), "attention blocks"),
    )
    for is_foreign, place in foreign:
        if is_foreign:
            raise InvalidSettings(
                f"The model's {place} is of another kind, whose attention heads cannot be reached.",
                "Choose a native ViT such as ViT-B-16 or ViT-L-14-336.",
                code="foreign-tower",
            )


_CUSTOM_BLOCKS = (
    "block_type", "qk_norm", "scaled_cosine_attn", "scale_heads",
    "scale_attn_inner", "scale_attn", "scale_fc",
)  # fmt: skip


@cache
def _configs() -> dict[str, dict[str, Any]]:
    """Read the configurations that open_clip brings, in the order in which it lists them."""
    found = {}
    for path in (folder() / "model_configs").glob("*.json"):
        config = json.loads(path.read_text("utf-8"))
        if {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
            found[path.stem] = config
    return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def _natural(name: str) -> list[str | int]:
    parts = re.split(r"(\d+)", name.lower())
    return [int(one) if one.isdigit() else one for one in parts]


def _config(name: str) -> dict[str, Any] | None:
    """Look up a configuration; ask open_clip of one that lies at a hub, or that was added to it."""
    if ":" in name or "open_clip" in sys.modules:
        import open_clip

        known: dict[str, Any] | None = open_clip.get_model_config(name)
        return known
    return deepcopy(_configs().get(name))


def _tables() -> Any:
    """Give what knows the pretrained weights: open_clip where it is loaded, else its tables."""
    return sys.modules.get("open_clip") or part("pretrained")
