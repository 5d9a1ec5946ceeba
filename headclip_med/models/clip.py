"""CLIP backbones from open_clip: one pair of frozen towers that every method is built on."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from huggingface_hub import try_to_load_from_cache
from jaxtyping import Float, Int
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from torch import Tensor, nn

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.text import TextTower
from headclip_med.models.vision import PositionInterpolation, VisionTower
from headclip_med.models.weights import Activation, fit_weights, read_weights

DEFAULT_TAG = "openai"
"""The pretrained weights meant by a bare model name: those of the compared publications."""

EMBEDDED_NAME = "headclip-mini"
"""The demonstration backbone that travels with the package."""

EMBEDDED_PATH = (
    Path(__file__).parents[1]
    / "bundles/headclip_lesion_segmentation/models/headclip-mini.safetensors"
)

_FOLDER_PREFIX = "local-dir:"


class Backbone(nn.Module):
    """The two towers, what they expect of an image, and what they are called.

    Attributes:
        clip: The open_clip model that the towers share their parameters with.
        vision: Image tower.
        text: Text tower.
        name: What it was asked for by, for example ``ViT-L-14-336``.
        weights: Where its weights came from, in words: a tag, ``random``, ``embedded``, ``file``.
        activation: What the weights were trained with and are run with.
    """

    def __init__(
        self,
        clip: Any,
        *,
        name: str,
        weights: str,
        activation: Activation,
        preprocess: Mapping[str, tuple[float, ...]],
    ) -> None:
        super().__init__()
        self.clip: Any = clip.eval().requires_grad_(False)
        self.vision = VisionTower(clip.visual)
        self.text = TextTower(*_text_parts(clip))
        self.name = name
        self.weights = weights
        self.activation = activation
        for key in ("mean", "std"):
            values = torch.tensor(preprocess[key]).view(1, 3, 1, 1)
            self.register_buffer(f"_{key}", values, persistent=False)

    def normalise(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Shift and scale images in [0, 1] to what the image tower was trained on."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        return (images - mean) / std

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and float32 values of all weights, whatever file they came in."""
        digest = hashlib.sha256(self.activation.encode())
        for key, value in sorted(self.clip.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def build_clip(
    config: Mapping[str, Any],
    *,
    name: str = "custom",
    weights: str = "random",
    preprocess: Mapping[str, tuple[float, ...]] | None = None,
    seed: int = 0,
) -> Backbone:
    """Build randomly initialised towers from an open_clip model configuration.

    Args:
        config: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and optionally ``quick_gelu``.
        name: What to call it.
        weights: Where its weights come from, in words.
        preprocess: ``mean`` and ``std`` per channel; OpenAI's by default.
        seed: Of the random weights; the caller's random state is left as it was.

    Raises:
        InvalidSettings: The configuration is not that of a native ViT with a class token.
    """
    wanted = {key: value for key, value in config.items() if key not in ("custom_text",)}
    _refuse_foreign_towers(wanted)
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    with _seeded(seed):
        clip = kind(**wanted)
    activation: Activation = "quickgelu" if config.get("quick_gelu") else "gelu"
    stated = preprocess or {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
    }
    return Backbone(clip, name=name, weights=weights, activation=activation, preprocess=stated)


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
    if name == EMBEDDED_NAME or name.endswith(".safetensors"):
        return _load_described(EMBEDDED_PATH if name == EMBEDDED_NAME else Path(name), name)
    folder = _as_folder(name)
    config, preprocess = _folder_config(folder) if folder else (_registry_config(name), None)
    _refuse_foreign_towers(config)
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


def _load_described(path: Path, name: str) -> Backbone:
    """Load a file whose header holds the model's configuration."""
    file = read_weights(path)
    try:
        config = json.loads(file.metadata["config"])
        preprocess = json.loads(file.metadata["preprocess"])
        seed = int(file.metadata["token_seed"])
    except (KeyError, ValueError) as error:
        raise UnusableWeights(
            f"The header of {path.name} describes no model; name the model, and pass this file as "
            "--weights.",
            code="weights-unreadable",
        ) from error
    source = "embedded" if name == EMBEDDED_NAME else "file"
    label = path.stem
    backbone = build_clip(config, name=label, weights=source, preprocess=preprocess)
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


def known_models() -> tuple[str, ...]:
    """Name the open_clip models that can be used: native ViTs with a class token."""
    usable = []
    for name in open_clip.list_models():
        try:
            _refuse_foreign_towers(open_clip.get_model_config(name))
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
            f"open_clip has no weights '{tag}' for {name}; it has "
            f"{', '.join(known_tags(name)) or 'none'}.",
            code="unknown-tag",
        )
    try:
        return Path(open_clip.download_pretrained(entry))
    except Exception as error:  # whatever the network or the hub's client meets
        raise UnusableWeights(
            f"The weights '{tag}' of {name} could not be downloaded; check the network, or copy "
            "the file here by other means and pass it as --weights FILE.",
            code="download-failed",
        ) from error


