"""One frame of an object, or one tile of a page of them."""

from __future__ import annotations

from dataclasses import dataclass

from headclip_med.read.dicom.planes.plane import Plane


@dataclass(frozen=True)
class Tile:
    """A part of a stored frame.

    Attributes:
        first_row: Of the stored frame.
        first_column: Of the stored frame.
        rows: Down.
        columns: Across.
        plane: Where it lies.
    """

    first_row: int
    first_column: int
    rows: int
    columns: int
    plane: Plane


@dataclass(frozen=True)
class Frame:
    """One frame of an object, or one tile of a page of them.

    Attributes:
        number: One-based; None for single-frame objects.
        plane: None where the object does not say, or says something impossible.
        signs: The values of ``SIGNS``, as text.
        dimensions: Further signs, as many as the object has.
        tile: The part of the stored frame that this is; None for all of it.
        is_broken: A plane is stated, in numbers that make none.
    """

    number: int | None
    plane: Plane | None
    signs: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    tile: Tile | None = None
    is_broken: bool = False
