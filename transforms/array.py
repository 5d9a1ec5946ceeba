"""Grey levels and the body's part as MONAI transforms, of the values of a dictionary's keys.

Beside an image lies the ``Volume`` that it is of, and what is chosen for it is laid there, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.croppad.array import Crop
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform
from monai.utils.enums import TransformBackends
from monai.utils.type_conversion import convert_to_dst_type, convert_to_numpy
from torch import Tensor

from headclip_med.findings import Box, WindowUsed
from headclip_med.transforms.body import find_crop_box
from headclip_med.transforms.window import (
    apply_window,
    check_window,
    choose_window,
    percentile_range,
)
from headclip_med.volume import Volume

BACKENDS = [TransformBackends.TORCH, TransformBackends.NUMPY]


class WindowVolumed(MapTransform):
    """Map images' values to grey levels: float32 in [0, 1], any shape, arrays and tensors alike.

    Args:
        keys: The images, with values in the unit that they were stored in.
        window: As for ``choose_window``.
        volume_key: The volume that they are of; ``auto`` takes percentiles where it is missing,
            since the values alone say little of what they are.
        window_key: Gets the ``WindowUsed``.
        allow_missing_keys: Pass over keys that are not there.

    Raises:
        InvalidSettings: The window is unknown.
    """

    backend = BACKENDS

    def __init__(
        self,
        keys: KeysCollection,
        window: str = "auto",
        *,
        volume_key: str = "volume",
        window_key: str = "window",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self._fixed = check_window(window)
        self.window, self.volume_key, self.window_key = window, volume_key, window_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with grey levels in place of the images."""
        result = dict(data)
        for key in self.key_iterator(data):
            values = convert_to_numpy(data[key])
            used = self._fixed or self._choose(values, data.get(self.volume_key))
            grey = apply_window(values, used)
            result[key] = convert_to_dst_type(grey, data[key], dtype=np.float32)[0]
            result[self.window_key] = used
        return result

    def _choose(self, values: np.ndarray, volume: Volume | None) -> WindowUsed:
        if volume is not None:
            return choose_window(volume, self.window)
        low, high = percentile_range(values)
        return WindowUsed("percentile", low, high, "nothing but the values is known")


class CropToBodyd(MapTransform, InvertibleTransform):
    """Cut every slice to the part that a model is shown; the inverse puts 0 around it.

    MONAI's ``Invertd`` undoes it.

    Args:
        keys: Grey levels, ``(channel, row, column, slice)``.
        crop: ``body`` cuts to the square that holds the body, ``none`` keeps whole slices.
        volume_key: The volume that they are of.
        window_key: The ``WindowUsed`` that made its values grey levels.
        box_key: Gets the ``Box`` that was cut out.
        allow_missing_keys: Pass over keys that are not there.
    """

    backend = BACKENDS[:1]

    def __init__(
        self,
        keys: KeysCollection,
        crop: Literal["body", "none"] = "body",
        *,
        volume_key: str = "volume",
        window_key: str = "window",
        box_key: str = "crop_box",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.crop, self._cropper = crop, Crop()
        self.volume_key, self.window_key, self.box_key = volume_key, window_key, box_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the part to show in place of the images."""
        result = dict(data)
        for key in self.key_iterator(data):
            box = find_crop_box(data[self.volume_key], data[self.window_key], self.crop)
            result[key] = self.cut(data[key], box)
            result[self.box_key] = box
        return result

    def cut(self, image: Tensor, box: Box) -> MetaTensor:
        """Cut one image to the rows and columns of a box.

        Raises:
            TypeError: MONAI has been told not to track what is done to a tensor.
        """
        found = self._cropper(image, (*box.indices, slice(None)))
        if not isinstance(found, MetaTensor):
            raise TypeError("a crop can only be undone where MONAI tracks it; see set_track_meta")
        return found

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with maps of whole slices, 0 around the part shown."""
        result = dict(data)
        for key in self.key_iterator(data):
            result[key] = self._cropper.inverse(result[key])
        return result
