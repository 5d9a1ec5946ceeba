"""What open_clip knows: models by name, their pretrained weights, and where those are cached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from headclip_med.errors import InvalidSettings, UnusableWeights, nearest
from headclip_med.models.clip import snapshots
from headclip_med.models.clip.library import configs, part, stated_config, tables
from headclip_med.models.clip.snapshots import Activation
from headclip_med.settings import EMBEDDED_NAME

DEFAULT_TAG = "openai"
"""The pretrained weights meant by a bare model name: those of the compared publications."""

EMBEDDED_PATH = (
    Path(__file__).parents[2]
    / "bundles/headclip_lesion_segmentation/models/headclip-mini.safetensors"
)


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
    if name == EMBEDDED_NAME or Path(name).suffix == ".safetensors":
        _refuse_weights(name, weights)
        if name == EMBEDDED_NAME:
            return _described(EMBEDDED_PATH, "embedded")
        return _described(Path(name), "file")
    given = Path(weights) if weights and weights != "random" else None
    if given and given.suffix == ".safetensors" and "config" in (_stated_header(given) or ()):
        return _of_the_name(name, _described(given, "file"))
    folder = snapshots.folder_of(name)
    stated = folder and snapshots.read_folder(folder)
    config = stated.config if stated else registry_config(name)
    refuse_foreign_towers(config)
    runs_with: Activation | None = None  # a plain registry name serves weights of both kinds
    if stated or config.get("quick_gelu"):
        runs_with = "quickgelu" if config.get("quick_gelu") else "gelu"
    preprocess = stated.preprocess if stated else None
    if weights == "random":
        return FoundModel(config, preprocess, name, "random", runs_with=runs_with)
    trained: Activation | None = None
    if given and given.is_dir():
        own = snapshots.read_folder(given)
        refuse_other_sizes(name, config, own.config)
        path, source, preprocess = own.weights(), "file", own.preprocess
        trained = "quickgelu" if own.config.get("quick_gelu") else "gelu"
    elif given and (given.suffix or given.is_file()):
        path, source, trained = given, "file", snapshots.activation_beside(given)
    elif folder and stated:
        path, source = stated.weights(), "file"
    else:
        source = str(weights or DEFAULT_TAG)
        path, trained = find_weights(name, source), stated_activation(name, source)
    if not path.is_file():
        raise unusable_file(path)
    return FoundModel(
        config, preprocess, path.name if folder else name, source, path, trained, runs_with
    )


def refuse_unused(
    found: FoundModel, *, activation: Activation | None = None, seed: int = 0
) -> None:
    """Refuse what was asked for and would not be used: a user would believe that it was.

    Raises:
        InvalidSettings: The activation of weights that say it themselves, or of random ones; or the
            seed of weights that are not random.
    """
    if activation is not None and (found.token_seed is not None or found.path is None):
        why = "says it itself" if found.path else "is random"
        raise unused(
            f"--activation {activation} is not used: {found.name} {why}.", "Leave --activation out."
        )
    if seed and found.path is not None:
        raise unused(
            f"The seed {seed} is not used: it is that of random weights, and {found.name} has "
            "others.",
            "Leave it out, or ask for random weights.",
        )


def unused(reason: str, advice: str) -> InvalidSettings:
    """Say that an option would have no effect."""
    return InvalidSettings(reason, advice, code="unused-option")


def _refuse_weights(name: str, weights: str | Path | None) -> None:
    if weights is not None:
        what = name if name == EMBEDDED_NAME else "This file"
        raise unused(
            f"--weights is not used here: {what} brings its own.",
            "Leave --weights out, or name the model that they belong to, such as ViT-L-14-336.",
        )


def _of_the_name(name: str, found: FoundModel) -> FoundModel:
    """Take a file that describes its model for a name, unless that name says another one."""
    config = stated_config(name)
    if config is not None:
        refuse_other_sizes(name, config, found.config)
    return found


def refuse_other_sizes(name: str, config: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse weights whose own configuration is of another model than the one that was named.

    Raises:
        UnusableWeights: They differ in a size.
    """
    for part_name, key in _SIZES:
        ours = config.get(part_name, {}) if part_name else config
        theirs = other.get(part_name, {}) if part_name else other
        if key in ours and key in theirs and ours[key] != theirs[key]:
            where = f"{part_name.partition('_')[0]} {key}".strip()
            raise UnusableWeights(
                f"The weights are not those of {name}: their own configuration has {where} "
                f"{theirs[key]}, and that model {ours[key]}.",
                "Name the model that they belong to.",
                code="weights-mismatch",
            )


_SIZES = (
    ("", "embed_dim"),
    *(("vision_cfg", key) for key in ("layers", "width", "patch_size", "image_size")),
    *(("text_cfg", key) for key in ("layers", "width", "heads", "context_length", "vocab_size")),
)


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
            f"{nearest(tag, known_tags(name))}It has {', '.join(known_tags(name)) or 'none'}.",
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
        raise InvalidSettings(
            f"There is no model '{name}'.",
            f"{nearest(name, (EMBEDDED_NAME, *known_models()))}'headclip weights' lists them.",
            code="unknown-model",
        )
    return dict(config)


def refuse_foreign_towers(config: Mapping[str, Any]) -> None:
    """Accept native ViTs with a class token and a causal text tower only.

    Raises:
        InvalidSettings: The model is of another kind.
    """
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    native = "a native ViT with a class token"
    causal = "CLIP's own causal text tower, which takes learned tokens"
    foreign: tuple[tuple[Any, str, str], ...] = (
        (vision.get("timm_model_name"), f"timm's {vision.get('timm_model_name')}", native),
        (not isinstance(vision.get("layers"), int), "a convolutional image tower", native),
        (vision.get("attentional_pool"), "an image tower with attentional pooling", native),
        (vision.get("pool_type", "tok") != "tok", "an image tower without a class token", native),
        (text.get("hf_model_name"), f"Hugging Face's {text.get('hf_model_name')}", causal),
        (text.get("hf_tokenizer_name"), f"words of {text.get('hf_tokenizer_name')}", causal),
        (text.get("embed_cls"), "a text tower with a class token", causal),
        (text.get("no_causal_mask"), "a text tower that looks ahead", causal),
        (text.get("pool_type", "argmax") not in ("argmax", "eos"), "other text pooling", causal),
        ("multimodal_cfg" in config, "a caption decoder", "two towers alone"),
        (any(vision.get(key) or text.get(key) for key in _CUSTOM_BLOCKS),
         "attention blocks of another kind", "attention heads that can be weighed one by one"),
    )  # fmt: skip
    named = [(kind, needed) for is_foreign, kind, needed in foreign if is_foreign]
    if named:
        kinds = " and ".join(dict.fromkeys(kind for kind, _ in named))
        missing = " and ".join(dict.fromkeys(needed for _, needed in named))
        raise InvalidSettings(
            f"The model has {kinds}; the methods here need {missing}.",
            "Choose a native ViT such as ViT-B-16 or ViT-L-14-336.",
            code="foreign-tower",
        )


_CUSTOM_BLOCKS = (
    "block_type", "qk_norm", "scaled_cosine_attn", "scale_heads",
    "scale_attn_inner", "scale_attn", "scale_fc",
)  # fmt: skip
