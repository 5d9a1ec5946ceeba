"""Folders of models as they are passed around: open_clip's, and snapshots of the Hugging Face Hub.

Nothing is fetched. A name of the Hub (``hf-hub:ORG/NAME``, with or without ``@REVISION``) is looked
up in the cache that the Hub's own client fills.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headclip_med.errors import InvalidSettings, UnusableWeights

Activation = Literal["gelu", "quickgelu"]
"""What stands between the two linear layers of a block."""

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""What open_clip calls the files of a model folder, preferred first."""

TRANSFORMERS_CONFIG_FILE = "config.json"
INDEX_SUFFIX = ".index.json"
"""Of the file that tells which of several files holds which tensor."""

TRANSFORMERS_WEIGHTS_FILES = (
    "model.safetensors",
    f"model.safetensors{INDEX_SUFFIX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX_SUFFIX}",
)
"""What transformers calls them, preferred first."""

_FOLDER_PREFIX = "local-dir:"
_HUB_PREFIXES = ("hf-hub:", "hf_hub:")

_TEXT = {
    "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8,
    "intermediate_size": 2048, "max_position_embeddings": 77, "vocab_size": 49_408,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
_VISION = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "patch_size": 32, "image_size": 224,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
"""What transformers takes where a configuration says nothing (its CLIPTextConfig and
CLIPVisionConfig)."""

_PROJECTION = 512
_ACTIVATIONS: Mapping[str, Activation] = {"gelu": "gelu", "quick_gelu": "quickgelu"}


@dataclass(frozen=True)
class ModelFolder:
    """What a folder says of its model.

    Attributes:
        place: The folder.
        config: In open_clip's form.
        preprocess: ``mean`` and ``std`` per channel, where they are stated.
        names: Of files that may hold its weights, preferred first.
    """

    place: Path
    config: dict[str, Any]
    preprocess: dict[str, tuple[float, ...]] | None
    names: tuple[str, ...]

    def weights(self) -> Path:
        """Find its weights.

        Raises:
            UnusableWeights: There are none.
        """
        for name in self.names:
            if (self.place / name).is_file():
                return self.place / name
        raise UnusableWeights(
            f"{self.place} holds none of {', '.join(self.names)}.",
            "Copy the weights there, or pass --weights.",
            code="weights-missing",
        )


def folder_of(name: str) -> Path | None:
    """Find the folder that a name stands for; None where it names none.

    Raises:
        UnusableWeights: It is a name of the Hub, and the Hub's cache does not have it; or a folder
            of that cache has several snapshots and says of none that it is the one.
    """
    for prefix in _HUB_PREFIXES:
        if name.startswith(prefix):
            return _cached(name.removeprefix(prefix))
    if name.startswith(_FOLDER_PREFIX):
        return _snapshot(Path(name.removeprefix(_FOLDER_PREFIX)), None)
    return _snapshot(Path(name), None) if Path(name).is_dir() else None


def read_folder(place: Path) -> ModelFolder:
    """Read what a folder says of its model; open_clip's own form is preferred.

    Raises:
        InvalidSettings: The model is of a kind that is not used here.
        UnusableWeights: It says nothing that can be read.
    """
    place = _snapshot(place, None)
    if not (place / CONFIG_FILE).is_file() and (place / TRANSFORMERS_CONFIG_FILE).is_file():
        return _transformers(place)
    stated = _read(place / CONFIG_FILE)
    config, preprocess = stated.get("model_cfg"), stated.get("preprocess_cfg", {})
    if not isinstance(config, dict):
        raise _unreadable(place / CONFIG_FILE)
    return ModelFolder(place, config, _mean_and_std(preprocess, "mean", "std"), WEIGHTS_FILES)


def activation_beside(path: Path) -> Activation | None:
    """Tell what the configuration beside a file of a model folder says; None without one."""
    if path.name not in WEIGHTS_FILES + TRANSFORMERS_WEIGHTS_FILES:
        return None
    try:
        config = read_folder(path.parent).config
    except (InvalidSettings, UnusableWeights):  # it is another file's, or none
        return None
    return "quickgelu" if config.get("quick_gelu") else "gelu"


def _cached(name: str) -> Path:
    """Find a model of the Hub where its own client keeps what it fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE

    repository, _, revision = name.partition("@")
    place = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    if not place.is_dir():
        raise UnusableWeights(
            f"{repository} is not in this machine's cache of the Hugging Face Hub, and nothing is "
            "fetched from there.",
            f"Get it with 'hf download {repository}', or name a folder with its files.",
            code="weights-missing",
        )
    return _snapshot(place, revision or None)


def _snapshot(place: Path, revision: str | None) -> Path:
    """Go from a folder of the Hub's cache to the snapshot that is meant."""
    if not (place / "snapshots").is_dir():
        return place
    reference = place / "refs" / (revision or "main")
    wanted = reference.read_text().strip() if reference.is_file() else revision
    there = sorted(one for one in (place / "snapshots").iterdir() if one.is_dir())
    for one in there:
        if one.name == wanted or (wanted is None and len(there) == 1):
            return one
    raise UnusableWeights(
        f"{place.name} does not tell which of its {len(there)} snapshots is meant.",
        "Name the folder of one of them.",
        code="weights-missing",
    )


def _transformers(place: Path) -> ModelFolder:
    """Turn transformers' configuration of a CLIP into open_clip's.

    Raises:
        InvalidSettings: It is of another kind of model.
    """
    stated = _read(place / TRANSFORMERS_CONFIG_FILE)
    text = {**_TEXT, **_given(stated, "text_config")}
    vision = {**_VISION, **_given(stated, "vision_config")}
    acts = dict.fromkeys(str(tower["hidden_act"]) for tower in (text, vision))
    foreign = (
        (stated.get("model_type") != "clip", f"a '{stated.get('model_type')}' model"),
        (len(acts) != 1 or not set(acts) <= set(_ACTIVATIONS), f"activation {' and '.join(acts)}"),
        (text["vocab_size"] != _TEXT["vocab_size"], "words of another tokenizer"),
        ({text["layer_norm_eps"], vision["layer_norm_eps"]} != {1e-5}, "another layer norm"),
    )  # fmt: skip
    for is_foreign, kind in foreign:
        if is_foreign:
            raise InvalidSettings(
                f"{TRANSFORMERS_CONFIG_FILE} describes {kind}; the methods here need CLIP's own "
                "two towers.",
                "Choose a CLIP such as openai/clip-vit-large-patch14-336.",
                code="foreign-tower",
            )
    config = {
        "embed_dim": int(stated.get("projection_dim", _PROJECTION)),
        "quick_gelu": "quick_gelu" in acts,
        "vision_cfg": {
            "image_size": int(vision["image_size"]), "layers": int(vision["num_hidden_layers"]),
            "width": int(vision["hidden_size"]), "patch_size": int(vision["patch_size"]),
            "head_width": int(vision["hidden_size"]) // int(vision["num_attention_heads"]),
            "mlp_ratio": int(vision["intermediate_size"]) / int(vision["hidden_size"]),
        },
        "text_cfg": {
            "context_length": int(text["max_position_embeddings"]),
            "vocab_size": int(text["vocab_size"]), "width": int(text["hidden_size"]),
            "heads": int(text["num_attention_heads"]), "layers": int(text["num_hidden_layers"]),
            "mlp_ratio": int(text["intermediate_size"]) / int(text["hidden_size"]),
        },
    }  # fmt: skip
    pictures = place / "preprocessor_config.json"
    preprocess = (
        _mean_and_std(_read(pictures), "image_mean", "image_std") if pictures.is_file() else None
    )
    return ModelFolder(place, config, preprocess, TRANSFORMERS_WEIGHTS_FILES)


def _given(stated: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Give what counts of one tower.

    As in transformers' CLIPConfig, the form of earlier versions (``text_config_dict``) replaces the
    present one with its defaults.
    """
    earlier, present = stated.get(f"{name}_dict"), stated.get(name)
    given = present if earlier is None else earlier
    return {key: value for key, value in (given or {}).items() if value is not None}


def _mean_and_std(
    stated: Mapping[str, Any], mean: str, std: str
) -> dict[str, tuple[float, ...]] | None:
    if mean in stated and std in stated:
        return {"mean": tuple(stated[mean]), "std": tuple(stated[std])}
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path) from error
    if not isinstance(stated, dict):
        raise _unreadable(path)
    return stated


def _unreadable(path: Path) -> UnusableWeights:
    return UnusableWeights(
        f"{path} is missing, or is no configuration of a CLIP.",
        f"A model folder needs open_clip's {CONFIG_FILE} beside its weights, or transformers' "
        f"{TRANSFORMERS_CONFIG_FILE}.",
        code="config-unreadable",
    )