def _locate(
    name: str, folder: Path | None, weights: str | Path | None
) -> tuple[Path, str, Activation | None]:
    """Find the file, what to call it, and the activation that open_clip states for it."""
    if weights is not None and (Path(weights).suffix or Path(weights).is_file()):
        return Path(weights), "file", None
    if folder is not None:
        return _folder_weights(folder), "file", None
    tag = str(weights or DEFAULT_TAG)
    entry = open_clip.get_pretrained_cfg(name, tag)
    path = cached_weights(name, tag) if entry else None
    if path is None:
        tags = ", ".join(known_tags(name)) or "none"
        raise UnusableWeights(
            f"The weights '{tag}' of {name} are not on this machine (open_clip knows: {tags}). "
            f"Get them with 'headclip weights fetch {name} --tag {tag}', or copy the file here "
            "and pass it as --weights FILE.",
            code="weights-missing",
        )
    return path, tag, "quickgelu" if entry.get("quick_gelu") else "gelu"


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
            f"{asked or own}, which silently costs accuracy; leave --activation out, or name the "
            "model that the weights belong to.",
            code="activation-mismatch",
        )
    if not opinions:
        raise UnusableWeights(
            "The file does not say which activation its weights were trained with, and a wrong "
            "one silently costs accuracy; pass --activation quickgelu for OpenAI's weights, "
            "or --activation gelu.",
            code="activation-unknown",
        )
    return opinions.pop()


def _as_folder(name: str) -> Path | None:
    if name.startswith(_FOLDER_PREFIX):
        return Path(name.removeprefix(_FOLDER_PREFIX))
    return Path(name) if Path(name).is_dir() else None


def _folder_config(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[float, ...]] | None]:
    path = folder / HF_CONFIG_NAME
    try:
        stated = json.loads(path.read_text())
        config = stated["model_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableWeights(
            f"{path} is missing or is no open_clip configuration; a model folder needs it beside "
            "its weights.",
            code="config-unreadable",
        ) from error
    preprocess = stated.get("preprocess_cfg", {})
    if "mean" in preprocess and "std" in preprocess:
        return config, {"mean": tuple(preprocess["mean"]), "std": tuple(preprocess["std"])}
    return config, None


def _folder_weights(folder: Path) -> Path:
    names = (HF_SAFE_WEIGHTS_NAME, "open_clip_pytorch_model.safetensors", HF_WEIGHTS_NAME)
    for file in names:
        if (folder / file).is_file():
            return folder / file
    raise UnusableWeights(
        f"{folder} holds none of {', '.join(names)}; copy the weights there, or pass --weights.",
        code="weights-missing",
    )


def _registry_config(name: str) -> dict[str, Any]:
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, known_models(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InvalidSettings(
            f"There is no model '{name}'; {hint}'headclip weights' lists them.",
            code="unknown-model",
        )
    return dict(config)


def _refuse_foreign_towers(config: Mapping[str, Any]) -> None:
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
    for is_foreign, part in foreign:
        if is_foreign:
            raise InvalidSettings(
                f"The model's {part} is of another kind, whose attention heads cannot be reached; "
                "choose a native ViT such as ViT-B-16 or ViT-L-14-336.",
                code="foreign-tower",
            )


_CUSTOM_BLOCKS = (
    "block_type", "qk_norm", "scaled_cosine_attn", "scale_heads",
    "scale_attn_inner", "scale_attn", "scale_fc",
)  # fmt: skip


def _text_parts(clip: Any) -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    text: Any = getattr(clip, "text", clip)
    return text, _tokenizer(int(text.context_length))


@lru_cache(maxsize=4)
def _tokenizer(context_length: int) -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=context_length)  # unpacks its vocabulary


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
