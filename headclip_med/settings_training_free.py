"""The settings of WinCLIP and AnoVL: what their published code does is the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from headclip_med.errors import InvalidSettings
from headclip_med.settings import ScoreSettings
from headclip_med.settings_learned import PUBLISHED_MODEL

AUTO = "auto"
"""A class name that is left to the data."""


@dataclass(frozen=True)
class WinClipSettings:
    """What a zero-shot WinCLIP is made of; its authors published no code, others did twice."""

    implementation: Literal["anomalib", "caoyunkang"] = "anomalib"
    """Whose code is followed: sentences, temperature, how windows are pooled, how an image is
    scored. anomalib follows the paper; caoyunkang/WinClip pools normality instead of abnormality
    and scores an image by the highest pixel of its map."""
    wording: Literal["published", "medical"] = "published"
    """Sentences about a photo of something damaged, as published, or about a scan of something
    with a lesion, by the modality where it is known."""
    class_name: str = AUTO
    """What is looked at, as the sentences call it. ``auto`` takes the organ of the DICOM body part
    or the category of an evaluated set, and 'object' where neither is known."""
    corrected: bool = False
    """Whether plain mistakes of the published code are put right: anomalib has one sentence twice
    and another not at all; caoyunkang's zero-shot map is exactly half of what was meant."""
    scales: tuple[int, ...] = (2, 3)
    """Sides of the windows, in patches."""
    temperature: float | None = None
    """Of the softmax over normal and abnormal; None takes the implementation's (0.07 in anomalib,
    0.01 in caoyunkang)."""
    image_size: int | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px, and the
    backbone's own size otherwise."""
    position_interpolation: Literal["published", "bilinear", "bicubic", "bicubic-antialias"] = (
        "published"
    )
    """How positions are stretched to that size; as published: bicubic, anomalib's antialiased."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(self.implementation in ("anomalib", "caoyunkang"), "implementation is unknown")
        _require(self.wording in ("published", "medical"), "wording is published or medical")
        _require(bool(self.class_name.strip()), "class_name must not be empty")
        _require(bool(self.scales) and min(self.scales) >= 1, "scales start at 1")
        _require(self.temperature is None or self.temperature > 0, "temperature must be above 0")

    def to_json(self) -> dict[str, object]:
        """Plain values for a result file."""
        return asdict(self)


@dataclass(frozen=True)
class AnoVlSettings:
    """What an AnoVL is made of, as its published code for MVTec AD has it."""

    wording: Literal["published", "medical"] = "published"
    """Sentences about an industrial photo of something damaged, as published, or about a scan of
    something with a lesion, by the modality where it is known."""
    class_name: str = AUTO
    """What is looked at, as the sentences call it. ``auto`` takes the organ of the DICOM body part
    or the category of an evaluated set, and 'object' where neither is known."""
    local_layers: tuple[int, ...] | None = None
    """One-based layers with value-value attention. None takes the last 12, which the published code
    has whatever the depth; they are all of its own backbone's."""
    feature_layer: int | None = None
    """One-based layer whose local tokens give the map. None takes the last: the published code
    lists layers and keeps no copies, so that its fourth listed layer is always the last one. A
    number corrects that."""
    temperature: float = 1.0
    """Of the softmax over normal and abnormal; the published code has none, so that its values stay
    close to one half."""
    views: bool = True
    """Whether the image score is averaged over 22 views of the image (rotated, shifted, mirrored,
    grey), at the cost of a pass each."""
    adaptation: Literal["none", "published", "independent"] = "none"
    """Test-time adaptation of the patches of each image. As published, the optimiser's moments go
    on from image to image, so that a result depends on what was judged before; independent starts
    them afresh."""
    adaptation_steps: int = 5
    """Steps of AdamW per image."""
    adaptation_rate: float = 1e-3
    """Their learning rate; the weight decay is AdamW's default of 0.01."""
    adaptation_noise: float = 0.055
    """Standard deviation of the noise that makes a patch abnormal while adapting."""
    seed: int = 0
    """Of each image's fresh adapter and its noise; the published code draws from the global
    state."""
    image_size: int | None = None
    """Rows and columns of the images, in pixels; None takes 518 for ViT-L/14 at 336 px, and the
    backbone's own size otherwise."""
    position_interpolation: Literal["bilinear", "bicubic", "bicubic-antialias"] = (
        "bicubic-antialias"
    )
    """How positions are stretched to that size."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        layers, one = self.local_layers, self.feature_layer
        _require(self.wording in ("published", "medical"), "wording is published or medical")
        _require(bool(self.class_name.strip()), "class_name must not be empty")
        _require(layers is None or (bool(layers) and min(layers) >= 1), "local_layers start at 1")
        _require(one is None or one >= 1, "feature_layer starts at 1")
        _require(self.temperature > 0, "temperature must be above 0")
        kinds = ("none", "published", "independent")
        _require(self.adaptation in kinds, f"adaptation is one of {kinds}")
        _require(self.adaptation_steps >= 1, "adaptation_steps must be at least 1")
        _require(self.adaptation_rate > 0, "adaptation_rate must be above 0")
        _require(self.adaptation_noise >= 0, "adaptation_noise must not be negative")

    def to_json(self) -> dict[str, object]:
        """Plain values for a result file."""
        return asdict(self)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidSettings(f"{message}.")


TrainingFreeSettings = WinClipSettings | AnoVlSettings
"""The settings of a method that needs no training."""

TRAINING_FREE_MODEL: Mapping[str, TrainingFreeSettings] = {
    "winclip": WinClipSettings(),
    "anovl": AnoVlSettings(),
}
"""What each of them is made of by default."""

TRAINING_FREE_SCORES = ScoreSettings(image_score="global", sigma_px=0.0)
"""How they score by default: with their own image score, and maps that are not smoothed."""

METHOD_NAMES = (*PUBLISHED_MODEL, *TRAINING_FREE_MODEL)
"""All methods, HeadCLIP first."""

METHOD_TITLES: Mapping[str, str] = {
    "headclip": "HeadCLIP",
    "anomalyclip": "AnomalyCLIP",
    "adaclip": "AdaCLIP",
    "winclip": "WinCLIP",
    "anovl": "AnoVL",
}
"""What publications call them."""
