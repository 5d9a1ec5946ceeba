"""Lesion candidates: connected regions of a heatmap, measured in the patient's millimetres.

Regions are found in each slice and then joined across slices, so tilted, gapped and unevenly
spaced stacks need no resampling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from headclip_med.findings import Lesion
from headclip_med.geometry import Grid
from headclip_med.mapped import allocate, blocks_of, release
from headclip_med.volume import Heatmap

GAP_RATIO = 1.5
"""A step this much larger than both steps beside it is a gap: one missing slice makes it 2. The
steps beside it are the measure, not the median, since many head CTs are thin at the base and thick
above, and would otherwise fall apart there."""


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Measures of the regions within single slices; entry 0 is the background."""

    slice_numbers: Int[np.ndarray, "pieces"]
    sizes: Float[np.ndarray, "pieces"]
    centres: Float[np.ndarray, "pieces 3"]
    max_scores: Float[np.ndarray, "pieces"]


def find_lesions(
    heatmap: Heatmap, threshold: float, minimum_size: float
) -> tuple[Int[np.ndarray, "slices rows columns"], tuple[Lesion, ...]]:
    """Find the connected regions at or above a threshold.

    Voxels are neighbours when they touch by a face, an edge or a corner (26 of them in 3-D): slices
    are thick against pixels, so the next cut of an oblique vessel or a thin rim often meets the
    last one at an edge only. Slices across a gap are not neighbours, since nobody saw what lies
    between, nor are images without patient geometry. In a tilted stack the neighbour is the voxel
    straight across, not the one of the same index.

    Args:
        heatmap: How abnormal each voxel looks.
        threshold: Value from which a voxel counts.
        minimum_size: Smaller regions are dropped; mm3, or pixels without patient geometry.

    Returns:
        The id of its lesion at every voxel (int32, 0 elsewhere; mapped where it is large), and the
        lesions, by highest score, then by size.
    """
    grid = heatmap.grid
    labels = allocate(grid.shape, np.int32)
    pieces, region_of_piece = _find_pieces(heatmap, threshold, labels)
    if len(pieces.sizes) == 1:
        return labels, ()
    lesions, id_of_region = _rank(pieces, region_of_piece, minimum_size, grid)
    id_of_piece = id_of_region[region_of_piece]
    for span, block in blocks_of(labels):
        labels[span] = id_of_piece[block]
        release(labels)
    return labels, lesions


def numbered_as_stored(
    lesions: tuple[Lesion, ...], labels: Int[np.ndarray, "slices rows columns"], heatmap: Heatmap
) -> tuple[Lesion, ...]:
    """Say in which stored slices lesions lie that were found in slices of another view.

    Args:
        lesions: Found in slices of the same voxels in another order.
        labels: The id of its lesion at every voxel, in stored slices.
        heatmap: In stored slices.
    """
    highest = np.full((len(labels), len(lesions)), -1.0)
    for span, block in blocks_of(labels):
        both = zip(block, heatmap.values[span], strict=True)
        for index, (own, values) in enumerate(both, start=span.start):
            present = np.unique(own[own > 0])
            if present.size:
                highest[index, present - 1] = ndimage.maximum(values, own, present)
        release(heatmap.values)
    return tuple(
        replace(
            lesion,
            slices=(int(touched[0]), int(touched[-1])),
            peak_slice=int(np.argmax(highest[:, lesion.id - 1])),
        )
        for lesion in lesions
        for touched in [np.flatnonzero(highest[:, lesion.id - 1] >= 0)]
    )


def adjacent_slices(grid: Grid) -> Bool[np.ndarray, "steps"]:
    """Tell for each step from a slice to the next whether nothing lies between them."""
    steps_mm = np.abs(np.diff(grid.slice_positions_mm))
    if not grid.is_patient:
        return np.zeros(len(steps_mm), dtype=bool)
    if len(steps_mm) < 2:
        return np.ones(len(steps_mm), dtype=bool)
    padded = np.concatenate([[0.0], steps_mm, [0.0]])
    beside_mm = np.maximum(padded[:-2], padded[2:])
    return np.asarray(steps_mm <= GAP_RATIO * beside_mm)


def _find_pieces(
    heatmap: Heatmap, threshold: float, labels: Int[np.ndarray, "slices rows columns"]
) -> tuple[_Pieces, Int[np.ndarray, "pieces"]]:
    """Number the regions within each slice into ``labels``, measure them, and say which belong.

    Returns:
        The measures, and the number of the connected region each piece belongs to.
    """
    grid = heatmap.grid
    shifts, adjacent = _shifts_px(grid), adjacent_slices(grid)
    counts, means = [np.ones(1, dtype=int)], [np.zeros((1, 3))]
    max_scores, touching = [np.zeros(1)], [np.empty((2, 0), dtype=int)]
    found, below = 0, np.zeros(grid.shape[1:], dtype=np.int32)
    for span, block in blocks_of(heatmap.values):
        for index, values in enumerate(block, start=span.start):
            pieces = label(values >= threshold, connectivity=2)  # type: ignore[no-untyped-call]
            if pieces.any():
                count, mean, highest = _measure(pieces, values, index)
                pieces[pieces > 0] += found
                found += len(count)
                counts.append(count)
                means.append(mean)
                max_scores.append(highest)
            if index and adjacent[index - 1]:
                touching.append(_touching(below, pieces, shifts[index - 1]))
            labels[index] = below = pieces
        release(labels)
    places = np.concatenate(means)
    slice_numbers = places[:, 0].astype(int)
    sizes = np.concatenate(counts) * grid.voxel_volumes_mm3[slice_numbers]
    centres = grid.to_lps_mm(places)
    pieces_found = _Pieces(slice_numbers, sizes, centres, np.concatenate(max_scores))
    return pieces_found, _join(np.concatenate(touching, axis=1), found)


