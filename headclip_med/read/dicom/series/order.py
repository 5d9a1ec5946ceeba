"""Volumes told apart by the order of their images alone: cycles of positions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from headclip_med.read.dicom.series.evenness import starts_of_places

CLOSE = 0.2
"""Of the widest gap: positions no farther apart may be one place, which has moved a little."""

Numbers = Int[np.ndarray, "slices"]


def cycles(
    positions_mm: Float[np.ndarray, "slices"], orders: list[tuple[int, int, int]]
) -> Iterator[Numbers]:
    """Number the volumes that images may belong to, in each way that their order allows.

    Args:
        positions_mm: Of each slice.
        orders: Numbers of object, frame and tile of each slice.

    Yields:
        The volume of each slice; none where two images at one position bear the same number.
    """
    by_place = np.argsort(positions_mm, kind="stable")
    starts = starts_of_places(positions_mm[by_place])
    place = np.empty(len(orders), dtype=int)
    place[by_place] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(orders))))
    if len({*zip(place.tolist(), orders, strict=True)}) < len(orders):
        return
    kinds = {order: rank for rank, order in enumerate(sorted(set(orders)))}
    dense = np.array([kinds[order] for order in orders])
    stated = np.array([number or instance for instance, number, _ in orders])
    most = int(np.bincount(place).max())
    for numbers in (stated - stated.min(), dense):
        yield numbers // len(starts)  # one volume after the other
        yield numbers % most  # one position after the other
    yield _ranks(place, dense)
    yield _walk(place, dense)


def _ranks(place: Numbers, order: Numbers) -> Numbers:
    """Number the images of each position from 0."""
    ranks = np.empty(len(place), dtype=int)
    counted = np.zeros(int(place.max()) + 1, dtype=int)
    for index in np.argsort(order, kind="stable"):
        ranks[index] = counted[place[index]]
        counted[place[index]] += 1
    return ranks


def _walk(place: Numbers, order: Numbers) -> Numbers:
    """Begin a volume whenever a position comes again."""
    volumes = np.empty(len(place), dtype=int)
    seen: set[int] = set()
    volume = 0
    for index in np.argsort(order, kind="stable"):
        here = int(place[index])
        if here in seen:
            seen.clear()
            volume += 1
        seen.add(here)
        volumes[index] = volume
    return volumes


def snapped(positions_mm: Float[np.ndarray, "slices"]) -> Float[np.ndarray, "slices"]:
    """Put positions that lie close together, beside the widest gap, at one place."""
    by_place = np.argsort(positions_mm, kind="stable")
    steps_mm = np.diff(positions_mm[by_place])
    starts = np.append(0, np.flatnonzero(steps_mm > CLOSE * steps_mm.max()) + 1)
    places = np.empty(len(positions_mm))
    counts = np.diff(np.append(starts, len(places)))
    places[by_place] = np.repeat(positions_mm[by_place][starts], counts)
    return places


def runs(positions_mm: Float[np.ndarray, "slices"], orders: list[tuple[int, int, int]]) -> Numbers:
    """Number the runs of images through their range; one ends where the next image turns back."""
    by_order = sorted(range(len(orders)), key=lambda index: orders[index])
    steps_mm = np.diff(positions_mm[by_order])
    backwards = steps_mm * np.sign(np.median(steps_mm)) < 0
    volumes = np.empty(len(orders), dtype=int)
    volumes[by_order] = np.concatenate([[0], np.cumsum(backwards)])
    return volumes
