"""What open_clip knows: models by name, their pretrained weights, and where those are cached."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.clip.library import configs, part, stated_config, tables
from headclip_med.settings import EMBEDDED_NAME

DEFAULT_TAG = "openai"
"""The pretrained weights meant by a bare model name: those of the compared publications."""

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

Activation = Literal["gelu", "quickgelu"]


def known_models() -> tuple[str, ...]:
    """Name the open_clip models that can be used: native ViTs with a class token."""
    usable = []
    for name, config in configs().items():
        try:
            refuse_foreign_towers(config)
        except InvalidSettings:
            continue
        usable.append(name)
    return tuple(usable)


def known_tags(name: str) -> tuple[str, ...]:
    """Name the pretrained weights that open_clip knows for a model."""
    return tuple(tables().list_pretrained_tags_by_model(name))


def cached_weights(name: str, tag: str) -> Path | None:
    """Look for pretrained weights in open_clip's caches; nothing is fetched."""
    entry = tables().get_pretrained_cfg(name, tag)
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


@dataclass(frozen=True)
class FoundModel:
    """Towers whose files were found; no tensor is read yet.

    Attributes:
        config: open_clip's, of a native ViT.
        preprocess: ``mean`` and ``std`` per channel, where they are stated.
        name: What to call them.
        source: Where the weights come from, in words: a tag, ``random``, ``embedded``, ``file``.
        path: Of the weights; None where they are random.
        activation: What is stated that these weights were trained with.
        runs_with: What the configuration runs them with, where it tells.
        token_seed: Of the words that were not stored; None where a file does not describe itself.
    """

    config: Mapping[str, Any]
    preprocess: Mapping[str, tuple[float, ...]] | None
    name: str
    source: str
    path: Path | None = None
    activation: Activation | None = None
    runs_with: Activation | None = None
    token_seed: int | None = None


def find_model(name: str, weights: str | Path | None) -> FoundModel:
    """Find what ``load_backbone`` loads, and check all that can be told without reading tensors.

    Args:
        name: As ``load_backbone`` takes it.
        weights: As ``load_backbone`` takes them.

    Raises:
        InvalidSettings: The model is unknown, or not a native ViT.
        UnusableWeights: Its weights or its configuration are not there, or are unreadable.
    """
    if name == EMBEDDED_NAME:
        return _described(EMBEDDED_PATH, "embedded")
    if Path(name).suffix == ".safetensors":
        return _described(Path(name), "file")
    given = Path(weights) if weights and weights != "random" else None
    if given and given.suffix == ".safetensors" and "config" in (_stated_header(given) or ()):
        return _described(given, "file")
    place = _as_folder(name)
    config, preprocess = _folder_config(place) if place else (registry_config(name), None)
    refuse_foreign_towers(config)
    runs_with: Activation | None = None  # a plain registry name serves weights of both kinds
    if place or config.get("quick_gelu"):
        runs_with = "quickgelu" if config.get("quick_gelu") else "gelu"
    if weights == "random":
        return FoundModel(config, preprocess, name, "random", runs_with=runs_with)
    if given and (given.suffix or given.is_file()):
        path, source, stated = given, "file", None
    elif place:
        path, source, stated = _folder_weights(place), "file", None
    else:
        source = str(weights or DEFAULT_TAG)
        path, stated = find_weights(name, source), stated_activation(name, source)
    if not path.is_file():
        raise unusable_file(path)
    label = path.name if place else name
    return FoundModel(config, preprocess, label, source, path, stated, runs_with)


def _described(path: Path, source: str) -> FoundModel:
    """Read the header of a file that holds its model's configuration."""
    header = _stated_header(path)
    if header is None:
        raise unusable_file(path)
    try:
        config = json.loads(header["config"])
        stated = json.loads(header["preprocess"])
        preprocess = {key: tuple(stated[key]) for key in ("mean", "std")}
        seed = int(header["token_seed"])
    except (KeyError, ValueError) as error:
        raise UnusableWeights(
            f"The header of {path.name} describes no model.",
            "Name the model, and pass this file as --weights.",
            code="weights-unreadable",
        ) from error
    refuse_foreign_towers(config)
    return FoundModel(config, preprocess, path.stem, source, path, token_seed=seed)


def _stated_header(path: Path) -> dict[str, str] | None:
    """Read what a safetensors file says of itself; None where it is none, or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return None


def _as_folder(name: str) -> Path | None:
    if name.startswith(_FOLDER_PREFIX):
        return Path(name.removeprefix(_FOLDER_PREFIX))
    return Path(name) if Path(name).is_dir() else None


def _folder_config(place: Path) -> tuple[dict[str, Any], dict[str, tuple[float, ...]] | None]:
    path = place / CONFIG_FILE
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


def _folder_weights(place: Path) -> Path:
    for file in WEIGHTS_FILES:
        if (place / file).is_file():
            return place / file
    raise UnusableWeights(
        f"{place} holds none of {', '.join(WEIGHTS_FILES)}.",
        "Copy the weights there, or pass --weights.",
        code="weights-missing",
    )


def unusable_file(path: Path) -> UnusableWeights:
    """Say that a file of weights is missing, or not whole."""
    if not path.is_file():
        return UnusableWeights(
            f"There is no weights file at {path}.",
            "Check the path, or see 'headclip weights'.",
            code="weights-missing",
        )
    return UnusableWeights(
        f"{path} is truncated or damaged.", "Copy or download it anew.", code="weights-unreadable"
    )


def fetch_weights(name: str, tag: str) -> Path:
    """Download pretrained weights into open_clip's cache.

    Raises:
        UnusableWeights: The tag is unknown, or the download failed.
    """
    entry = tables().get_pretrained_cfg(name, tag)
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
    return "quickgelu" if tables().get_pretrained_cfg(name, tag).get("quick_gelu") else "gelu"


def registry_config(name: str) -> dict[str, Any]:
    """Look a model up.

    Raises:
        InvalidSettings: It is unknown; the message names its neighbours.
    """
    config = stated_config(name)
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