def _measure(
    pieces: Int[np.ndarray, "rows columns"], values: Float[np.ndarray, "rows columns"], index: int
) -> tuple[Int[np.ndarray, "pieces"], Float[np.ndarray, "pieces 3"], Float[np.ndarray, "pieces"]]:
    """Count the pixels of each piece of a slice, and give its mean index and highest value."""
    where = np.nonzero(pieces)
    piece = pieces[where]
    counts = np.bincount(piece)[1:]
    # Within one slice position is linear in the index: the mean index is the mean place.
    rows, columns = (np.bincount(piece, axis)[1:] / counts for axis in where)
    max_scores = np.zeros(len(counts) + 1)
    np.maximum.at(max_scores, piece, values[where])
    return counts, np.stack([np.full(len(counts), float(index)), rows, columns], 1), max_scores[1:]


def _join(touching: Int[np.ndarray, "2 pairs"], count: int) -> Int[np.ndarray, "pieces"]:
    """Number the connected regions: which one each piece belongs to; 0 is the background."""
    first, second = touching
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count + 1, count + 1))
    return np.asarray(connected_components(graph, directed=False)[1])


def _shifts_px(grid: Grid) -> Int[np.ndarray, "steps 2"]:
    """Rows and columns to add to an index to be straight across in the next slice."""
    steps_mm = -np.diff(grid.origins_lps_mm, axis=0)
    axes = np.stack([grid.row_step_lps_mm, grid.column_step_lps_mm])
    per_px = axes / (axes**2).sum(axis=1, keepdims=True)
    return np.asarray(np.rint(steps_mm @ per_px.T), dtype=int)


def _touching(
    lower: Int[np.ndarray, "rows columns"],
    upper: Int[np.ndarray, "rows columns"],
    shift_px: Int[np.ndarray, "2"],
) -> Int[np.ndarray, "2 pairs"]:
    rows, columns = np.nonzero(lower)
    mine = lower[rows, columns].astype(np.int64)
    base = int(upper.max()) + 1
    pairs = []
    for nudge in product((-1, 0, 1), repeat=2):
        row, column = rows + shift_px[0] + nudge[0], columns + shift_px[1] + nudge[1]
        inside = (row >= 0) & (row < len(upper)) & (column >= 0) & (column < upper.shape[1])
        beyond = upper[row[inside], column[inside]]
        met = beyond > 0
        # A pair as one number: unique numbers are found much faster than unique columns.
        pairs.append(np.unique(mine[inside][met] * base + beyond[met]))
    return np.stack(np.divmod(np.unique(np.concatenate(pairs)), base))


def _rank(
    pieces: _Pieces, region_of_piece: Int[np.ndarray, "pieces"], minimum_size: float, grid: Grid
) -> tuple[tuple[Lesion, ...], Int[np.ndarray, "regions"]]:
    """Measure the regions; number those that are large enough from 1, the most abnormal first."""
    weights = pieces.sizes
    sizes = np.bincount(region_of_piece, weights)
    moments = [np.bincount(region_of_piece, weights * axis) for axis in pieces.centres.T]
    centres = np.stack(moments, axis=1) / sizes[:, None]
    regions = np.arange(len(sizes))
    numbers = pieces.slice_numbers
    first = ndimage.minimum(numbers, region_of_piece, regions)
    last = ndimage.maximum(numbers, region_of_piece, regions)
    max_scores = np.asarray(ndimage.maximum(pieces.max_scores, region_of_piece, regions))
    at_peak = pieces.max_scores == max_scores[region_of_piece]
    peak = ndimage.minimum(numbers[at_peak], region_of_piece[at_peak], regions)

    ranked = np.lexsort((-sizes, -max_scores))
    large = ranked[sizes[ranked] >= minimum_size]
    kept = large[large != region_of_piece[0]]  # the background is alone in its region
    id_of_region = np.zeros(len(sizes), dtype=np.int32)
    id_of_region[kept] = np.arange(1, len(kept) + 1)
    lesions = []
    for number, region in enumerate(kept, start=1):
        x, y, z = centres[region].tolist()
        lesions.append(
            Lesion(
                id=number,
                size=float(sizes[region]),
                unit="mm3" if grid.is_patient else "px",
                centre=(x, y, z),
                frame="lps_mm" if grid.is_patient else "column_row_slice",
                max_score=float(max_scores[region]),
                slices=(int(first[region]), int(last[region])),
                peak_slice=int(peak[region]),
            )
        )
    return tuple(lesions), id_of_region
