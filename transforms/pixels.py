"""Square, upright pixels for slices that were cut across a stack, and the way back.

The two sides of such a slice's pixels are the distance of slices and that of pixels, and in a
tilted stack they are not even at right angles. SimpleITK resamples within each slice alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from headclip_med.findings import Box
from headclip_med.geometry import Grid
from headclip_med.mapped import allocate, blocks_of, release

EVEN_RATIO = 1.05
"""Pixels whose sides differ by less are square."""

UPRIGHT_COSINE = 0.05
"""Of the angle between rows and columns; below 3 degrees off the right angle they are upright."""


@dataclass(frozen=True, eq=False)
class EvenPixels:
    """How slices with square, upright pixels lie on slices with others.

    Attributes:
        uneven: The grid of those with others.
        even: That of those with square ones.
        matrix: From a row and a column of ``even`` to those of ``uneven``.
        offset: Row and column of ``uneven`` where the first pixel of ``even`` lies.
    """

    uneven: Grid
    even: Grid
    matrix: Float[np.ndarray, "2 2"]
    offset: Float[np.ndarray, "2"]

    @classmethod
    def of(cls, grid: Grid) -> EvenPixels | None:
        """Lay square pixels, as small as the others' shorter side, over the slices of a grid.

        Returns:
            None where its pixels are square and upright.
        """
        row_mm, column_mm = grid.pixel_spacing_mm
        along = grid.column_step_lps_mm / column_mm
        drift_mm = float(grid.row_step_lps_mm @ along)  # of a row against the one above
        is_upright = abs(drift_mm) < UPRIGHT_COSINE * row_mm
        if is_upright and max(row_mm, column_mm) < EVEN_RATIO * min(row_mm, column_mm):
            return None
        down = grid.row_step_lps_mm - drift_mm * along
        down_mm, side_mm = float(np.linalg.norm(down)), min(row_mm, column_mm)
        reach_mm = (grid.rows - 1) * drift_mm
        start_mm, end_mm = min(0.0, reach_mm), (grid.columns - 1) * column_mm + max(0.0, reach_mm)
        even = Grid(
            grid.origins_lps_mm + start_mm * along,
            down / down_mm * side_mm,
            along * side_mm,
            _steps((grid.rows - 1) * down_mm, side_mm) + 1,
            _steps(end_mm - start_mm, side_mm) + 1,
        )
        matrix = np.array([[1 / down_mm, 0], [-drift_mm / down_mm / column_mm, 1 / column_mm]])
        return cls(grid, even, matrix * side_mm, np.array([0.0, start_mm / column_mm]))

    def spread(
        self, voxels: Shaped[np.ndarray, "slices rows columns *colour"]
    ) -> Float[np.ndarray, "slices even_rows even_columns *colour"]:
        """Resample slices to square pixels, block by block, linearly."""
        return _resampled(voxels, self.even, self.matrix, self.offset)

    def gathered(
        self, maps: Float[np.ndarray, "slices even_rows even_columns"]
    ) -> Float[np.ndarray, "slices rows columns"]:
        """Resample maps of square pixels to the slices' own, block by block, linearly."""
        back = np.linalg.inv(self.matrix)
        return _resampled(maps, self.uneven, back, -back @ self.offset)

    def gathered_box(self, box: Box) -> Box:
        """Give the rows and columns that hold a box of square pixels."""
        rows, columns = (box.first_row, box.end_row - 1), (box.first_column, box.end_column - 1)
        corners = np.array([(row, column) for row in rows for column in columns], dtype=float)
        places = corners @ self.matrix.T + self.offset
        limits = np.array([self.uneven.rows, self.uneven.columns])
        first = np.clip(np.floor(places.min(axis=0)), 0, limits - 1).astype(int)
        end = np.clip(np.ceil(places.max(axis=0)) + 1, 1, limits).astype(int)
        return Box(int(first[0]), int(end[0]), int(first[1]), int(end[1]))


def _steps(length_mm: float, side_mm: float) -> int:
    return int(np.ceil(length_mm / side_mm - 1e-6))


def _resampled(
    slices: Shaped[np.ndarray, "..."],
    grid: Grid,
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, "2"],
) -> np.ndarray:
    """Sample each slice where a matrix and an offset put the rows and columns of a grid."""
    import SimpleITK as sitk  # noqa: N813 - its own name for itself; hardly any volume needs it

    # SimpleITK counts columns, rows, slices; the millimetres of these images are their indices.
    place = sitk.AffineTransform(3)
    turned = np.eye(3)
    turned[:2, :2] = matrix[::-1, ::-1]
    place.SetMatrix(turned.ravel().tolist())
    place.SetTranslation([float(offset[1]), float(offset[0]), 0.0])
    found = allocate((len(slices), grid.rows, grid.columns, *slices.shape[3:]))
    for span, block in blocks_of(slices):
        image = sitk.GetImageFromArray(block.astype(np.float32), isVector=block.ndim == 4)
        size = (grid.columns, grid.rows, len(block))
        # Beyond the last pixel the border is seen on: nothing else is known there.
        resampled = sitk.Resample(
            image, size, place, sitk.sitkLinear, useNearestNeighborExtrapolator=True
        )
        found[span] = sitk.GetArrayViewFromImage(resampled)
        release(found)
    return found
