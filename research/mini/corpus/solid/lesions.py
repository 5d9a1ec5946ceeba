"""What can be wrong inside a solid head: changes of Hounsfield units, in three dimensions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from research.mini.corpus.solid.heads import SolidHead
from research.mini.corpus.solid.shapes import Field, Number, Triple

Lesions = tuple[tuple[str, Callable[[SolidHead], Field]], ...]
"""Kinds of lesion as captions know them, each with what draws it."""

_TRIES = 8
"""Draws of a lesion before the head is left healthy."""

_NEAR_FOCUS_MM = 12.0

_LEAST_VOXELS = 60
"""Fewer changed places are no lesion."""


def draw_solid_lesion(head: SolidHead, lesions: Lesions) -> tuple[str, Field]:
    """Draw a lesion.

    Args:
        head: Where it lies.
        lesions: What may be drawn, as often as it is named.

    Returns:
        Its kind, as captions know it, and the change in Hounsfield units of every plane; no kind
        and no change where none fitted.
    """
    draw = head.solid.draw
    for _ in range(_TRIES):
        kind, shape = lesions[int(draw.integers(len(lesions)))]
        change = np.where(head.brain | head.ventricles, shape(head), np.float32(0))
        if (np.abs(change) > 4).sum() >= _LEAST_VOXELS:
            return kind, change.astype(np.float32)
    return "", np.zeros_like(head.voxels_hu)


def _somewhere(head: SolidHead, *, near_mm: Number, far_mm: Number) -> Triple:
    """A place in the brain near the focus, so far below the skull."""
    solid = head.solid
    fits = head.brain & (np.abs(solid.z - head.focus_mm) < _NEAR_FOCUS_MM)
    fits &= (head.depth_mm > near_mm) & (head.depth_mm < far_mm)
    places = np.flatnonzero(fits if fits.any() else head.brain)
    at = places[int(solid.draw.integers(len(places)))]
    x, y, z = (float(axis.ravel()[at]) for axis in (solid.x, solid.y, solid.z))
    return x, y, z


def _blob(head: SolidHead, low_mm: Number, high_mm: Number) -> Field:
    """Relative distance to an uneven blob: below 1 inside."""
    solid = head.solid
    size = float(np.exp(solid.uniform(np.log(low_mm), np.log(high_mm))))
    radii = [size * solid.uniform(0.7, 1.4) for _ in range(3)]
    place = _somewhere(head, near_mm=0.3 * size, far_mm=60)
    uneven = solid.uniform(0.05, 0.2) * solid.noise(max(5, 0.7 * size))
    return np.asarray(solid.oval(place, (radii[0], radii[1], radii[2])) + uneven)


def _bleeding(head: SolidHead) -> Field:
    solid, place = head.solid, _blob(head, 4, 26)
    change = np.where(place < 1, solid.uniform(15, 48), 0)
    if solid.happens(0.6):
        halo = (place >= 1) & (place < solid.uniform(1.2, 1.7))
        change = np.where(halo, -solid.uniform(4, 12), change)
    return np.asarray(change)


def _infarct(head: SolidHead) -> Field:
    solid, place = head.solid, _blob(head, 6, 38)
    edge = (1 - place) * solid.uniform(4, 14)
    return np.asarray(-solid.uniform(6, 18) / (1 + np.exp(-edge.clip(-30, 30))))


def _wedge(head: SolidHead) -> Field:
    """A territory that widens towards the skull."""
    solid = head.solid
    angle, half = solid.uniform(-np.pi, np.pi), solid.uniform(0.15, 0.6)
    around = np.arctan2(solid.y, solid.x)
    off = np.abs((around - angle + np.pi) % (2 * np.pi) - np.pi)
    level, height = head.focus_mm + solid.uniform(-8, 8), solid.uniform(10, 30)
    within = (off < half * (1 + 0.15 * solid.noise(12))) & (np.abs(solid.z - level) < height)
    return np.asarray(
        np.where(within & (head.depth_mm < solid.uniform(20, 45)), -solid.uniform(6, 16), 0)
    )


def _collection(head: SolidHead) -> Field:
    """Blood or fluid along the skull: a wide crescent or a short lens, of any age."""
    solid = head.solid
    side, lens = (1 if solid.happens(0.5) else -1), solid.happens(0.35)
    place = _somewhere(head, near_mm=0, far_mm=6)
    place = (side * abs(place[0]), place[1], place[2])
    wide = solid.uniform(18, 34) if lens else solid.uniform(35, 75)
    near = solid.oval(place, (wide, wide, wide * solid.uniform(0.5, 1)))
    reach = (solid.uniform(6, 22) if lens else solid.uniform(3, 14)) * np.sqrt(
        (1 - np.square(near)).clip(0)
    )
    reach = reach * (1 + 0.12 * solid.noise(18))
    aged = solid.uniform(52, 78) if solid.happens(0.6) else solid.uniform(8, 22)
    inside = (head.depth_mm > 0) & (head.depth_mm < reach) & (reach > 1)
    return np.asarray(np.where(inside, aged - head.voxels_hu, 0))


def _mass(head: SolidHead) -> Field:
    """A core or a ring inside swelling."""
    solid, place = head.solid, _blob(head, 5, 22)
    change = np.where(place < solid.uniform(1.3, 2.2), -solid.uniform(5, 14), 0)
    change = np.where(place < 1, solid.uniform(6, 32), change)
    if solid.happens(0.5):
        change = np.where(place < solid.uniform(0.5, 0.8), -solid.uniform(0, 18), change)
    return np.asarray(change)


def _spots(head: SolidHead) -> Field:
    solid = head.solid
    change = np.zeros_like(solid.x)
    sign = 1 if solid.happens(0.7) else -1
    for _ in range(int(solid.draw.integers(2, 7))):
        change = np.where(_blob(head, 2.5, 8) < 1, sign * solid.uniform(10, 40), change)
    return np.asarray(change)


def _blood_in_folds(head: SolidHead) -> Field:
    """Blood where fluid was, in a region or in the ventricles."""
    solid = head.solid
    if solid.happens(0.5):
        wet = head.ventricles & (solid.y > solid.uniform(-20, 25))
    else:
        place = _somewhere(head, near_mm=0, far_mm=12)
        far = solid.uniform(18, 45)
        wet = (head.voxels_hu < 18) & (solid.oval(place, (far, far, far)) < 1)
        wet &= ~head.ventricles
    return np.asarray(np.where(wet, solid.uniform(48, 75) - head.voxels_hu, 0))


def _dense(head: SolidHead) -> Field:
    """Something denser or lighter than tissue ever is."""
    solid, place = head.solid, _blob(head, 3, 10)
    far = solid.uniform(60, 250) if solid.happens(0.8) else -solid.uniform(60, 400)
    return np.asarray(np.where(place < 1, far, 0))


LESIONS: Lesions = (
    ("bright", _bleeding),
    ("bright", _bleeding),
    ("diffuse", _infarct),
    ("dark", _infarct),
    ("wedge", _wedge),
    ("rim", _collection),
    ("rim", _collection),
    ("haloed", _mass),
    ("ring", _mass),
    ("scatter", _spots),
    ("stain", _blood_in_folds),
    ("bright", _dense),
)
"""What a head may have, as often as it is drawn."""

HARD_LESIONS: Lesions = (*LESIONS, *(("rim", _collection),) * 3, *(("scatter", _spots),) * 2)
"""The same, with what is thin or small more often: it is overlooked most easily."""
