"""A sixth method, as someone would add it: this folder, and one line in ``models/registry.py``."""

from __future__ import annotations

from headclip_med.models.method import Method, later
from headclip_med.settings import (
    ImageSize,
    MethodSettings,
    PositionInterpolation,
    Positive,
    ScoreSettings,
    checked,
)


@checked
class SixthSettings(MethodSettings):
    """What it is made of."""

    gain: Positive = 1.0
    """Factor on brightness."""
    image_size: ImageSize | None = None
    """Rows and columns of the images, in pixels."""
    position_interpolation: PositionInterpolation = "bilinear"
    """How positions are stretched to that size."""


METHOD = Method(
    name="sixth",
    title="SixthCLIP",
    reference="nowhere",
    adapts="nothing: bright patches are abnormal",
    settings=SixthSettings(),
    scores=ScoreSettings(image_score="global"),
    model=later("tests.sixth.model", "Brightness"),
)
