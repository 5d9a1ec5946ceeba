"""CLIP built by open_clip: one pair of frozen towers that every method stands on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from headclip_med.models.clip.hub import FoundModel
from headclip_med.models.clip.library import part
from headclip_med.models.clip.native import PlainClip, is_plain
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.clip.text import TextTower, Tokenizer
from headclip_med.models.clip.vision import VisionTower
from headclip_med.models.clip.weights import refuse_misfits
from headclip_med.prediction import Images
from headclip_med.settings import PositionInterpolation


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
        text: Any = getattr(clip, "text", clip)
        self.text = TextTower(text, tokenizer(int(text.context_length)))
        self.name = name
        self.weights = weights
        self.activation = activation
        for key in ("mean", "std"):
            values = torch.tensor(preprocess[key]).view(1, 3, 1, 1)
            self.register_buffer(f"_{key}", values, persistent=False)

    def normalise(self, images: Images) -> Images:
        """Shift and scale images in [0, 1] to what the image tower was trained on."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        return (images - mean) / std

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.get_buffer("_mean").device

    def describe(self) -> dict[str, str]:
        """Say which it is, in plain JSON values."""
        return {key: getattr(self, key) for key in ("name", "weights", "digest", "activation")}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and float32 values of all weights, whatever file they came in."""
        digest = hashlib.sha256(self.activation.encode())
        for key, value in sorted(self.clip.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def assemble(
    found: FoundModel, state: Mapping[str, Tensor] | None = None, *, seed: int = 0
) -> Backbone:
    """Build the towers of a model that was found, and fill them.

    Args:
        found: Its configuration was checked.
        state: All tensors by name; random ones by default. Towers of the plain kind that are filled
            are built without open_clip, which takes seconds to import.
        seed: Of random weights; the caller's random state is left as it was.

    Raises:
        UnusableWeights: The tensors do not fit the configuration.
    """
    config, preprocess = found.config, found.preprocess
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if state is not None and preprocess and is_plain(config):
            clip: nn.Module = PlainClip(config)
        else:
            import open_clip

            wanted = {key: value for key, value in config.items() if key != "custom_text"}
            kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
            clip = kind(**wanted)
            preprocess = preprocess or {
                "mean": open_clip.OPENAI_DATASET_MEAN,
                "std": open_clip.OPENAI_DATASET_STD,
            }
    made = Backbone(
        clip, name=found.name, weights=found.source, preprocess=preprocess,
        activation="quickgelu" if config.get("quick_gelu") else "gelu",
    )  # fmt: skip
    if state is not None:
        fit_weights(made.clip, state, source=found.path.name if found.path else found.name)
    return made


def variant(
    backbone: Backbone, *, activation: Activation, position_interpolation: PositionInterpolation
) -> Backbone:
    """Give the same towers, run otherwise; they share every parameter, and the digest stays.

    Args:
        backbone: Is left as it is.
        activation: What the blocks are run with, whatever the weights were trained with.
        position_interpolation: How positions are stretched to other image sizes.
    """
    own_digest = backbone.digest  # the same weights: hashed once
    kept = (*backbone.parameters(), *backbone.buffers(), backbone.text.tokenizer)
    other = deepcopy(backbone, {id(one): one for one in kept})
    other.digest = own_digest
    kind: type[nn.Module] = nn.GELU
    if activation == "quickgelu":
        from open_clip.transformer import QuickGELU

        kind = QuickGELU
    for module in other.clip.modules():
        if isinstance(getattr(module, "mlp", None), nn.Sequential):
            module.mlp.gelu = kind()
    other.vision.position_interpolation = position_interpolation
    return other


def fit_weights(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Put weights into a model; every tensor must be there, with the model's shape.

    Raises:
        UnusableWeights: Names or shapes differ; the message says which.
    """
    expected = model.state_dict()
    # logit_scale is a number in some layouts and a vector of one in others.
    refuse_misfits(
        {key: value.squeeze() for key, value in state.items()},
        {key: tuple(value.squeeze().shape) for key, value in expected.items()},
        reason=f"The weights in {source} do not fit the model",
        advice="Name the model that they were trained for.",
    )
    shaped = {key: state[key].reshape(value.shape).float() for key, value in expected.items()}
    model.load_state_dict(shaped)


@lru_cache(maxsize=4)
def tokenizer(context_length: int) -> Tokenizer:
    """Give CLIP's own tokenizer; rows are padded to the context length."""
    made: Tokenizer = part("tokenizer").SimpleTokenizer(context_length=context_length)
    return made  # it has unpacked its vocabulary
