"""Arrays that a program gives: checked, and laid on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Shaped

from headclip_med.errors import InvalidSettings
from headclip_med.geometry import Grid


def plain_voxels(
    voxels: Shaped[np.ndarray, "..."], *, is_colour: bool = False
) -> Float32[np.ndarray, "slices rows columns *colour"]:
    """Give the voxels of a volume in float32; one slice becomes a stack of one.

    Args:
        voxels: Of two or three dimensions, and a last one of three where it is colours.
        is_colour: Whether it is.

    Raises:
        InvalidSettings: It is no array of finite numbers of such a shape, or colours do not go
            from 0 to 255.
    """
    if not isinstance(voxels, np.ndarray):
        raise _unusable(f"is {type(voxels).__name__}, no array", "Give numpy.asarray(...) of it.")
    if voxels.dtype.kind not in "iuf":
        raise _unusable(
            f"holds values of the type {voxels.dtype}, no numbers",
            "Give grey levels or Hounsfield units; a mask is nothing to be screened.",
        )
    axes = voxels.ndim - is_colour
    if axes not in (2, 3) or (is_colour and voxels.shape[-1] != 3) or not voxels.size:
        raise _unusable(
            f"has the shape {voxels.shape}",
            "Give (rows, columns) or (slices, rows, columns); of colours three more numbers each, "
            "and is_colour=True.",
        )
    values = voxels.astype(np.float32)
    if not np.isfinite(values).all():
        raise _unusable(
            "holds values that are no finite numbers", "Replace them by what the air around is."
        )
    if is_colour and not (values.min() >= 0 and 1 < values.max() <= 255):
        raise _unusable(
            "holds colours that do not go from 0 to 255", "Multiply those from 0 to 1 by 255."
        )
    return values[None] if axes == 2 else values


def spaced_grid(shape: tuple[int, int, int], spacing_mm: Sequence[float | int] | None) -> Grid:
    """Lay slices on an upright grid, from foot to head, or on one that is in no patient.

    Args:
        shape: Slices, rows, columns.
        spacing_mm: Between them; None where nothing is known.

    Raises:
        InvalidSettings: There are not three, or one is not above 0.
    """
    slices, rows, columns = shape
    if spacing_mm is None:
        return Grid.of_pixels(slices=slices, rows=rows, columns=columns)
    steps_mm = [float(step) for step in spacing_mm]
    if len(steps_mm) != 3 or not all(0 < step < math.inf for step in steps_mm):
        raise InvalidSettings(
            "The spacing must be three numbers of millimetres, each above 0.",
            "Give the steps between slices, between rows and between columns, in this order.",
            code="bad-spacing",
        )
    affine = np.diag([*steps_mm, 1.0])[[2, 1, 0, 3]]  # slices along z, rows along y
    return Grid.from_affine_lps(affine, shape=shape)


def _unusable(what: str, advice: str) -> InvalidSettings:
    return InvalidSettings(f"What was given as voxels {what}.", advice, code="unusable-voxels")
