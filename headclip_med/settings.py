"""Every adjustable number, with its unit, its source and the reason for its default.

A settings class is a dataclass under ``checked``, and every field of it states in its type what it
accepts. What anything else is refused with is a sentence made of that type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from headclip_med.errors import InvalidSettings, nearest

S = TypeVar("S", bound="Settings")

SIGMA_REFERENCE_PX = 518
"""The image size that ``sigma_px`` is stated for."""

NO_PATCHES = (
    "The model does not say what patches its maps are made of, so S_local cannot be taken from "
    "them.",
    "Leave local_map at pixels.",
)

EMBEDDED_NAME = "headclip-mini"
"""The backbone that travels with the package."""

MOST_SEEDS = 100
"""That one command goes through."""

AUTO = "auto"
"""A choice that is left to the data, or to the machine."""

Precision = Literal["fp32", "bf16", "auto"]
"""What products of the towers are computed in; ``auto`` is bf16 where hardware is made for it."""

PositionInterpolation = Literal["bilinear", "bicubic", "bicubic-antialias"]
"""How a table of positions is stretched to another grid."""

Plane = Literal["axial", "coronal", "sagittal"]
"""A plane of the patient's body."""

Symmetry = Literal["auto", "on", "off"]
"""Whether both sides of a head are compared."""

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0, le=1e6)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
ImageSize = Annotated[int, Field(ge=1, le=16_384)]
Layer = Annotated[int, Field(ge=1, le=1_000)]
Layers = Annotated[tuple[Layer, ...], Field(min_length=1)]
Words = Annotated[str, Field(pattern=r"\S", max_length=500, description="a text that is not empty")]

_CHECKS = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)

_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "True or False",
    "null": "None",
    "object": "a dictionary",
}
_BOUNDS = {
    "minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below",
}  # fmt: skip


class Settings:
    """What every settings class stands on; see ``checked``."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a checkpoint's header and a result file."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # it is a dataclass below

    @property
    def is_drawn(self) -> bool:
        """Whether what it describes draws at random in use, from its ``seed``."""
        return False

    def changed(self: S, **changes: object) -> S:
        """Give the same settings, some fields otherwise."""
        return replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    def from_json(cls: type[S], values: Mapping[str, Any]) -> S:
        """Build from what JSON made of the values that ``to_json`` gave.

        Raises:
            InvalidSettings: A value is outside its type or range, or belongs to no field.
        """
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass_transform(frozen_default=True, kw_only_default=True)
def checked(kind: type[S]) -> type[S]:
    """Make a settings class of its fields: frozen, and strict about types and ranges.

    Building one raises ``InvalidSettings`` for what the fields do not accept.
    """
    made: Any = checked_dataclass(kind, frozen=True, kw_only=True, config=_CHECKS)
    build = made.__init__

    @wraps(build)
    def build_or_say(self: S, *values: object, **named: object) -> None:
        try:
            build(self, *values, **named)
        except ValidationError as error:
            told = InvalidSettings(*_explained(made, error, named))
            told.field = str(error.errors()[0]["loc"][0])
            raise told from None

    made.__init__ = build_or_say
    found: type[S] = made
    return found


@checked
class MethodSettings(Settings):
    """What the settings of every method have."""

    image_size: ImageSize | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px, and the
    backbone's own size otherwise."""
    position_interpolation: PositionInterpolation = "bilinear"
    """How positions are stretched to that size."""


@checked
class PromptSettings(MethodSettings):
    """What the settings of a method have that learns sentences word by word."""

    context_tokens: Count = 12
    """Learned word embeddings per sentence."""
    deep_tokens: Count = 4
    """Learned tokens per text layer."""
    deep_layers: Annotated[int, Field(ge=0, le=1_000)] = 9
    """The first this many text layers see learned tokens; the first layer sees the context, so one
    set fewer is learned (as AnomalyCLIP's authors explain theirs)."""
    deep_first: Layer = 2
    """One-based text layer that the first set of deep tokens is put before."""
    deep_cast: Literal["none", "fp16"] = "none"
    """``fp16`` rounds the deep tokens and their gradients, as AnomalyCLIP's published code does;
    ``none`` keeps them exact."""
    normal: Words = "object"
    """The words behind the learned ones for what is normal."""
    abnormal: Words = "damaged object"
    """The words behind the learned ones for what is not."""
    class_token_norm: bool = False
    """Whether the class token passes the final norm before its projection, as in CLIP;
    AnomalyCLIP's does not, and its authors report equal accuracy."""
    temperature: Positive = 0.07
    """Of the softmax over normal and abnormal."""

    def __post_init__(self) -> None:
        """Check what concerns two fields."""
        require(
            self.deep_tokens <= self.context_tokens,
            f"deep_tokens must not exceed context_tokens, {self.context_tokens}.",
        )


