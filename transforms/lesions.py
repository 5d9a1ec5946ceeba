"""Lesion candidates: connected regions of a heatmap, measured in the patient's millimetres.

Regions are found in each slice and then joined across slices, so tilted, gapped and unevenly
spaced stacks need no resampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from headclip_med.findings import Lesion
from headclip_med.geometry import Grid
from headclip_med.volume import Heatmap

GAP_RATIO = 1.5
"""A step this much larger than both steps beside it is a gap: one missing slice makes it 2. The
steps beside it are the measure, not the median, since many head CTs are thin at the base and thick
above, and would otherwise fall apart there."""

_IN_SLICE = np.zeros((3, 3, 3), dtype=bool)
_IN_SLICE[1] = True


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Measures of the regions within single slices; entry 0 is the background."""

    slice_numbers: Int[np.ndarray, "pieces"]
    volumes_mm3: Float[np.ndarray, "pieces"]
    centres_lps_mm: Float[np.ndarray, "pieces 3"]
    max_scores: Float[np.ndarray, "pieces"]


def find_lesions(
    heatmap: Heatmap, threshold: float, minimum_volume_mm3: float
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
        minimum_volume_mm3: Smaller regions are dropped (pixels without patient geometry).

    Returns:
        The id of its lesion at every voxel (int32, 0 elsewhere), and the lesions, by highest score,
        then by volume.
    """
    grid = heatmap.grid
    pieces, count = ndimage.label(heatmap.values >= threshold, structure=_IN_SLICE)
    if not count:
        return np.zeros(grid.shape, dtype=np.int32), ()
    measures = _measure(pieces, heatmap)
    region_of_piece = _join(pieces, count, grid)
    lesions, id_of_region = _rank(measures, region_of_piece, minimum_volume_mm3)
    return id_of_region[region_of_piece][pieces], lesions


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


def _measure(pieces: Int[np.ndarray, "slices rows columns"], heatmap: Heatmap) -> _Pieces:
    where = np.nonzero(pieces)
    piece = pieces[where]
    counts = np.bincount(piece)
    counts[0] = 1  # the background is not measured
    # Within one slice position is linear in the index: the mean index is the mean place.
    means = np.stack([np.bincount(piece, axis) / counts for axis in where], axis=1)
    slice_numbers = np.rint(means[:, 0]).astype(int)
    max_scores = np.zeros(len(counts))
    np.maximum.at(max_scores, piece, heatmap.values[where])
    return _Pieces(
        slice_numbers,
        counts * heatmap.grid.voxel_volumes_mm3[slice_numbers],
        heatmap.grid.to_lps_mm(means),
        max_scores,
    )


def _join(
    pieces: Int[np.ndarray, "slices rows columns"], count: int, grid: Grid
) -> Int[np.ndarray, "pieces"]:
    """Number the connected regions: which one each piece belongs to; 0 is the background."""
    shifts = _shifts_px(grid)
    touching = [
        _touching(pieces[number], pieces[number + 1], shifts[number])
        for number in np.flatnonzero(adjacent_slices(grid))
    ]
    first, second = np.concatenate([np.empty((2, 0), dtype=int), *touching], axis=1)
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
    pieces: _Pieces, region_of_piece: Int[np.ndarray, "pieces"], minimum_volume_mm3: float
) -> tuple[tuple[Lesion, ...], Int[np.ndarray, "regions"]]:
    """Measure the regions; number those that are large enough from 1, the most abnormal first."""
    weights = pieces.volumes_mm3
    volumes_mm3 = np.bincount(region_of_piece, weights)
    moments = [np.bincount(region_of_piece, weights * axis) for axis in pieces.centres_lps_mm.T]
    centres_lps_mm = np.stack(moments, axis=1) / volumes_mm3[:, None]
    max_scores = np.zeros(len(volumes_mm3))
    np.maximum.at(max_scores, region_of_piece, pieces.max_scores)
    last = np.zeros(len(volumes_mm3), dtype=int)
    np.maximum.at(last, region_of_piece, pieces.slice_numbers)
    first = last.copy()
    np.minimum.at(first, region_of_piece, pieces.slice_numbers)

    ranked = np.lexsort((-volumes_mm3, -max_scores))
    large = ranked[volumes_mm3[ranked] >= minimum_volume_mm3]
    kept = large[large != region_of_piece[0]]  # the background is alone in its region
    id_of_region = np.zeros(len(volumes_mm3), dtype=np.int32)
    id_of_region[kept] = np.arange(1, len(kept) + 1)
    lesions = []
    for number, region in enumerate(kept, start=1):
        x, y, z = centres_lps_mm[region].tolist()
        touched = int(first[region]), int(last[region])
        volume_mm3, max_score = float(volumes_mm3[region]), float(max_scores[region])
        lesions.append(Lesion(number, volume_mm3, (x, y, z), max_score, touched))
    return tuple(lesions), id_of_region
