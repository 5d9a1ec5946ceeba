"""WinCLIP: an ensemble of sentences and windows of patches; no training."""

from __future__ import annotations

from headclip_med.models.method import Method, later
from headclip_med.models.winclip.settings import NAME, SCORES, WinClipSettings

METHOD = Method(
    name=NAME,
    title="WinCLIP",
    reference="WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation, CVPR 2023",
    adapts="nothing: an ensemble of sentences, and windows of 2 x 2 and 3 x 3 patches",
    settings=WinClipSettings(),
    scores=SCORES,
    model=later("headclip_med.models.winclip.model", "WinClip"),
)
