"""Slices of one solid head: a study's share of healthy slices beside those with its lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from research.mini.corpus.solid.heads import draw_solid_head, thick_slices
from research.mini.corpus.solid.lesions import LESIONS, Lesions, draw_solid_lesion

LESIONED = 0.85
"""Share of heads with a lesion; it reaches about half of their slices."""

_WINDOWS = ((40, 80), (35, 75), (45, 110), (75, 215), (40, 150), (32, 50))
"""Centre and width in HU that people read brains with."""

_VISIBLE = 0.04
"""Mean change of brightness, as a fraction of white, that makes a lesion visible without grain."""

_LEAST_PX = 12
"""Smaller traces of a lesion on a slice do not count."""


@dataclass(frozen=True)
class Study:
    """Slices of one head.

    Attributes:
        grey: In a window, values in [0, 1].
        masks: Where a lesion visibly changed a slice.
        kind: Of the lesion, as captions know it; empty for a healthy head.
    """

    grey: Float[np.ndarray, "slices rows columns"]
    masks: Bool[np.ndarray, "slices rows columns"]
    kind: str


def draw_study(
    draw: np.random.Generator, slices: int, size_px: int, lesions: Lesions = LESIONS
) -> Study:
    """Draw a head, cut it, and look at it through a window.

    A trace of a lesion that cannot be seen above the grain is taken back, and its slice is
    healthy.

    Args:
        draw: Where all chance comes from.
        slices: From base to vertex.
        size_px: Rows and columns.
        lesions: What a head may have, as often as it is named.
    """
    head = draw_solid_head(draw, slices, size_px)
    kind, change = "", np.zeros_like(head.voxels_hu)
    if draw.random() < LESIONED:
        kind, change = draw_solid_lesion(head, lesions)
    healthy, changed = thick_slices(head.voxels_hu), thick_slices(change)
    stated = _WINDOWS[int(draw.integers(3 if draw.random() < 0.75 else len(_WINDOWS)))]
    centre, width = stated[0] + draw.uniform(-8, 8), stated[1] * draw.uniform(0.8, 1.25)
    amplitude = draw.uniform(1.5, 7)
    masks = np.abs(changed) > max(3.5, 0.012 * width, 0.3 * amplitude)
    area = masks.sum(axis=(1, 2))
    strength = (np.abs(changed) * masks).sum(axis=(1, 2)) / area.clip(1) / width
    visible = (strength > _VISIBLE + 0.4 * amplitude / width) & (area > _LEAST_PX)
    voxels = healthy + changed * visible[:, None, None]
    soft = draw.uniform(0.2, 0.8)
    voxels = ndimage.gaussian_filter(voxels, (0, soft, soft))
    fine = draw.uniform(0, 0.8)
    grain = ndimage.gaussian_filter(draw.standard_normal(voxels.shape, np.float32), (0, fine, fine))
    voxels = voxels + amplitude * grain / grain.std()
    grey = ((voxels - centre) / width + 0.5).clip(0, 1)
    return Study(grey.astype(np.float32), masks & visible[:, None, None], kind)
