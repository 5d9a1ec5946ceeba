"""What is unusual about a stack of slices, in sentences without any patient value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headclip_med.geometry import EVEN_SPACING_TOLERANCE, Grid
from headclip_med.read.frames import Frame
from headclip_med.read.headers import Header

SAME_POSITION_MM = 0.01
"""Frames this close along the normal show the same place."""

SHEAR_MM = 0.1
"""A stack whose slices drift sideways by more than this is sheared (a tilted gantry)."""

NAMED_GAPS = 3
"""So many gaps are named one by one; more are only counted."""


@dataclass(frozen=True)
class Slice:
    """One frame with the header of its object."""

    header: Header
    frame: Frame


def describe_stack(slices: Sequence[Slice], grid: Grid) -> list[str]:
    """Say what is unusual about ordered slices: a localizer, sheared, gapped, counted down."""
    notes = []
    if slices[0].header.is_localizer:
        notes.append("This is a localizer (scout), which only planned the scan.")
    if slices[0].header.frame_of_reference_uid is None:
        notes.append("The series names no frame of reference.")
    if len(slices) < 2:
        return notes
    numbers = [one.frame.number or one.header.instance_number for one in slices]
    if len(set(numbers)) == len(numbers) and numbers == sorted(numbers, reverse=True):
        notes.append("The series is numbered against its slice positions; slices follow position.")
    return notes + _describe_spacing(grid)


def _describe_spacing(grid: Grid) -> list[str]:
    notes = []
    positions = grid.slice_positions_mm
    steps = np.diff(positions)
    usual = float(np.median(steps))
    sideways = grid.origins_lps_mm - np.outer(positions, grid.normal_lps)
    drift_mm = float(np.linalg.norm(sideways[-1] - sideways[0]))
    if np.abs(sideways - sideways[0]).max() > SHEAR_MM:
        degrees = np.degrees(np.arctan2(drift_mm, positions[-1] - positions[0]))
        notes.append(
            f"The slices are sheared (a gantry tilt of about {degrees:.1f} degrees); each is "
            "worked on where it lies."
        )
    odd = np.flatnonzero(np.abs(steps - usual) > EVEN_SPACING_TOLERANCE * usual + SAME_POSITION_MM)
    notes += [
        f"The step after slice {index} (counted from 0) is {steps[index]:.2f} mm where "
        f"{usual:.2f} mm is usual{': slices may be missing' if steps[index] > usual else ''}."
        for index in odd[:NAMED_GAPS]
    ]
    if len(odd) > NAMED_GAPS:
        notes.append(f"{len(odd)} of {len(steps)} steps between slices differ from the usual one.")
    return notes
