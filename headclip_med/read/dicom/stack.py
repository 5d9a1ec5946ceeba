"""Parallel slices in order: where they lie, and what is unusual about how they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headclip_med.geometry import EVEN_SPACING_TOLERANCE, Grid
from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.read.dicom.planes import Frame, Plane
from headclip_med.reading import ORDINARY, Reading, Spacing

SAME_POSITION_MM = 0.01
"""Frames this close along the normal show the same place."""

SAME_DIRECTION = 1e-3
"""Direction cosines of one stack may differ by this: 0.25 mm at the rim of a head CT."""

SHEAR_MM = 0.1
"""A stack whose slices drift sideways by more than this is sheared (a tilted gantry)."""


ROUNDING_DEGREES = 1.5
"""Cosines that had to be mended may be so far off, and make straight stacks look sheared."""


@dataclass(frozen=True)
class Slice:
    """One frame with the header of its object."""

    header: ImageHeader
    frame: Frame

    @property
    def order(self) -> tuple[int, int, int]:
        """Where the numbers of object, frame and tile put it."""
        tile = self.frame.tile
        place = (tile.first_row, tile.first_column) if tile else (0, 0)
        return self.header.instance_number, self.frame.number or 0, place[0] << 20 | place[1]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        tile = self.frame.tile
        return (tile.rows, tile.columns) if tile else (self.header.rows, self.header.columns)

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
    reading = Reading(lacks_geometry=True, detector_spacing_mm=header.detector_spacing_mm)
    return Stack(slices, grid, reading=reading)


def stack_of_views(slices: Sequence[Slice]) -> Stack:
    """Put images that turn around an axis in the order of their numbers, without a common place."""
    return _stack_by_number(slices, Reading(views=len(slices)))


def stack_of_unplaced(slices: Sequence[Slice]) -> Stack:
    """Put images that state no place in the order of their numbers."""
    return _stack_by_number(slices, Reading(lacks_geometry=True, unplaced=len(slices)))


def _stack_by_number(slices: Sequence[Slice], reading: Reading) -> Stack:
    ordered = tuple(sorted(slices, key=lambda one: one.order))
    rows, columns = ordered[0].size
    grid = Grid.of_pixels(slices=len(ordered), rows=rows, columns=columns)
    return Stack(ordered, grid, reading=reading)


def stack_by_position(slices: Sequence[Slice]) -> Stack:
    """Put parallel slices in order, and find what is unusual about them.

    Args:
        slices: No two of them at one position.
    """
    ordered = [slices[i] for i in np.argsort(positions_mm(slices), kind="stable")]
    planes, header = [one.plane for one in ordered], ordered[0].header
    grid, jitter_degrees = _grid(ordered)
    tilt_degrees, spacing = _lie(grid) if len(ordered) > 1 else (None, None)
    is_mended = any(plane.is_mended for plane in planes)
    if tilt_degrees is not None and tilt_degrees < ROUNDING_DEGREES:
        tilt_degrees = None if is_mended or jitter_degrees else tilt_degrees
    if not planes[0].in_patient:
        sizes = float(np.median(grid.slice_thicknesses_mm)), *grid.pixel_spacing_mm
        grid = Grid.of_pixels(slices=len(ordered), rows=grid.rows, columns=grid.columns)
        reading = Reading(lacks_geometry=True, volume_spacing_mm=sizes)
        return Stack(tuple(ordered), grid, reading=reading)
    reading = Reading(
        is_localizer=header.is_localizer,
        lacks_frame_of_reference=not any(one.header.frame_of_reference_uid for one in ordered),
        is_numbered_backwards=_is_numbered_backwards(ordered),
        tilt_degrees=tilt_degrees,
        spacing=spacing,
        tiles=max((one.frame.tile is not None) * len(ordered) for one in ordered),
        mended_orientation=is_mended,
        jitter_degrees=jitter_degrees,
        has_decimal_commas=any(plane.has_commas for plane in planes),
        lacks_thickness=len(ordered) == 1 and planes[0].step_mm is None,
    )
    return Stack(tuple(ordered), grid, reading=reading)


def mean_normal(slices: Sequence[Slice]) -> Float[np.ndarray, "3"]:
    """Unit normal of slices that are parallel, or nearly."""
    across = np.cross(*_mean_axes(slices))
    return np.asarray(across / np.linalg.norm(across))


def positions_mm(slices: Sequence[Slice]) -> Float[np.ndarray, "slices"]:
    """Position of each slice along their normal."""
    origins = np.array([one.plane.position_lps_mm for one in slices])
    return np.asarray(origins @ mean_normal(slices))


def _mean_axes(slices: Sequence[Slice]) -> Float[np.ndarray, "2 3"]:
    """Directions along a row and down a column; those of the first where all agree."""
    kinds = list(dict.fromkeys(one.plane.orientation for one in slices))
    if len(kinds) == 1:
        return slices[0].plane.axes
    mean = np.mean([one.plane.axes for one in slices], axis=0)
    across, down = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    down = down - (down @ across) * across
    return np.stack([across, down / np.linalg.norm(down)])


def _grid(slices: Sequence[Slice]) -> tuple[Grid, float | None]:
    """Lay the grid of slices in order, and tell by how much their directions differ."""
    plane, axes = slices[0].plane, _mean_axes(slices)
    off = max(float(np.abs(one.plane.axes - axes).max()) for one in slices)
    jitter_degrees = float(np.degrees(off)) if off > SAME_DIRECTION else None
    normal = np.cross(*axes)
    rows, columns = slices[0].size
    grid = Grid(
        origins_lps_mm=np.array([one.plane.position_lps_mm for one in slices]),
        # PixelSpacing is (between rows, between columns); the first three cosines run along a row.
        row_step_lps_mm=axes[1] * plane.spacing_mm[0],
        column_step_lps_mm=axes[0] * plane.spacing_mm[1],
        rows=rows,
        columns=columns,
        lone_step_lps_mm=normal * plane.step_mm if plane.step_mm else None,
    )
    return grid, jitter_degrees


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
