"""Every adjustable number in one place, with its unit, its source and the reason for its default."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from headclip_med.errors import InvalidSettings


@dataclass(frozen=True)
class ScoreSettings:
    """How maps become scores (HeadCLIP eq. 7, 8 and 12)."""

    joint_weight: float = 0.5
    """r of eq. 8: weight of the class token's score. The paper only shows a sweep; 0.5 is neutral."""
    top_percent: float = 3.0
    """k of eq. 7: S_local is the mean of this percentage of the map's largest pixels."""
    sigma_px: float = 4.0
    """Gaussian smoothing of the map, in pixels of the model's input at 518 px (scaled with size)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(0 <= self.joint_weight <= 1, "joint_weight (r) must lie in [0, 1]")
        _require(0 < self.top_percent <= 100, "top_percent (k) must lie in (0, 100]")
        _require(self.sigma_px >= 0, "sigma_px must not be negative")


@dataclass(frozen=True)
class ScreenSettings:
    """How a volume is screened."""

    window: str = "auto"
    """``auto``, the name of a preset, or ``centre,width`` in the volume's unit."""
    tiling: Literal["whole", "windows"] = "whole"
    """``whole`` resizes a slice to the model's input: one pass, and the class token sees the whole
    organ, which is what it was trained for. ``windows`` slides the model's input over the slice."""
    overlap: float = 0.5
    """Fraction by which neighbouring windows overlap."""
    batch_size: int = 8
    """Slices per forward pass."""
    threshold: float | None = None
    """Heatmap value that makes a lesion candidate; None takes the model's calibrated one."""
    minimum_volume_mm3: float = 30.0
    """Smaller candidates are dropped (pixels for images without patient geometry)."""
    pooling: Literal["top-slices", "max", "mean"] = "top-slices"
    """How slice scores become the study's: the mean of the highest few is less at the mercy of a
    single false alarm than the maximum."""
    pooled_slices: int = 3
    """How many slices ``top-slices`` averages."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(self.tiling in ("whole", "windows"), "tiling must be whole or windows")
        _require(0 <= self.overlap < 1, "overlap must lie in [0, 1)")
        _require(self.batch_size >= 1, "batch_size must be at least 1")
        _require(self.threshold is None or 0 <= self.threshold <= 1, "threshold must lie in [0, 1]")
        _require(self.minimum_volume_mm3 >= 0, "minimum_volume_mm3 must not be negative")
        _require(self.pooling in ("top-slices", "max", "mean"), "pooling is unknown")
        _require(self.pooled_slices >= 1, "pooled_slices must be at least 1")

    def to_json(self) -> dict[str, object]:
        """Plain values for a result file."""
        return asdict(self)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidSettings(f"{message}.")
