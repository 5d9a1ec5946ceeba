"""The functions of this package as MONAI transforms of single arrays, for bundles and ``Compose``.

NumPy arrays, tensors and ``MetaTensor`` go in; the work is done by the functions.
"""

from __future__ import annotations

import numpy as np
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms.transform import Transform
from monai.utils.enums import TransformBackends
from monai.utils.type_conversion import convert_to_dst_type, convert_to_numpy
from torch import Tensor

from headclip_med.errors import InvalidSettings
from headclip_med.transforms.slices import cut_slices, resize_images, resize_maps
from headclip_med.transforms.window import CT_WINDOWS_HU, percentile_range, scale_to_grey

_BACKENDS = [TransformBackends.TORCH, TransformBackends.NUMPY]


class CTWindow(Transform):
    """Show a CT in Hounsfield units through a named window: float32 in [0, 1], any shape.

    Args:
        window: A preset of ``CT_WINDOWS_HU``.

    Raises:
        InvalidSettings: The preset is unknown.
    """

    backend = _BACKENDS

    def __init__(self, window: str = "soft-tissue") -> None:
        if window not in CT_WINDOWS_HU:
            raise InvalidSettings(
                "The window is not known.",
                f"Choose one of {', '.join(CT_WINDOWS_HU)}.",
                code="unknown-window",
            )
        centre, width = CT_WINDOWS_HU[window]
        self.low_hu, self.high_hu = centre - width / 2, centre + width / 2

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Map one image."""
        grey = scale_to_grey(convert_to_numpy(image), self.low_hu, self.high_hu)
        return convert_to_dst_type(grey, image, dtype=np.float32)[0]


class PercentileWindow(Transform):
    """Map robust percentiles of an image's foreground to float32 in [0, 1], any shape."""

    backend = _BACKENDS

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Map one image."""
        values = convert_to_numpy(image)
        grey = scale_to_grey(values, *percentile_range(values))
        return convert_to_dst_type(grey, image, dtype=np.float32)[0]


class CutSlices(Transform):
    """Cut a volume of grey levels in [0, 1] into three-channel images, ready for a model.

    Args:
        size_px: Rows and columns of the images; the slices' own by default.
        channel_first: Volumes come as MONAI loads them, ``(channel, x, y, z)`` or
            ``(channel, x, y)``; otherwise ``(slice, row, column)``, colours last.
    """

    backend = _BACKENDS

    def __init__(self, size_px: int | None = None, *, channel_first: bool = False) -> None:
        self.size_px = size_px
        self.channel_first = channel_first

    def __call__(self, volume: NdarrayOrTensor) -> Tensor:
        """Cut one volume; what it knew of its place stays with the volume, not the images."""
        voxels = convert_to_numpy(volume)
        if self.channel_first:
            voxels = (voxels if voxels.ndim == 4 else voxels[..., None]).T
            voxels = voxels[..., 0] if voxels.shape[-1] == 1 else voxels
        images = cut_slices(voxels.astype(np.float32, copy=False))
        return images if self.size_px is None else resize_images(images, self.size_px)


class PasteMaps(Transform):
    """Put one map per slice back onto the volume that ``CutSlices`` cut.

    Args:
        channel_first: As in ``CutSlices``; the result then has one channel.
    """

    backend = _BACKENDS

    def __init__(self, *, channel_first: bool = False) -> None:
        self.channel_first = channel_first

    def __call__(self, maps: Tensor, volume: NdarrayOrTensor | None = None) -> NdarrayOrTensor:
        """Paste maps ``(slice, height, width)``, resized to the slices of the volume.

        Args:
            maps: One map per slice; an axis of one channel after the slices is dropped.
            volume: The volume that was cut: the result has its kind, its layout and its affine.
                Without one the maps keep their size.
        """
        flat = (maps[:, 0] if maps.ndim == 4 else maps).detach().float()
        if volume is None:
            return flat.permute(2, 1, 0)[None] if self.channel_first else flat
        shape = tuple(volume.shape)
        rows, columns = (shape[2], shape[1]) if self.channel_first else (shape[1], shape[2])
        pasted = convert_to_numpy(resize_maps(flat, rows, columns))
        if self.channel_first:
            pasted = pasted.T[None] if len(shape) == 4 else pasted.T[None, ..., 0]
        return convert_to_dst_type(np.ascontiguousarray(pasted), volume, dtype=np.float32)[0]
