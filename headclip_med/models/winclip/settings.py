"""What a WinCLIP is made of."""

from __future__ import annotations

from typing import Literal

from headclip_med import settings

NAME = "winclip"
"""What it is called by."""

SCORES = settings.ScoreSettings(image_score="global", sigma_px=0.0)
"""How it scores, as published: by its own image score, and with maps that are not smoothed."""


@settings.checked
class WinClipSettings(settings.MethodSettings):
    """What a zero-shot WinCLIP is made of; its authors published no code, others did twice."""

    implementation: Literal["anomalib", "caoyunkang"] = "anomalib"
    """Whose code is followed: sentences, temperature, how windows are pooled, how an image is
    scored. anomalib follows the paper; caoyunkang/WinClip pools normality instead of abnormality
    and scores an image by the highest pixel of its map."""
    wording: Literal["published", "medical"] = "published"
    """Sentences about a photo of something damaged, as published, or about a scan of something
    with a lesion, by the modality where it is known."""
    class_name: settings.Words = settings.AUTO
    """What is looked at, as the sentences call it. ``auto`` takes the organ of the DICOM body part
    or the category of an evaluated set, and 'object' where neither is known."""
    corrected: bool = False
    """Whether plain mistakes of the published code are put right: anomalib has one sentence twice
    and another not at all; caoyunkang's zero-shot map is exactly half of what was meant."""
    scales: settings.Layers = (2, 3)
    """Sides of the windows, in patches."""
    temperature: settings.Positive | None = None
    """Of the softmax over normal and abnormal; None takes the implementation's (0.07 in anomalib,
    0.01 in caoyunkang)."""
    position_interpolation: Literal[settings.PositionInterpolation, "published"] = "published"  # type: ignore[assignment]
    """How positions are stretched to that size; as published: bicubic, anomalib's antialiased."""
