"""What an AnoVL is made of."""

from __future__ import annotations

from typing import Literal

from headclip_med import settings

NAME = "anovl"
"""What it is called by."""

SCORES = settings.ScoreSettings(image_score="global", sigma_px=0.0)
"""How it scores, as published: by its own image score, and with maps that are not smoothed."""


@settings.checked
class AnoVlSettings(settings.MethodSettings):
    """What an AnoVL is made of, as its published code for MVTec AD has it."""

    wording: Literal["published", "medical"] = "published"
    """Sentences about an industrial photo of something damaged, as published, or about a scan of
    something with a lesion, by the modality where it is known."""
    class_name: settings.Words = settings.AUTO
    """What is looked at, as the sentences call it. ``auto`` takes the organ of the DICOM body part
    or the category of an evaluated set, and 'object' where neither is known."""
    local_layers: settings.Layers | None = None
    """One-based layers with value-value attention. None takes the last 12, which the published code
    has whatever the depth; they are all of its own backbone's."""
    feature_layer: settings.Layer | None = None
    """One-based layer whose local tokens give the map. None takes the last: the published code
    lists layers and keeps no copies, so that its fourth listed layer is always the last one. A
    number corrects that."""
    temperature: settings.Positive = 1.0
    """Of the softmax over normal and abnormal; the published code has none, so that its values stay
    close to one half."""
    views: bool = True
    """Whether the image score is averaged over 22 views of the image (rotated, shifted, mirrored,
    grey), at the cost of a pass each."""
    adaptation: Literal["none", "published", "independent"] = "none"
    """Test-time adaptation of the patches of each image. As published, the optimiser's moments go
    on from image to image, so that a result depends on what was seen before; independent starts
    them afresh."""
    adaptation_steps: settings.Count = 5
    """Steps of AdamW per image."""
    adaptation_rate: settings.Positive = 1e-3
    """Their learning rate; the weight decay is AdamW's default of 0.01."""
    adaptation_noise: settings.NotNegative = 0.055
    """Standard deviation of the noise that makes a patch abnormal while adapting."""
    seed: settings.Seed = 0
    """Of each image's fresh adapter and its noise; the published code draws from the global
    state."""
    position_interpolation: settings.PositionInterpolation = "bicubic-antialias"
    """How positions are stretched to that size."""

    @property
    def is_drawn(self) -> bool:
        """Whether it adapts, which begins at random."""
        return self.adaptation != "none"
