"""The development volumes that the learning curve looks at."""

from __future__ import annotations

from headclip_med.synthetic.development import DevelopmentVolume, development_volume

KINDS = ("bleeding", "infarct", "collection", "mass", "many")
"""Kinds of lesion."""


def development_volumes(seed: int, count: int) -> list[DevelopmentVolume]:
    """Draw volumes, healthy and lesioned in turn, the kinds of lesion one after another."""
    kinds = [KINDS[index // 2 % len(KINDS)] if index % 2 else "healthy" for index in range(count)]
    return [development_volume(seed + index, kind) for index, kind in enumerate(kinds)]
