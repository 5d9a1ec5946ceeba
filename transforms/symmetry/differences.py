"""How much a slice differs from its mirror image: a map in [0, 1], and a score of the slice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from headclip_med.prediction import PatchGrid
from headclip_med.transforms.slices import resize_images, resize_maps
from headclip_med.transforms.symmetry.heads import find_head
from headclip_med.transforms.symmetry.mirrors import Picture
from headclip_med.transforms.symmetry.scale import (
    GREY_OF_HEAD,
    GREY_OF_PIXEL,
    PATCHES_OF_HEAD,
    PATCHES_OF_PIXEL,
    Scale,
)

SIDE_PX = 224
"""Rows and columns that slices are compared at."""

BLUR = 0.012
"""Width of the Gaussian that grey levels are compared under, as a share of the head's size (the
root of its area): 2 px of a head that fills a picture of 224 px."""

RIM = 0.055
"""Share of the head's size that is left out along its outline: scalp and skull are not quite alike
on both sides of a healthy head, nor does their mirror image meet them to a pixel."""

PATCH_SHARE = 1 / 3
"""Weight of local features in the map; grey levels have the rest."""

MOST_DIFFERENT = 0.1
"""Share of the head whose mean is a slice's score. Vessels and folds are smaller, and no mean of
the whole head drowns a lesion."""

SMALL = 0.25
"""A slice that shows less than this share of the head counts as if it showed so much: at the vertex
a few pixels are no evidence."""

_UNDECIDED = 0.05
"""Grey level by which both sides may differ from the head's median without being told apart."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Slices and their mirror images, as a model sees both.

    Attributes:
        seen: Values in [0, 1].
        mirrored: The same mirrored in the plane of symmetry, so that the head lies where it lay.
        patches: The model's local features of both; None where it gives none.
        head_share: Size of the whole head (the root of its area) as a share of a slice's; None
            takes each slice's own.
    """

    seen: Float[Tensor, "batch 3 rows columns"]
    mirrored: Float[Tensor, "batch 3 rows columns"]
    patches: tuple[PatchGrid, PatchGrid] | None = None
    head_share: float | None = None


@dataclass(frozen=True, eq=False)
class Asymmetry:
    """What two sides say.

    Attributes:
        maps: In [0, 1] at ``SIDE_PX``, high where one side differs from the other and looks less
            like the rest of the head; 0 outside the head and along its outline.
        scores: Of each slice, in [0, 1].
    """

    maps: Float[np.ndarray, "batch side side"]
    scores: Float[np.ndarray, "batch"]


@dataclass(frozen=True, eq=False)
class SideDifference:
    """How one slice differs from its mirror image, inside the head.

    Attributes:
        inner: Where that is: in both heads, away from their outline.
        grey: |G(I) - G(I')| there, in grey levels.
        patches: (1 - cos(p, p')) / mean (1 - cos) there; None without features.
        strangeness: How far it is the slice, not its mirror image, that is unlike the head, (0, 1].
        head_px: Size of the head, in pixels.
    """

    inner: Bool[np.ndarray, "side side"]
    grey: Float[np.ndarray, "pixels"]
    patches: Float[np.ndarray, "pixels"] | None
    strangeness: Float[np.ndarray, "pixels"]
    head_px: float

    def unusual(self, grey: Scale, patches: Scale) -> Float[np.ndarray, "pixels"]:
        """Put both differences on their scales, and weigh them together."""
        found = grey.unusual(self.grey)
        if self.patches is None:
            return found
        return (1 - PATCH_SHARE) * found + PATCH_SHARE * patches.unusual(self.patches)

    def most_different(self, values: Float[np.ndarray, "pixels"]) -> float:
        """Average the highest of some values of these pixels; see ``MOST_DIFFERENT``."""
        wanted = MOST_DIFFERENT * max(len(values), SMALL * self.head_px**2)
        counted = max(1, math.ceil(wanted))
        return float(np.sort(values)[-counted:].sum(dtype=np.float64) / counted)


def compare_sides(sides: Sides) -> Asymmetry:
    """Turn what differs between slices and their mirror images into maps and scores.

    With u of ``Scale``, d of grey levels and f of features, a pixel is (2 u(d) + u(f)) / 3; u(d)
    alone where there are no features. The map has it on the side that looks less like the rest of
    the head. The score is the mean of the most different tenth of the head, of either side, on the
    scale of heads in place of pixels: it is the same for a slice and its mirror image.
    """
    maps = np.zeros((len(sides.seen), SIDE_PX, SIDE_PX), dtype=np.float32)
    scores = []
    for found, one in zip(maps, side_differences(sides), strict=True):
        found[one.inner] = one.unusual(GREY_OF_PIXEL, PATCHES_OF_PIXEL) * one.strangeness
        scores.append(one.most_different(one.unusual(GREY_OF_HEAD, PATCHES_OF_HEAD)))
    return Asymmetry(maps, np.array(scores))


def side_differences(sides: Sides) -> Iterator[SideDifference]:
    """Measure how each slice differs from its mirror image."""
    seen, other = (_grey(images) for images in (sides.seen, sides.mirrored))
    strange: Sequence[Picture | None] = [None] * len(seen)
    if sides.patches is not None:
        strange = _patch_differences(*sides.patches)
    for one, two, patches in zip(seen, other, strange, strict=True):
        first, second = find_head(one), find_head(two)
        head_px = math.sqrt(max(int(first.sum()), int(second.sum())))
        if sides.head_share is not None:
            head_px = sides.head_share * SIDE_PX
        inner = _without_rim(first & second, RIM * head_px)
        softly, its = (ndimage.gaussian_filter(x, BLUR * head_px)[inner] for x in (one, two))
        yield SideDifference(
            inner,
            np.abs(softly - its),
            None if patches is None else patches[inner],
            _strangeness(softly, its),
            head_px,
        )


def _without_rim(head: Bool[np.ndarray, "rows columns"], rim_px: float) -> np.ndarray:
    framed = np.pad(head, 1)  # the frame is an end of the head too
    return np.asarray(ndimage.distance_transform_edt(framed)[1:-1, 1:-1] > rim_px)


def _strangeness(
    seen: Float[np.ndarray, "pixels"], other: Float[np.ndarray, "pixels"]
) -> Float[np.ndarray, "pixels"]:
    """Say how far a side, and not the other, is what is unlike the head: from above 0 to 1."""
    if not len(seen):
        return seen
    median = np.median(np.concatenate([seen, other]))
    own, its = ((np.abs(one - median) + _UNDECIDED) ** 2 for one in (seen, other))
    return np.asarray(np.minimum(1, 2 * own / (own + its)))


def _grey(images: Float[Tensor, "batch 3 rows columns"]) -> Float[np.ndarray, "batch side side"]:
    return np.asarray(resize_images(images.cpu().float(), SIDE_PX).mean(dim=1).numpy())


def _patch_differences(seen: PatchGrid, other: PatchGrid) -> list[Picture]:
    """Compare local features place by place, in units of what two places of a slice differ by."""
    seen, other = seen.float().cpu(), other.float().cpu()
    apart = 1 - (seen * other).sum(dim=-1)
    # The mean cosine over all pairs is the squared length of the mean vector.
    mean = torch.cat([seen.flatten(1, 2), other.flatten(1, 2)], dim=1).mean(dim=1)
    typical = (1 - mean.square().sum(dim=-1)).clamp_min(1e-6)
    relative = apart.clamp_min(0) / typical[:, None, None]
    return list(resize_maps(relative, SIDE_PX, SIDE_PX).numpy())
