"""How well slices lie as one volume: the measure by which ways to split a series are compared."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from headclip_med.geometry import EVEN_SPACING_TOLERANCE
from headclip_med.read.dicom.stack import SAME_POSITION_MM

REPEAT_COST = 3
"""A second slice at one position is worse than a step that is missing on both its sides."""

WIDE_BORDER = 3.0
"""Blocks this many usual steps apart are two volumes, where the header says they are two."""


@dataclass(frozen=True)
class Lie:
    """How parallel slices lie.

    Attributes:
        slices: How many.
        places: Different positions among them.
        most: Slices at the position that has most.
        odd_steps: Steps between places that differ from the usual one.
        usual_mm: The median step; 0 for one place.
    """

    slices: int
    places: int
    most: int
    odd_steps: int
    usual_mm: float

    @property
    def repeats(self) -> int:
        """Slices beyond the first at their position."""
        return self.slices - self.places

    @property
    def cost(self) -> int:
        """0 for an even volume; each fault adds to it."""
        return REPEAT_COST * self.repeats + self.odd_steps


def lie_of(positions_mm: Float[np.ndarray, "slices"]) -> Lie:
    """Measure how slices lie, by their positions in any order."""
    ordered = np.sort(positions_mm)
    starts = starts_of_places(ordered)
    counts = np.diff(np.append(starts, len(ordered)))
    steps = np.diff(ordered[starts])
    usual_mm = float(np.median(steps)) if len(steps) else 0.0
    odd = np.abs(steps - usual_mm) > EVEN_SPACING_TOLERANCE * usual_mm + SAME_POSITION_MM
    return Lie(len(ordered), len(starts), int(counts.max()), int(odd.sum()), usual_mm)


def starts_of_places(ordered_mm: Float[np.ndarray, "slices"]) -> np.ndarray:
    """Find, among positions in order, the first slice of each place."""
    return np.flatnonzero(np.diff(ordered_mm, prepend=-np.inf) > SAME_POSITION_MM)


def cost_of(parts_mm: list[Float[np.ndarray, "_"]], *, places: int) -> int:
    """Add up what is wrong with several volumes.

    Args:
        parts_mm: Positions of the slices of each.
        places: Of all together: where there are several, a volume of one slice is a fault too.
    """
    lone = 0 if places == 1 else sum(len(part) == 1 for part in parts_mm)
    return lone + sum(lie_of(part).cost for part in parts_mm if len(part) > 1)


def widest_overlap_mm(parts_mm: list[Float[np.ndarray, "_"]]) -> float:
    """By how much two volumes overlap, at most; negative where all lie one behind the other.

    The narrowest gap between neighbours is then its size.
    """
    ends = sorted((float(part.min()), float(part.max())) for part in parts_mm)
    return max(high - low for (_, high), (low, _) in pairwise(ends))
