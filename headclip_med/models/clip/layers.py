"""Which layers of a tower, and which image size, a method's settings mean."""

from __future__ import annotations

from collections.abc import Collection

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.vision import VisionTower
from headclip_med.settings import MethodSettings


def layers_within(layers: Collection[int], depth: int) -> tuple[int, ...]:
    """Order layers, each once.

    Raises:
        InvalidSettings: One lies beyond the tower.
    """
    highest = max(layers, default=0)
    if highest > depth:
        raise InvalidSettings(
            f"Layer {highest} lies beyond the image tower's {depth} layers.",
            f"Choose layers from 1 to {depth}.",
            code="layer-beyond-tower",
        )
    return tuple(sorted(set(layers)))


def quarter_layers(depth: int, count: int = 4) -> tuple[int, ...]:
    """Choose layers evenly, the last one included: 6, 12, 18 and 24 of 24."""
    return tuple(dict.fromkeys(max(1, round(depth * one / count)) for one in range(1, count + 1)))


def default_image_size(settings: MethodSettings, vision: VisionTower) -> int:
    """Choose the image size that ``MethodSettings.image_size`` describes, in pixels."""
    if settings.image_size is not None:
        return settings.image_size
    return 518 if (vision.image_size, vision.patch_px) == (336, 14) else vision.image_size
