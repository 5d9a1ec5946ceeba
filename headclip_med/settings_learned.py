"""The settings of AnomalyCLIP and AdaCLIP: what their published code does is the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from headclip_med.errors import InvalidSettings
from headclip_med.settings import HeadClipSettings, ScoreSettings, TrainSettings


@dataclass(frozen=True)
class AnomalyClipSettings:
    """What an AnomalyCLIP is made of, as its published code has it."""

    local_layers: tuple[int, ...] | None = None
    """One-based layers with value-value attention. None takes the published 6 to 24 of ViT-L/14's
    24, or the same fractions of another depth; empty switches it off."""
    feature_layers: tuple[int, ...] | None = None
    """One-based layers whose tokens give a map each. None takes four, a quarter of the depth apart
    (6, 12, 18, 24); the scripts of the published code's last state pass 24 alone."""
    context_tokens: int = 12
    """Learned word embeddings per sentence."""
    deep_tokens: int = 4
    """Learned tokens per text layer."""
    deep_layers: int = 9
    """The first this many text layers see learned tokens; the first one sees the context."""
    deep_first: int = 2
    """One-based text layer that the first set of deep tokens is put before."""
    deep_cast: Literal["none", "fp16"] = "fp16"
    """``fp16`` rounds the deep tokens and their gradients, as the published code does; ``none``
    keeps them exact."""
    normal: str = "object"
    """The words behind the learned ones for what is normal."""
    abnormal: str = "damaged object"
    """The words behind the learned ones for what is not."""
    class_token_norm: bool = False
    """Whether the class token passes the final norm before its projection, as in CLIP; the
    published code leaves it out."""
    temperature: float = 0.07
    """Of the softmax over normal and abnormal."""
    image_size: int | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px, and the
    backbone's own size otherwise."""
    position_interpolation: Literal["bilinear", "bicubic", "bicubic-antialias"] = "bilinear"
    """How positions are stretched to that size."""
    earlier_sizes: tuple[int, ...] = ()
    """Image sizes in pixels that positions are stretched to first. The published code overwrites
    its position table whenever the size changes, so that sizes seen before degrade later ones; with
    one size throughout, as in all its scripts, there is no difference."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for layers in (self.local_layers, self.feature_layers):
            _require(not layers or min(layers) >= 1, "layers start at 1")
        _require(self.feature_layers != (), "feature_layers must not be empty")
        _require(self.context_tokens >= 1, "context_tokens must be at least 1")
        _require(1 <= self.deep_tokens <= self.context_tokens, "deep_tokens: 1 to context_tokens")
        _require(self.deep_layers >= 0 and self.deep_first >= 1, "deep layers must not be negative")
        _require(self.deep_cast in ("none", "fp16"), "deep_cast is none or fp16")
        _require(self.temperature > 0, "temperature must be above 0")

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header and a result file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AnomalyClipSettings:
        """Build from the values that ``to_json`` gave."""
        return cls(**_tuples(values, "local_layers", "feature_layers", "earlier_sizes"))


@dataclass(frozen=True)
class AdaClipSettings:
    """What an AdaCLIP is made of, as its published code has it."""

    class_name: str = "object"
    """What is looked at, as the sentences call it; the published code takes the category's name.
    Hyphens become spaces."""
    prompts: Literal["static+dynamic", "static", "dynamic"] = "static+dynamic"
    """Static prompts are learned, dynamic ones are made from the image; both are added up."""
    prompted_towers: Literal["both", "image", "text", "none"] = "both"
    """Where prompts are put in."""
    prompt_tokens: int = 5
    """Prompt tokens per layer."""
    prompt_depth: int = 4
    """The first this many layers see prompts of their own; in the text tower the first one does
    not, as in the published code, so that its static prompts are never used."""
    prompt_cast: Literal["none", "fp16"] = "fp16"
    """``fp16`` rounds prompts and their gradients, as the published code does; ``none`` keeps them
    exact."""
    feature_layers: tuple[int, ...] | None = None
    """One-based layers whose tokens give a map each. None takes four, a quarter of the depth apart
    (the published 6, 12, 18, 24 of ViT-L/14)."""
    fusion: bool = True
    """Whether hybrid semantic fusion adds the centres of the most abnormal patches to the class
    token before the image is scored."""
    fusion_weight: float = 0.2
    """Share of those centres."""
    clusters: int = 20
    """k of the k-means that finds them; five times as many patches are clustered."""
    cluster_seed: int = 0
    """Of k-means. The published code draws from NumPy's global state, unseeded in its test."""
    mlp_activation: Literal["gelu", "trained-with"] = "gelu"
    """What the towers are run with. The published code runs OpenAI's weights with GELU although
    they were trained with QuickGELU, so its checkpoints need ``gelu``; ``trained-with`` takes what
    the weights were trained with."""
    logit_scale: float = 100.0
    """Factor on cosines before a softmax."""
    image_size: int | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px, and the
    backbone's own size otherwise."""
    position_interpolation: Literal["bilinear", "bicubic", "bicubic-antialias"] = "bicubic"
    """How positions are stretched to that size."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        layers = self.feature_layers
        _require(layers is None or (bool(layers) and min(layers) >= 1), "feature_layers start at 1")
        kinds = ("static+dynamic", "static", "dynamic")
        _require(self.prompts in kinds, f"prompts is one of {kinds}")
        towers = ("both", "image", "text", "none")
        _require(self.prompted_towers in towers, f"prompted_towers is one of {towers}")
        _require(bool(self.class_name.strip()), "class_name must not be empty")
        _require(self.prompt_tokens >= 1, "prompt_tokens must be at least 1")
        _require(self.prompt_depth >= 1, "prompt_depth must be at least 1")
        _require(0 <= self.fusion_weight <= 1, "fusion_weight must lie in [0, 1]")
        _require(self.clusters >= 1, "clusters must be at least 1")
        _require(self.logit_scale > 0, "logit_scale must be above 0")

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header and a result file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AdaClipSettings:
        """Build from the values that ``to_json`` gave."""
        return cls(**_tuples(values, "feature_layers"))


def _tuples(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found = {name: values.get(name) for name in names if name in values}
    return {**values, **{k: v if v is None else tuple(v) for k, v in found.items()}}


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidSettings(f"{message}.")


LearnedSettings = HeadClipSettings | AnomalyClipSettings | AdaClipSettings
"""The settings of a method that is trained."""

PUBLISHED_MODEL: Mapping[str, LearnedSettings] = {
    "headclip": HeadClipSettings(),
    "anomalyclip": AnomalyClipSettings(),
    "adaclip": AdaClipSettings(),
}
"""What each trained method is made of by default."""

PUBLISHED_TRAINING: Mapping[str, TrainSettings] = {
    "headclip": TrainSettings(),
    "anomalyclip": TrainSettings(local_weight=4.0, squeezed_dice=True),
    "adaclip": TrainSettings(
        epochs=5, batch_size=1, learning_rate=0.01, weight_decay=0.01, squeezed_dice=True
    ),
}
"""How each is trained by default; AdaCLIP's published code keeps the epoch that is best on the set
it is tested on, here the last one is kept."""

PUBLISHED_SCORES: Mapping[str, ScoreSettings] = {
    "headclip": ScoreSettings(),
    "anomalyclip": ScoreSettings(image_score="global"),
    "adaclip": ScoreSettings(image_score="global"),
}
"""How each scores an image by default: AnomalyCLIP and AdaCLIP do without the map."""
