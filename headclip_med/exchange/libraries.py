"""Voxels on a grid, to and from the objects of other libraries: nibabel, SimpleITK and MONAI.

Each library is imported when one of its objects is given or asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from headclip_med.errors import InvalidSettings, UnusableGeometry
from headclip_med.geometry import Grid

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor as MetaTensor
    from nibabel.nifti1 import Nifti1Image as Nifti1Image
    from SimpleITK import Image as Image

Voxels = Shaped[np.ndarray, "slices rows columns *colour"]


def of_nibabel(image: Any) -> tuple[Voxels, Grid]:
    """Take the voxels of a nibabel image and where they lie.

    Args:
        image: Of three dimensions, with an affine in millimetres.

    Raises:
        InvalidSettings: It is no such image.
        UnusableGeometry: Its affine is singular or not finite.
    """
    from nibabel.spatialimages import SpatialImage

    _check(image, SpatialImage, "a nibabel image")
    _check_dimensions(len(image.shape))
    voxels = np.asanyarray(image.dataobj).swapaxes(0, 2)
    return voxels, Grid.from_affine_ras(np.asarray(image.affine, float), shape=voxels.shape)


def of_sitk(image: Any) -> tuple[Voxels, Grid]:
    """Take the voxels of a SimpleITK image and where they lie.

    Args:
        image: Of three dimensions, with one number, or red, green and blue, in each voxel.

    Raises:
        InvalidSettings: It is no such image.
        UnusableGeometry: Its axes are not independent.
    """
    import SimpleITK

    _check(image, SimpleITK.Image, "a SimpleITK image")
    _check_dimensions(image.GetDimension())
    voxels = SimpleITK.GetArrayFromImage(image)
    direction = np.reshape(image.GetDirection(), (3, 3))
    grid = Grid.from_itk(direction, image.GetSpacing(), image.GetOrigin(), shape=voxels.shape[:3])
    return voxels, grid


def to_nibabel(voxels: Voxels, grid: Grid) -> Nifti1Image:
    """Make a NIfTI image, by ``(column, row, slice)``; without patient geometry it has no affine.

    Raises:
        UnusableGeometry: The slices are unevenly spaced.
    """
    import nibabel

    affine = _even(grid).affine_ras if grid.is_patient else None
    stored = voxels.swapaxes(0, 2)
    if voxels.ndim == 4:  # NIfTI's fifth axis holds the parts of a vector
        stored = stored[:, :, :, None]
    return nibabel.Nifti1Image(stored, affine)  # type: ignore[no-untyped-call]


def to_sitk(voxels: Voxels, grid: Grid) -> Image:
    """Make a SimpleITK image; without patient geometry its voxels are 1 mm apart.

    Raises:
        UnusableGeometry: The slices are unevenly spaced, or lean, which ITK does not know.
    """
    import SimpleITK

    if grid.is_sheared:
        raise UnusableGeometry(
            "The slices are sheared against each other, which an ITK image cannot express.",
            "Take to_nibabel(), whose affine can, or the resampled heatmap that is written.",
            code="sheared",
        )
    steps = _even(grid).affine_lps[:3, [2, 1, 0]]
    spacing_mm = np.linalg.norm(steps, axis=0)
    image = SimpleITK.GetImageFromArray(voxels, isVector=voxels.ndim == 4)
    image.SetSpacing(spacing_mm.tolist())
    image.SetOrigin(grid.origins_lps_mm[0].tolist())
    image.SetDirection((steps / spacing_mm).ravel().tolist())
    return image


def to_metatensor(voxels: Voxels, grid: Grid) -> MetaTensor:
    """Make MONAI's tensor, by ``(channel, column, row, slice)`` with an affine to RAS mm.

    Raises:
        UnusableGeometry: The slices are unevenly spaced.
    """
    import torch
    from monai.data.meta_tensor import MetaTensor

    channels = voxels[..., None] if voxels.ndim == 3 else voxels
    moved = np.ascontiguousarray(channels.transpose(3, 2, 1, 0), dtype=np.float32)
    return MetaTensor(torch.from_numpy(moved), affine=torch.from_numpy(_even(grid).affine_ras))


def _even(grid: Grid) -> Grid:
    if not grid.is_even:
        raise UnusableGeometry(
            "The slices are unevenly spaced, so no image of this library can say where they are.",
            "Work slice by slice, or take heatmap_resampled.nii.gz, which a screening's save() "
            "writes.",
            code="uneven-spacing",
        )
    return grid


def _check(image: object, kind: type, what: str) -> None:
    if not isinstance(image, kind):
        raise InvalidSettings(
            f"This is {type(image).__name__}, not {what}.",
            "Volume.from_array takes arrays, read_volume takes paths.",
            code="wrong-type",
        )


def _check_dimensions(count: int) -> None:
    if count != 3:
        raise InvalidSettings(
            f"The image has {count} dimensions, and a volume has three.",
            "Give one time point, or one slice as a volume of one.",
            code="wrong-type",
        )
