"""One patient stored in every order that a NIfTI file may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float

Order = tuple[tuple[int, int, int], tuple[int, int, int]]
"""Which axis each of a file's is, and in which direction (1 or -1) it runs."""

ORDERS: tuple[Order, ...] = tuple(
    ((a, b, c), (x, y, z))
    for a, b, c in permutations(range(3))
    for x, y, z in product((1, -1), repeat=3)
)
"""All 48: 24 of them turn the patient, the others mirror the axes as well."""


def stored(
    voxels: np.ndarray, affine_ras: Float[np.ndarray, "4 4"], order: Order
) -> tuple[np.ndarray, Float[np.ndarray, "4 4"]]:
    """Store voxels, ``(left to right, back to front, up)``, otherwise at the same places."""
    axes, signs = order
    found, affine = voxels.transpose(axes), affine_ras.copy()
    affine[:3, :3] = affine_ras[:3, list(axes)]
    for axis, sign in enumerate(signs):
        if sign < 0:
            found = np.flip(found, axis)
            affine[:3, 3] += affine[:3, axis] * (found.shape[axis] - 1)
            affine[:3, axis] *= -1
    return np.ascontiguousarray(found), affine


def head(
    shape: tuple[int, int, int] = (40, 48, 12), spacing_mm: Sequence[float] = (4.0, 4.0, 8.0)
) -> tuple[np.ndarray, Float[np.ndarray, "4 4"]]:
    """Draw a head in air, in HU, with a bright lesion low, left and in front, and its affine."""
    centre = (np.array(shape) - 1) / 2
    places = np.moveaxis(np.indices(shape), 0, -1)
    radii = np.array(shape) * (0.4, 0.45, 0.48)
    voxels = np.full(shape, -1000.0, dtype=np.float32)
    inside = (((places - centre) / radii) ** 2).sum(axis=-1)
    voxels[inside < 1] = 900
    voxels[inside < 0.8] = 30 + 0.1 * places[inside < 0.8].sum(axis=-1)
    lesion = np.abs(places - centre - (-0.15, 0.2, -0.2) * np.array(shape)) / shape
    voxels[(lesion < (0.09, 0.06, 0.11)).all(axis=-1)] = 75
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -centre * spacing_mm
    return voxels, affine


def sheared(affine_ras: Float[np.ndarray, "4 4"], degrees: float) -> Float[np.ndarray, "4 4"]:
    """Tilt the gantry: higher slices lie further to the front."""
    shear = np.eye(4)
    shear[1, 2] = np.tan(np.radians(degrees))
    return np.asarray(shear @ affine_ras)


def write(folder: Path, voxels: np.ndarray, affine_ras: np.ndarray) -> Path:
    """Write a NIfTI file."""
    path = folder / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(voxels, affine_ras), path)
    return path


def files(folder: Path, voxels: np.ndarray, affine_ras: np.ndarray) -> Iterator[tuple[Order, Path]]:
    """Write one patient in every order, one after the other."""
    for order in ORDERS:
        yield order, write(folder, *stored(voxels, affine_ras, order))
