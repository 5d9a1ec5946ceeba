"""Slices of a volume as a model sees them, and the way back onto the volume's own grid.

Everything stays in index space, slice by slice: nothing is resampled to an even or upright stack.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from headclip_med.errors import HeadClipError
from headclip_med.findings import Box


def cut_slices(
    voxels01: Float[np.ndarray, "slices rows columns *colour"],
) -> Float[Tensor, "slices 3 rows columns"]:
    """Cut a volume into three-channel images, in the volume's own order.

    Args:
        voxels01: Grey levels in [0, 1]; a last axis of three where they are colours.

    Returns:
        One image per slice; a grey one is shown three times without being copied.
    """
    voxels = torch.from_numpy(np.ascontiguousarray(voxels01, dtype=np.float32))
    if voxels.ndim == 4:
        return voxels.permute(0, 3, 1, 2)
    return voxels[:, None].expand(-1, 3, -1, -1)


def resize_images(
    images: Float[Tensor, "slices 3 rows columns"], size_px: int
) -> Float[Tensor, "slices 3 size size"]:
    """Resize to the model's square input, as the published methods do.

    Bicubic with antialiasing, the aspect ratio is not kept; values stay within [0, 1].
    """
    if images.shape[-2:] == (size_px, size_px):
        return images
    # Grey images are one plane seen three times (stride 0): resize it once.
    planes = images[:, :1] if images.stride(1) == 0 else images
    resized = functional.interpolate(
        planes, size=(size_px, size_px), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1).expand(-1, 3, -1, -1)


def resize_maps(
    maps: Float[Tensor, "slices height width"], rows: int, columns: int
) -> Float[Tensor, "slices rows columns"]:
    """Resize maps to a slice's size: bilinear, averaged where the slice is the smaller one."""
    if maps.shape[-2:] == (rows, columns):
        return maps
    resized = functional.interpolate(
        maps[:, None], size=(rows, columns), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[:, 0]


def paste_maps(
    heatmap: Float[np.ndarray, "slices rows columns"],
    maps: Float[np.ndarray, "slices height width"],
    crop_box: Box,
) -> None:
    """Put maps where their images were cut out, clamped to [0, 1].

    Args:
        heatmap: Of the same slices; changed in place.
        maps: Of the part of the slices that the model saw.
        crop_box: That part.

    Raises:
        HeadClipError: A map holds values that are not numbers; calling them healthy would hide a
            failure.
    """
    if not np.isfinite(maps).all():
        raise HeadClipError(
            "The model returned values that are not numbers, so nothing can be said about this "
            "volume.",
            "Run it in full precision, and check the weights.",
            code="map-not-finite",
        )
    heatmap[(..., *crop_box.indices)] = np.clip(maps, 0, 1)
