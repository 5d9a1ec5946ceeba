"""The steps before a model as MONAI transforms: grey levels, and the part that shows the body.

NumPy arrays, tensors and ``MetaTensor`` go in; the work is done by this package's functions. In the
dictionaries, the ``Volume`` that an image is of lies beside it, and what is chosen for it, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from monai.transforms.croppad.array import Crop
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform, Transform
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

_BACKENDS = [TransformBackends.TORCH, TransformBackends.NUMPY]


class WindowVolume(Transform):
    """Map an image's values to grey levels: float32 in [0, 1], any shape.

    Args:
        window: As for ``choose_window``.

    Raises:
        InvalidSettings: The window is unknown.
    """

    backend = _BACKENDS

    def __init__(self, window: str = "auto") -> None:
        self._fixed = check_window(window)
        self.window = window

    def __call__(self, image: NdarrayOrTensor, window: WindowUsed | None = None) -> NdarrayOrTensor:
        """Map one image.

        Args:
            image: Values in the unit that they were stored in.
            window: As ``choose`` gave it, which is asked by default.
        """
        values = convert_to_numpy(image)
        grey = apply_window(values, window or self.choose(image))
        return convert_to_dst_type(grey, image, dtype=np.float32)[0]

    def choose(self, image: NdarrayOrTensor, volume: Volume | None = None) -> WindowUsed:
        """Choose the mapping.

        Args:
            image: The values alone say little of what they are: ``auto`` takes percentiles.
            volume: What they were read as, where it is known.
        """
        if self._fixed is not None:
            return self._fixed
        if volume is not None:
            return choose_window(volume, self.window)
        low, high = percentile_range(convert_to_numpy(image))
        return WindowUsed("percentile", low, high, "nothing but the values is known")


class CropToBody(InvertibleTransform):
    """Cut every slice to the part that a model is shown; the inverse puts 0 around it.

    Args:
        crop: ``body`` cuts to the square that holds the body, ``none`` keeps whole slices.
    """

    backend = _BACKENDS[:1]

    def __init__(self, crop: Literal["body", "none"] = "body") -> None:
        self.crop = crop
        self._cropper = Crop()

    def __call__(self, data: Tensor, box: Box | None = None) -> MetaTensor:
        """Cut ``(channel, row, column, slice)`` to the rows and columns of a box, if there is one.

        Raises:
            TypeError: MONAI has been told not to track what is done to a tensor.
        """
        rows_and_columns = box.indices if box else (slice(None), slice(None))
        cut = self._cropper(data, (*rows_and_columns, slice(None)))
        if not isinstance(cut, MetaTensor):
            raise TypeError("a crop can only be undone where MONAI tracks it; see set_track_meta")
        return cut

    def find(self, volume: Volume, window: WindowUsed) -> Box:
        """Find that part of a volume's slices, by the grey levels that a window makes of them."""
        return find_crop_box(volume, window, self.crop)

    def inverse(self, data: MetaTensor) -> MetaTensor:
        """Give maps of the part the size of the whole slices."""
        return self._cropper.inverse(data)


class WindowVolumed(MapTransform):
    """Dictionary form of ``WindowVolume``.

    Args:
        keys: The images.
        window: As in ``WindowVolume``.
        volume_key: The volume that they are of; ``auto`` takes percentiles where it is missing.
        window_key: Gets the ``WindowUsed``.
        allow_missing_keys: Pass over keys that are not there.
    """

    backend = WindowVolume.backend

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
        self.transform = WindowVolume(window)
        self.volume_key, self.window_key = volume_key, window_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with grey levels in place of the images."""
        result = dict(data)
        for key in self.key_iterator(data):
            used = self.transform.choose(data[key], data.get(self.volume_key))
            result[key] = self.transform(data[key], used)
            result[self.window_key] = used
        return result


class CropToBodyd(MapTransform, InvertibleTransform):
    """Dictionary form of ``CropToBody``; MONAI's ``Invertd`` undoes it.

    Args:
        keys: Grey levels, ``(channel, row, column, slice)``.
        crop: As in ``CropToBody``.
        volume_key: The volume that they are of.
        window_key: The ``WindowUsed`` that made its values grey levels.
        box_key: Gets the ``Box`` that was cut out.
        allow_missing_keys: Pass over keys that are not there.
    """

    backend = CropToBody.backend

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
        self.transform = CropToBody(crop)
        self.volume_key, self.window_key, self.box_key = volume_key, window_key, box_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the part to show in place of the images."""
        result = dict(data)
        for key in self.key_iterator(data):
            box = self.transform.find(data[self.volume_key], data[self.window_key])
            result[key] = self.transform(data[key], box)
            result[self.box_key] = box
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with maps of whole slices, 0 around the part shown."""
        result = dict(data)
        for key in self.key_iterator(data):
            result[key] = self.transform.inverse(result[key])
        return result
