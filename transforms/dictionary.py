"""The same transforms for dictionaries: each applies its array form to the values of its keys.

Beside an image lies the ``Volume`` that it is of, and what is chosen for it is laid there, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

from monai.config.type_definitions import KeysCollection
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform

from headclip_med.transforms.array import CropToBody, WindowVolume


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
