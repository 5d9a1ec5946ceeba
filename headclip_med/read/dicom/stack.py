"""Parallel slices in order: where they lie, and what is unusual about how they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headclip_med.geometry import EVEN_SPACING_TOLERANCE, Grid
from headclip_med.read.dicom.header import ImageHeader
from headclip_med.read.dicom.planes import Frame, Plane
from headclip_med.reading import ORDINARY, Reading, Spacing

SAME_POSITION_MM = 0.01
"""Frames this close along the normal show the same place."""

SHEAR_MM = 0.1
"""A stack whose slices drift sideways by more than this is sheared (a tilted gantry)."""


@dataclass(frozen=True)
class Slice:
    """One frame with the header of its object."""

    header: ImageHeader
    frame: Frame

    @property
    def plane(self) -> Plane:
        """Where it lies; images without a plane are set aside before slices are put in order."""
        if self.frame.plane is None:
            raise ValueError("planar slices are set aside before stacks are made")
        return self.frame.plane


@dataclass(frozen=True)
class Stack:
    """Slices that make one volume, in order.

    Attributes:
        grid: Where they lie.
        part: Number within the series, from 1.
        reading: What is unusual about them and about their series.
    """

    slices: tuple[Slice, ...]
    grid: Grid
    part: int = 1
    reading: Reading = ORDINARY

    @property
    def first(self) -> ImageHeader:
        """The header of the first slice."""
        return self.slices[0].header


def planar_stack(header: ImageHeader) -> Stack:
    """Make a stack of the frames of an object without patient geometry."""
    slices = tuple(Slice(header, frame) for frame in header.frames)
    grid = Grid.of_pixels(slices=len(slices), rows=header.rows, columns=header.columns)
    return Stack(slices, grid, reading=Reading(lacks_geometry=True))


def stack_by_position(slices: Sequence[Slice], *, stacks_at_same_place: int) -> Stack:
    """Put parallel slices in order, and find what is unusual about them.

    Args:
        slices: No two of them at one position.
        stacks_at_same_place: How many stacks there are at these positions; 1 for no other.
    """
    ordered = [slices[i] for i in np.argsort(positions_mm(slices), kind="stable")]
    grid, header = _grid(ordered), ordered[0].header
    tilt_degrees, spacing = _lie(grid) if len(ordered) > 1 else (None, None)
    reading = Reading(
        is_localizer=header.is_localizer,
        lacks_frame_of_reference=header.frame_of_reference_uid is None,
        is_numbered_backwards=_is_numbered_backwards(ordered),
        tilt_degrees=tilt_degrees,
        spacing=spacing,
        stacks_at_same_place=stacks_at_same_place if stacks_at_same_place > 1 else 0,
    )
    return Stack(tuple(ordered), grid, reading=reading)


def positions_mm(slices: Sequence[Slice]) -> Float[np.ndarray, "slices"]:
    """Position of each slice along the normal of the first."""
    first = np.array(slices[0].plane.orientation)
    normal = np.cross(first[:3], first[3:])
    origins = np.array([one.plane.position_lps_mm for one in slices])
    return np.asarray(origins @ (normal / np.linalg.norm(normal)))


def _grid(slices: Sequence[Slice]) -> Grid:
    header, plane = slices[0].header, slices[0].plane
    cosines = np.array(plane.orientation)
    return Grid(
        origins_lps_mm=np.array([one.plane.position_lps_mm for one in slices]),
        # PixelSpacing is (between rows, between columns); the first three cosines run along a row.
        row_step_lps_mm=cosines[3:] * plane.spacing_mm[0],
        column_step_lps_mm=cosines[:3] * plane.spacing_mm[1],
        rows=header.rows,
        columns=header.columns,
    )


def _is_numbered_backwards(slices: Sequence[Slice]) -> bool:
    numbers = [one.frame.number or one.header.instance_number for one in slices]
    falls = len(set(numbers)) == len(numbers) and numbers == sorted(numbers, reverse=True)
    return falls and len(slices) > 1


def _lie(grid: Grid) -> tuple[float | None, Spacing | None]:
    """Measure the tilt where slices drift sideways, and the steps where some are uneven."""
    positions = grid.slice_positions_mm
    steps = np.diff(positions)
    usual = float(np.median(steps))
    sideways = grid.origins_lps_mm - np.outer(positions, grid.normal_lps)
    tilt_degrees = None
    if np.abs(sideways - sideways[0]).max() > SHEAR_MM:
        drift_mm = float(np.linalg.norm(sideways[-1] - sideways[0]))
        tilt_degrees = float(np.degrees(np.arctan2(drift_mm, positions[-1] - positions[0])))
    odd = np.flatnonzero(np.abs(steps - usual) > EVEN_SPACING_TOLERANCE * usual + SAME_POSITION_MM)
    uneven_mm = tuple((int(index), float(steps[index])) for index in odd)
    return tilt_degrees, Spacing(len(steps), usual, uneven_mm) if uneven_mm else None
