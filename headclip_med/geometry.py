"""Where each slice of a stack lies in the patient: LPS millimetres, as in DICOM.

Indices are always ``(slice, row, column)`` and name voxel centres. NIfTI's RAS, which counts
``(column, row, slice)``, exists only between ``from_affine_ras`` and ``affine_ras``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headclip_med.errors import UnusableGeometry

EVEN_SPACING_TOLERANCE = 0.05
"""Steps between slices may differ by this fraction of the median and still count as even."""

STRAIGHT_TOLERANCE_MM = 0.05
"""Slice origins may lie this far off a straight line and still count as one affine grid."""

SHEAR_TOLERANCE = 1e-4
"""Cosine between two axes from which a grid counts as sheared."""

SMALLEST_VOXEL_MM3 = 1e-12

LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's x grows to the patient's left and y to the back; NIfTI's to the right and the front."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The place of every voxel centre of a stack of parallel slices.

    Slices keep their own origins, so tilted (sheared), gapped and reversed stacks are ordinary.

    Attributes:
        origins_lps_mm: Centre of the first voxel (row 0, column 0) of each slice.
        row_step_lps_mm: From one row to the next, down a column of voxels.
        column_step_lps_mm: From one column to the next, along a row of voxels.
        rows: Voxels down.
        columns: Voxels across.
        is_patient: False where the input had no patient geometry (a photograph); lengths are then
            in pixels.
        lone_step_lps_mm: Where a next slice would follow, of a stack of one; None where that is
            not known. Stacks of several do without it.
    """

    origins_lps_mm: Float[np.ndarray, "slices 3"]
    row_step_lps_mm: Float[np.ndarray, "3"]
    column_step_lps_mm: Float[np.ndarray, "3"]
    rows: int
    columns: int
    is_patient: bool = True
    lone_step_lps_mm: Float[np.ndarray, "3"] | None = None

    @classmethod
    def of_pixels(cls, *, slices: int, rows: int, columns: int) -> Grid:
        """Build the grid of images without patient geometry: unit steps, one unit apart."""
        origins = np.zeros((slices, 3))
        origins[:, 2] = np.arange(slices)
        return cls(origins, np.array([0.0, 1, 0]), np.array([1.0, 0, 0]), rows, columns, False)

    @classmethod
    def from_affine_lps(
        cls, affine_lps: Float[np.ndarray, "4 4"], *, shape: tuple[int, int, int]
    ) -> Grid:
        """Build an even grid from an affine that maps ``(slice, row, column, 1)`` to LPS mm."""
        slices, rows, columns = shape
        step, row_step, column_step, first = affine_lps[:3].T.copy()
        origins = first + np.arange(slices)[:, None] * step
        return cls(origins, row_step, column_step, rows, columns, lone_step_lps_mm=step)

    @classmethod
    def from_affine_ras(
        cls, affine_ras: Float[np.ndarray, "4 4"], *, shape: tuple[int, int, int]
    ) -> Grid:
        """Build an even grid from NIfTI's affine, from ``(column, row, slice, 1)`` to RAS mm.

        Raises:
            UnusableGeometry: It is singular or not finite.
        """
        steps = affine_ras[:3, :3]
        if not np.isfinite(affine_ras).all() or abs(np.linalg.det(steps)) < SMALLEST_VOXEL_MM3:
            raise UnusableGeometry(
                "The affine is singular or holds values that are not numbers, so the voxels lie "
                "nowhere.",
                "Write the file again with a proper sform or qform.",
                code="bad-affine",
            )
        return cls.from_affine_lps((LPS_OF_RAS @ affine_ras)[:, [2, 1, 0, 3]], shape=shape)

    @classmethod
    def from_itk(
        cls,
        direction: Float[np.ndarray, "3 3"],
        spacing_mm: Sequence[float],
        origin_lps_mm: Sequence[float],
        *,
        shape: tuple[int, int, int],
    ) -> Grid:
        """Build an even grid from what ITK says of an image: all by ``(column, row, slice)``.

        Raises:
            UnusableGeometry: Its axes are not independent, or not finite.
        """
        affine: Float[np.ndarray, "4 4"] = np.eye(4)
        affine[:3, :3] = (direction * np.asarray(spacing_mm))[:, ::-1]
        affine[:3, 3] = origin_lps_mm
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < SMALLEST_VOXEL_MM3:
            raise UnusableGeometry(
                "The axes of the volume are not independent or not finite, so the voxels lie "
                "nowhere.",
                "Write the file again with proper spacing and directions.",
                code="bad-affine",
            )
        return cls.from_affine_lps(affine, shape=shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.origins_lps_mm), self.rows, self.columns

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Distance between rows, and between columns."""
        row_mm = float(np.linalg.norm(self.row_step_lps_mm))
        return row_mm, float(np.linalg.norm(self.column_step_lps_mm))

    @property
    def normal_lps(self) -> Float[np.ndarray, "3"]:
        """Unit normal of the slices: column direction x row direction, as DICOM orders them."""
        normal = np.cross(self.column_step_lps_mm, self.row_step_lps_mm)
        return np.asarray(normal / np.linalg.norm(normal))

    @property
    def slice_positions_mm(self) -> Float[np.ndarray, "slices"]:
        """Position of each slice along the normal."""
        return np.asarray(self.origins_lps_mm @ self.normal_lps)

    @property
    def slice_thicknesses_mm(self) -> Float[np.ndarray, "slices"]:
        """Extent that each slice stands for: half way to each neighbour, or a lone one's step."""
        positions = self.slice_positions_mm
        if len(positions) < 2:
            return np.full(len(positions), abs(self.mean_step_lps_mm @ self.normal_lps))
        steps = np.abs(np.diff(positions))
        doubled = np.concatenate([steps[:1], steps]) + np.concatenate([steps, steps[-1:]])
        return np.asarray(doubled / 2)

    @property
    def voxel_volumes_mm3(self) -> Float[np.ndarray, "slices"]:
        """Volume of one voxel in each slice, from its true neighbour spacing."""
        # Rows need not be upright on columns in slices that lie across a tilted stack.
        area_mm2 = np.linalg.norm(np.cross(self.column_step_lps_mm, self.row_step_lps_mm))
        return np.asarray(self.slice_thicknesses_mm * area_mm2)

    @property
    def is_even(self) -> bool:
        """Whether one affine describes the whole stack (tilt allowed, gaps not)."""
        if len(self.origins_lps_mm) < 3:
            return True
        steps = np.diff(self.origins_lps_mm, axis=0)
        typical = np.median(steps, axis=0)
        allowed = EVEN_SPACING_TOLERANCE * np.linalg.norm(typical) + STRAIGHT_TOLERANCE_MM
        return bool(np.all(np.linalg.norm(steps - typical, axis=1) <= allowed))

    @property
    def is_sheared(self) -> bool:
        """Whether rows, columns and slices are not at right angles, on average."""
        steps = self.mean_affine_lps[:3, :3]
        axes = steps / np.linalg.norm(steps, axis=0)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE)

    @property
    def affine_lps(self) -> Float[np.ndarray, "4 4"]:
        """The affine from ``(slice, row, column, 1)`` to LPS mm.

        Raises:
            UnusableGeometry: The slices are unevenly spaced, so no affine holds.
        """
        if not self.is_even:
            raise UnusableGeometry(
                "The slices are unevenly spaced, so no single affine describes them.",
                "Work slice by slice, or resample first.",
                code="uneven-spacing",
            )
        return self.mean_affine_lps

    @property
    def affine_ras(self) -> Float[np.ndarray, "4 4"]:
        """NIfTI's affine, from ``(column, row, slice, 1)`` to RAS mm; see ``mean_affine_lps``."""
        return np.asarray(LPS_OF_RAS @ self.mean_affine_lps[:, [2, 1, 0, 3]])

    @property
    def mean_step_lps_mm(self) -> Float[np.ndarray, "3"]:
        """From one slice to the next, on average; 1 mm along the normal where nothing tells."""
        origins = self.origins_lps_mm
        if len(origins) > 1:
            return np.asarray((origins[-1] - origins[0]) / (len(origins) - 1))
        return self.normal_lps if self.lone_step_lps_mm is None else self.lone_step_lps_mm

    @property
    def mean_affine_lps(self) -> Float[np.ndarray, "4 4"]:
        """The affine with even steps from the first slice to the last; exact for an even stack."""
        steps = self.mean_step_lps_mm, self.row_step_lps_mm, self.column_step_lps_mm
        affine = np.eye(4)
        affine[:3] = np.stack([*steps, self.origins_lps_mm[0]], axis=1)
        return affine

    def to_lps_mm(self, indices: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Map (slice, row, column) indices, fractions allowed, to patient millimetres.

        Between two slices the origin is interpolated; beyond the stack it is clamped.
        """
        numbers = np.arange(len(self.origins_lps_mm))
        origins = np.stack(
            [np.interp(indices[:, 0], numbers, self.origins_lps_mm[:, axis]) for axis in range(3)],
            axis=1,
        )
        rows = indices[:, 1:2] * self.row_step_lps_mm
        return np.asarray(origins + rows + indices[:, 2:3] * self.column_step_lps_mm)
