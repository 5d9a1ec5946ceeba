"""WinCLIP: an ensemble of sentences and windows of patches; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headclip_med.models.method import Method
from headclip_med.models.winclip.settings import NAME, SCORES, WinClipSettings

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.models.winclip.model import WinClip


def _build(backbone: Backbone, settings: WinClipSettings, _: int) -> WinClip:
    from headclip_med.models.winclip.model import WinClip

    return WinClip(backbone, settings)


METHOD = Method(
    name=NAME,
    title="WinCLIP",
    reference="WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation, CVPR 2023",
    adapts="nothing: an ensemble of sentences, and windows of 2 x 2 and 3 x 3 patches",
    settings=WinClipSettings(),
    scores=SCORES,
    build=_build,
)