def require(holds: bool, reason: str, advice: str = "") -> None:
    """Refuse settings whose fields do not fit each other.

    Raises:
        InvalidSettings: It does not hold.
    """
    if not holds:
        raise InvalidSettings(reason, advice)


def _explained(
    kind: type[Settings], error: ValidationError, given: Mapping[str, object]
) -> tuple[str, str]:
    """Say which field refuses what, and what it accepts."""
    first = error.errors()[0]
    name, known = first["loc"][0], [one.name for one in fields(kind)]  # type: ignore[arg-type]
    if isinstance(name, int):
        return f"The fields of {kind.__name__} are given by name.", ""
    if name not in known:
        return f"{kind.__name__} has no field '{name}'.", f"It has {', '.join(known)}."
    schema = TypeAdapter(kind).json_schema()["properties"][name]
    value = given.get(name, first["input"])
    advice = nearest(value, _words(schema)).strip() if isinstance(value, str) else ""
    return f"{name} must be {_accepted(schema)}, not {_shown(value)}.", advice


def _accepted(schema: Mapping[str, Any]) -> str:
    """Put what a field's JSON schema accepts in words."""
    if "anyOf" in schema:
        return " or ".join(_accepted(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return f"a {schema['$ref'].rsplit('/', 1)[-1]}"
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema or "const" in schema:
        return " or ".join(str(one) for one in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        parts = schema.get("prefixItems", [schema.get("items")])
        counted = f"{len(parts)}, each" if "prefixItems" in schema else "any, each"
        least = "at least one, each" if schema.get("minItems") == 1 else counted
        return f"a tuple of {least} {_accepted(parts[0])}"
    bounds = (f" {word} {schema[key]:,}" for key, word in _BOUNDS.items() if key in schema)
    return _KINDS[schema["type"]] + "".join(bounds)


def _words(schema: Mapping[str, Any]) -> list[str]:
    """List the words to choose from, where a field's JSON schema accepts some."""
    nested = [word for one in schema.get("anyOf", ()) for word in _words(one)]
    return [*map(str, schema.get("enum", ())), *nested]


def _shown(value: object) -> str:
    plain = value is None or isinstance(value, bool | int | float | str | tuple | list)
    return repr(value)[:60] if plain else f"a {type(value).__name__}"


@checked
class ScoreSettings(Settings):
    """How maps become scores (HeadCLIP eq. 7, 8 and 12)."""

    image_score: Literal["joint", "global"] = "joint"
    """How an image is scored. ``joint`` is HeadCLIP's JAS (eq. 8), which any method can have;
    ``global`` is the method's own image score without it, as the compared methods publish it."""
    joint_weight: Fraction = 0.5
    """r of eq. 8, the class token's weight. The paper only shows a sweep; 0.5 is neutral."""
    top_percent: Annotated[float, Field(gt=0, le=100)] = 3.0
    """k of eq. 7: S_local is the mean of this percentage of the map's largest pixels."""
    sigma_px: Annotated[float, Field(ge=0, le=1_000)] = 4.0
    """Gaussian smoothing of the map, in pixels of an input of 518 px."""
    scale_sigma: bool = True
    """Whether ``sigma_px`` is scaled with the input, so that it stays the same share of the image;
    otherwise it counts pixels of any input, as in the published code."""
    local_map: Literal["pixels", "patches"] = "pixels"
    """What S_local takes its largest values from: ``pixels`` of the final map, stretched and
    smoothed ("pixel-wise" in the paper's figure 2), or ``patches`` of the grid before both."""

    @property
    def global_weight(self) -> float:
        """Weight of S_global in an image's score: r of eq. 8, or 1 without JAS."""
        return self.joint_weight if self.image_score == "joint" else 1.0

    def sigma_at(self, image_size_px: int) -> float:
        """Give the smoothing in pixels of an image of this size."""
        scale = image_size_px / SIGMA_REFERENCE_PX if self.scale_sigma else 1.0
        return self.sigma_px * scale


def top_count(places: int, top_percent: float) -> int:
    """Count the places whose mean is S_local (eq. 7): k % of them, rounded down, at least one."""
    # The tiny addend keeps exact products such as 0.3 % of 1000 from rounding down to 2.
    return max(1, math.floor(top_percent * places / 100 + 1e-9))


@checked
class TrainSettings(Settings):
    """How a method is trained; the defaults are HeadCLIP's: AnomalyCLIP's protocol, lambda 1."""

    epochs: Count = 15
    """Passes over the auxiliary data; the last one's weights are kept."""
    batch_size: Count = 8
    """Images per step; processes that torchrun starts share them."""
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 1e-3
    """Of Adam, constant, the same for prompts and head weights."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.5,
        0.999,
    )
    """Of Adam."""
    local_weight: NotNegative = 1.0
    """lambda: weight of the local terms. Eq. 11 has none; AnomalyCLIP's later code takes 4."""
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Decoupled from the gradient (AdamW); 0 makes it Adam. AdaCLIP takes AdamW's default."""
    squeezed_dice: bool = False
    """Whether a batch of one image averages its dice terms over image rows instead of images: the
    published code of AnomalyCLIP and AdaCLIP squeezes the batch axis of such a mask away."""
    seed: Seed = 111
    """Of fresh tokens and of the order of images."""
    patience: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Stop when the mean loss has not fallen below its lowest for this many epochs, and keep the
    last one's weights. 0 never stops early, as published."""
    precision: Precision = "fp32"
    """``bf16`` runs the towers' products in bfloat16 (autocast), much faster where the hardware has
    it, which ``auto`` finds out; elsewhere they stay float32. Comparison, losses and weights are
    float32 always. Published for AdaCLIP alone, in fp16."""

    mosaic: Fraction = 0.0
    """Probability that an image gives way to a 2 x 2 mosaic of four of its category, under its own
    label. AdaCLIP's published training takes 0.2 on MVTec AD (the default there), else 0."""


@checked
class ScreenSettings(Settings):
    """How a volume is screened."""

    window: Words = AUTO
    """``auto``, the name of a preset, or ``centre,width`` in the volume's unit."""
    crop: Literal["body", "none"] = "body"
    """``body`` shows the model the square that holds the body, the same of every slice, instead of
    the air around it; ``none`` shows whole slices. Pictures without patient geometry stay whole."""
    planes: Literal["axial", "coronal", "sagittal", "all"] = "axial"
    """Which of the patient's planes slices are cut in, however the file stores them; ``all`` takes
    the mean of the three. Where slices lie far apart they stay those of the acquisition."""
    symmetry: Symmetry = "auto"
    """Whether a slice is compared with its mirror image too: ``auto`` does it for CT and MR of the
    head, by their coded modality and body part; ``on`` for whatever is given."""
    tiling: Literal["whole", "windows"] = "whole"
    """``whole`` resizes a slice to the model's input: one pass, and the class token sees the whole
    organ, which is what it was trained for. ``windows`` slides the model's input over the slice."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Fraction by which neighbouring windows overlap."""
    batch_size: Count = 8
    """Slices per forward pass."""
    threshold: Fraction | None = None
    """Heatmap value that makes a lesion candidate; None takes the model's."""
    minimum_size: Annotated[float, Field(ge=0, le=1e9)] = 30.0
    """Smaller candidates are dropped; in mm3, or pixels where there is no patient geometry."""
    pooling: Literal["top-slices", "max", "mean"] = "top-slices"
    """How slice scores become the study's: the mean of the highest few is less at the mercy of a
    single false alarm than the maximum."""
    pooled_slices: Count = 3
    """How many slices ``top-slices`` averages."""


OF_NO_LOGITS = ("scores", "name", "calibrated", "precision_asked")
"""What a model says of itself that its logits do not follow from."""

OF_NO_SCORE = ("batch_size", "minimum_size", "threshold")
"""Settings of a screening that its score does not follow from."""


@checked
class SiteSettings(Settings):
    """Where the studies come from."""

    site: Words | None = None
    """Where, or on which scanner, studies are made, in your words; p-values are of one site."""


@checked
class CalibrationSettings(SiteSettings):
    """What is said of normal studies."""

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The share of normal studies that may be flagged, on average."""


@checked
class DriftSettings(Settings):
    """How p-values are watched."""

    window: Annotated[int, Field(ge=10, le=1_000)] = 100
    """How many studies are looked at together; each counts in one window."""
    abnormal: Fraction = 0.5
    """The largest share of abnormal studies that is ordinary: no more than these are taken for the
    cause of low p-values."""
    false_alarms: Annotated[float, Field(ge=1e-9, le=0.1)] = 0.001
    """The share of windows that may raise an alarm where nothing has changed, on average."""
