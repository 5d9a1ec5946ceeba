"""Every adjustable number, with its unit, its source and the reason for its default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from headclip_med.errors import InvalidSettings

SIGMA_REFERENCE_PX = 518
"""The image size that ``sigma_px`` is stated for."""

NO_PATCHES = (
    "The model does not say what patches its maps are made of, so S_local cannot be taken from "
    "them.",
    "Leave local_map at pixels.",
)

EMBEDDED_NAME = "headclip-mini"
"""The backbone that travels with the package."""


@dataclass(frozen=True)
class ScoreSettings:
    """How maps become scores (HeadCLIP eq. 7, 8 and 12)."""

    image_score: Literal["joint", "global"] = "joint"
    """How an image is scored. ``joint`` is HeadCLIP's JAS (eq. 8), which any method can have;
    ``global`` is the method's own image score without it, as the compared methods publish it."""
    joint_weight: float = 0.5
    """r of eq. 8, the class token's weight. The paper only shows a sweep; 0.5 is neutral."""
    top_percent: float = 3.0
    """k of eq. 7: S_local is the mean of this percentage of the map's largest pixels."""
    sigma_px: float = 4.0
    """Gaussian smoothing of the map, in pixels of an input of 518 px."""
    scale_sigma: bool = True
    """Whether ``sigma_px`` is scaled with the input, so that it stays the same share of the image;
    otherwise it counts pixels of any input, as in the published code."""
    local_map: Literal["pixels", "patches"] = "pixels"
    """What S_local takes its largest values from: ``pixels`` of the final map, stretched and
    smoothed ("pixel-wise" in the paper's figure 2), or ``patches`` of the grid before both."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(self.image_score in ("joint", "global"), "image_score is joint or global")
        _require(0 <= self.joint_weight <= 1, "joint_weight (r) must lie in [0, 1]")
        _require(0 < self.top_percent <= 100, "top_percent (k) must lie in (0, 100]")
        _require(self.sigma_px >= 0, "sigma_px must not be negative")
        _require(self.local_map in ("pixels", "patches"), "local_map is pixels or patches")

    @property
    def global_weight(self) -> float:
        """Weight of S_global in an image's score: r of eq. 8, or 1 without JAS."""
        return self.joint_weight if self.image_score == "joint" else 1.0

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header and a result file."""
        return asdict(self)

    def sigma_at(self, image_size_px: int) -> float:
        """Give the smoothing in pixels of an image of this size."""
        scale = image_size_px / SIGMA_REFERENCE_PX if self.scale_sigma else 1.0
        return self.sigma_px * scale


def top_count(places: int, top_percent: float) -> int:
    """Count the places whose mean is S_local (eq. 7): k % of them, rounded down, at least one."""
    # The tiny addend keeps exact products such as 0.3 % of 1000 from rounding down to 2.
    return max(1, math.floor(top_percent * places / 100 + 1e-9))


@dataclass(frozen=True)
class HeadClipSettings:
    """What a HeadCLIP is made of; where the paper is silent, whose practice the default follows."""

    local_layers: tuple[int, ...] | None = None
    """One-based layers with value-value attention. None takes the paper's 5 to 19 of ViT-L/14's 24,
    or the same fractions of another depth."""
    local_residual: bool = True
    """Whether the local stream starts from the tokens entering its first layer, as in CLIP Surgery
    and AnomalyCLIP, whose blocks HeadCLIP builds on; eq. 6 read literally has no such term."""
    head_weights: Literal["learned", "ones"] = "learned"
    """``ones`` switches LHW off: the same model, its head weights frozen at 1."""
    head_weight_start: Literal["1.0", "0.5", "0.0", "gaussian"] = "1.0"
    """Where the head weights start; the paper's ablation finds 1.0 best."""
    context_tokens: int = 12
    """E: learned word embeddings per sentence."""
    deep_tokens: int = 4
    """Learned tokens per text layer."""
    deep_layers: int = 9
    """The first this many text layers see learned tokens; the first layer sees the context, so one
    set fewer is learned (as AnomalyCLIP's authors explain theirs)."""
    deep_first: int = 2
    """One-based text layer that the first set of deep tokens is put before."""
    deep_cast: Literal["none", "fp16"] = "none"
    """``fp16`` rounds the deep tokens as AnomalyCLIP's published code does."""
    normal: str = "object"
    """The words behind the learned ones for what is normal."""
    abnormal: str = "damaged object"
    """The words behind the learned ones for what is not."""
    class_token_norm: bool = False
    """Whether the class token passes the final norm before its projection; AnomalyCLIP's does not,
    and its authors report equal accuracy."""
    temperature: float = 0.07
    """Of the softmax over normal and abnormal."""
    image_size: int | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px (as
    AnomalyCLIP and AdaCLIP do), and the backbone's own size otherwise."""
    position_interpolation: Literal["bilinear", "bicubic", "bicubic-antialias"] = "bilinear"
    """How positions are stretched to that size."""
    mirrored: bool = False
    """Whether a model in use averages what it says of an image and of its mirror image, at twice
    the cost; training is the same."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        layers = self.local_layers
        _require(layers is None or (bool(layers) and min(layers) >= 1), "local_layers start at 1")
        _require(self.head_weights in ("learned", "ones"), "head_weights is learned or ones")
        starts = ("1.0", "0.5", "0.0", "gaussian")
        _require(self.head_weight_start in starts, f"head_weight_start is one of {starts}")
        _require(self.context_tokens >= 1, "context_tokens must be at least 1")
        _require(self.deep_tokens >= 1, "deep_tokens must be at least 1")
        _require(self.deep_tokens <= self.context_tokens, "deep_tokens must not exceed the context")
        _require(self.deep_layers >= 0 and self.deep_first >= 1, "deep layers must not be negative")
        _require(self.temperature > 0, "temperature must be above 0")

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header and a result file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeadClipSettings:
        """Build from the values that ``to_json`` gave."""
        layers = values.get("local_layers")
        return cls(**{**values, "local_layers": tuple(layers) if layers is not None else None})


def usual_headclip(backbone: str) -> HeadClipSettings:
    """Give what HeadCLIP is made of on a backbone where nothing else is said.

    As published; but the map of headclip-mini was pretrained through its last three layers, and its
    class token with the final norm, and on others its images are ranked no better than by chance.

    Args:
        backbone: Its name.
    """
    if backbone == EMBEDDED_NAME:
        return HeadClipSettings(local_layers=(4, 5, 6), class_token_norm=True)
    return HeadClipSettings()


@dataclass(frozen=True)
class TrainSettings:
    """How a method is trained; the defaults are HeadCLIP's: AnomalyCLIP's protocol, lambda 1."""

    epochs: int = 15
    """Passes over the auxiliary data; the last one's weights are kept."""
    batch_size: int = 8
    """Images per step; processes that torchrun starts share them."""
    learning_rate: float = 1e-3
    """Of Adam, constant, the same for prompts and head weights."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam."""
    local_weight: float = 1.0
    """lambda: weight of the local terms. Eq. 11 has none; AnomalyCLIP's later code takes 4."""
    weight_decay: float = 0.0
    """Decoupled from the gradient (AdamW); 0 makes it Adam. AdaCLIP takes AdamW's default."""
    squeezed_dice: bool = False
    """Whether a batch of one image averages its dice terms over image rows instead of images: the
    published code of AnomalyCLIP and AdaCLIP squeezes the batch axis of such a mask away."""
    seed: int = 111
    """Of fresh tokens and of the order of images."""
    patience: int = 0
    """Stop when the mean loss has not fallen below its lowest for this many epochs, and keep the
    last one's weights. 0 never stops early, as published."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """``bf16`` runs the towers' products in bfloat16 (autocast), much faster where the hardware has
    it; comparison, losses and weights stay float32. Published for AdaCLIP alone, in fp16."""

    mosaic: float = 0.0
    """Probability that an image gives way to a 2 x 2 mosaic of four of its category, under its own
    label. AdaCLIP's published training takes 0.2 on MVTec AD (the default there), else 0."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(0 <= self.mosaic <= 1, "mosaic must lie in [0, 1]")
        _require(self.patience >= 0, "patience must not be negative")
        _require(self.precision in ("fp32", "bf16"), "precision is fp32 or bf16")
        _require(self.epochs >= 1, "epochs must be at least 1")
        _require(self.batch_size >= 1, "batch_size must be at least 1")
        _require(self.learning_rate > 0, "learning_rate must be above 0")
        _require(self.local_weight >= 0, "local_weight must not be negative")
        _require(self.weight_decay >= 0, "weight_decay must not be negative")

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header."""
        return asdict(self)


@dataclass(frozen=True)
class ScreenSettings:
    """How a volume is screened."""

    window: str = "auto"
    """``auto``, the name of a preset, or ``centre,width`` in the volume's unit."""
    crop: Literal["body", "none"] = "body"
    """``body`` shows the model the square that holds the body, the same of every slice, instead of
    the air around it; ``none`` shows whole slices. Pictures without patient geometry stay whole."""
    tiling: Literal["whole", "windows"] = "whole"
    """``whole`` resizes a slice to the model's input: one pass, and the class token sees the whole
    organ, which is what it was trained for. ``windows`` slides the model's input over the slice."""
    overlap: float = 0.5
    """Fraction by which neighbouring windows overlap."""
    batch_size: int = 8
    """Slices per forward pass."""
    threshold: float | None = None
    """Heatmap value that makes a lesion candidate; None takes the model's calibrated one."""
    minimum_size: float = 30.0
    """Smaller candidates are dropped; in mm3, or pixels where there is no patient geometry."""
    pooling: Literal["top-slices", "max", "mean"] = "top-slices"
    """How slice scores become the study's: the mean of the highest few is less at the mercy of a
    single false alarm than the maximum."""
    pooled_slices: int = 3
    """How many slices ``top-slices`` averages."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(self.crop in ("body", "none"), "crop must be body or none")
        _require(self.tiling in ("whole", "windows"), "tiling must be whole or windows")
        _require(0 <= self.overlap < 1, "overlap must lie in [0, 1)")
        _require(self.batch_size >= 1, "batch_size must be at least 1")
        _require(self.threshold is None or 0 <= self.threshold <= 1, "threshold must lie in [0, 1]")
        _require(self.minimum_size >= 0, "minimum_size must not be negative")
        _require(self.pooling in ("top-slices", "max", "mean"), "pooling is unknown")
        _require(self.pooled_slices >= 1, "pooled_slices must be at least 1")

    def to_json(self) -> dict[str, object]:
        """Plain values for a result file."""
        return asdict(self)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidSettings(f"{message}.")
