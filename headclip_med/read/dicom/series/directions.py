"""Slices told apart by the directions of their planes, and those that lie in none together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from headclip_med.read.dicom.planes import Plane
from headclip_med.read.dicom.series.evenness import lie_of
from headclip_med.read.dicom.stack import SAME_DIRECTION, Slice, mean_normal, positions_mm

SAME_SPACING = 1e-3
"""Pixel spacings of one stack may differ by this fraction."""

JITTER_DEGREES = 3.0
"""Directions that differ by less may be one that was written anew, and rounded, for each file."""

STEADY_TURN = 0.9
"""Directions that end this far, of the way they went in all, turn steadily: that is no noise."""

MOST_LONE = 3
"""Slices alone in their direction: a localizer's three planes, two scouts, three long axes."""

STRAY_DEGREES = 20.0
"""Directions on purpose differ by more, where each has a slice or few of its own."""

SMALLEST_STACK = 4
"""Slices that make a stack in which one of another direction is out of place."""

OFF_AXIS = 0.02
"""Planes that turn around an axis see it alike but for this."""

_Planes = Float[np.ndarray, "planes 8"]
_OnePlane = Float[np.ndarray, "8"]
_IsSame = Callable[[_Planes, _OnePlane], Bool[np.ndarray, "planes"]]


def scattered(groups: Sequence[Sequence[Sequence[Slice]]]) -> list[int]:
    """Find the slices that do not lie in parallel although their series should.

    Several directions of one place each are no localizer but a series whose directions are broken,
    or that turns around an axis: neither is a volume, nor as many volumes. One slice that leans
    within a stack is broken as well.

    Args:
        groups: Slices that may share a volume, each as its pieces of one direction.

    Returns:
        The groups that hold nothing else.
    """
    lone = [
        index
        for index, pieces in enumerate(groups)
        if all(lie_of(positions_mm(piece)).places == 1 for piece in pieces)
    ]
    pieces = sum(len(groups[index]) for index in lone)
    firsts = [groups[index][0][0] for index in lone]
    if len(lone) > MOST_LONE or (
        pieces > MOST_LONE and len(clusters(firsts, _are_stray)) < len(firsts)
    ):
        return lone
    largest = max(groups, key=lambda pieces: sum(map(len, pieces)))
    stack = [one for piece in largest for one in piece]
    return [index for index in lone if _is_within(groups[index], stack)]


def _is_within(pieces: Sequence[Sequence[Slice]], stack: Sequence[Slice]) -> bool:
    first = pieces[0][0]
    is_small = len(stack) < SMALLEST_STACK or any(one is first for one in stack)
    if is_small or len(clusters([stack[0], first], _are_stray)) > 1:
        return False
    normal, step_mm = mean_normal(stack), lie_of(positions_mm(stack)).usual_mm
    places = [centre_of(one.plane, one.size) @ normal for one in stack]
    here = centre_of(first.plane, first.size) @ normal
    return bool(min(places) - 2 * step_mm < here < max(places) + 2 * step_mm)


def turn(slices: Sequence[Slice]) -> bool:
    """Whether planes go around one axis, each farther than the one before it in number.

    Projections from several sides do, and slabs like the spokes of a wheel.
    """
    ordered = [one.plane for one in sorted(slices, key=lambda one: one.order)]
    axes = np.array([[*plane.axes, np.cross(*plane.axes)] for plane in ordered])
    # What all of them see alike is the axis: (axes of one - axes of the first) @ axis = 0.
    _, sizes, vectors = np.linalg.svd((axes - axes[0]).reshape(-1, 3))
    if sizes[2] > OFF_AXIS * np.sqrt(len(axes)):
        return False
    across = np.cross(vectors[2], axes[0])
    first = across[np.linalg.norm(across, axis=1).argmax()]
    first /= np.linalg.norm(first)
    # In the frame of each image, where does a fixed direction upright on the axis point to?
    seen = axes @ first
    flat = seen @ axes[0] @ np.stack([first, np.cross(vectors[2], first)]).T
    steps = np.diff(np.unwrap(np.arctan2(flat[:, 1], flat[:, 0])))
    steps = steps[np.abs(steps) > SAME_DIRECTION]
    return len(steps) > 0 and bool(np.all(steps > 0) or np.all(steps < 0))


def jitters(slices: Sequence[Slice]) -> bool:
    """Whether slices follow each other in one direction but for noise, rather than turn."""
    positions = positions_mm(slices)
    ordered = [slices[index].plane for index in np.argsort(positions, kind="stable")]
    centres = [centre_of(plane, slices[0].size) for plane in ordered]
    steps_mm = np.diff(np.array(centres) @ np.cross(*ordered[0].axes))
    turns = np.diff([plane.orientation for plane in ordered], axis=0)
    turned = np.linalg.norm(turns.sum(axis=0)) / max(np.linalg.norm(turns, axis=1).sum(), 1e-12)
    return bool(steps_mm.min() > lie_of(positions).usual_mm / 2 and turned < STEADY_TURN)


def centre_of(plane: Plane, size: tuple[int, int]) -> Float[np.ndarray, "3"]:
    """Find the middle of an image of some rows and columns, in LPS mm."""
    down_mm, across_mm = (
        (count - 1) / 2 * mm for count, mm in zip(size, plane.spacing_mm, strict=True)
    )
    across, down = plane.axes
    return np.asarray(np.array(plane.position_lps_mm) + down * down_mm + across * across_mm)


def clusters(slices: Sequence[Slice], is_same: _IsSame) -> list[list[Slice]]:
    """Group slices whose planes are the same as that of the first of their group."""
    groups: list[list[Slice]] = []
    of_kind: dict[tuple[float, ...], list[Slice]] = {}
    firsts = np.empty((len(slices), 8))
    for one in slices:
        kind = (*one.plane.orientation, *one.plane.spacing_mm)
        if kind not in of_kind:
            near = np.flatnonzero(is_same(firsts[: len(groups)], np.array(kind)))
            if not len(near):
                firsts[len(groups)] = kind
                groups.append([])
            of_kind[kind] = groups[near[0] if len(near) else -1]
        of_kind[kind].append(one)
    return groups


def are_parallel(planes: _Planes, plane: _OnePlane) -> Bool[np.ndarray, "planes"]:
    """Tell which planes differ from one by less than matters."""
    near = np.abs(planes[:, :6] - plane[:6]).max(axis=1) <= SAME_DIRECTION
    return np.asarray(near & _are_spaced_alike(planes, plane))


def are_nearly_parallel(planes: _Planes, plane: _OnePlane) -> Bool[np.ndarray, "planes"]:
    """Tell which planes differ from one by rounding at most."""
    near = _are_within(planes, plane, JITTER_DEGREES)
    return np.asarray(near & _are_spaced_alike(planes, plane))


def _are_stray(planes: _Planes, plane: _OnePlane) -> Bool[np.ndarray, "planes"]:
    return _are_within(planes, plane, STRAY_DEGREES)


def _are_within(planes: _Planes, plane: _OnePlane, degrees: float) -> Bool[np.ndarray, "planes"]:
    products = planes[:, :6] * plane[:6]
    cosines = np.minimum(products[:, :3].sum(axis=1), products[:, 3:].sum(axis=1))
    return np.asarray(cosines >= np.cos(np.radians(degrees)))


def _are_spaced_alike(planes: _Planes, plane: _OnePlane) -> Bool[np.ndarray, "planes"]:
    off = np.abs(planes[:, 6:] - plane[6:])
    return np.asarray((off <= SAME_SPACING * planes[:, 6:]).all(axis=1))
