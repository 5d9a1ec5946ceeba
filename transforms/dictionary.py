"""The same transforms for dictionaries: each applies its array form to the values of its keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform

from headclip_med.transforms.array import CTWindow, CutSlices, PasteMaps, PercentileWindow


class _Mapped(MapTransform):
    """Apply one array transform to every key."""

    def __init__(
        self, keys: KeysCollection, transform: Callable[..., Any], *, allow_missing_keys: bool
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform
        self.backend = getattr(transform, "backend", [])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the values of the keys replaced."""
        result = dict(data)
        for key in self.key_iterator(data):
            result[key] = self.transform(result[key])
        return result


class CTWindowd(_Mapped):
    """Dictionary form of ``CTWindow``."""

    def __init__(
        self,
        keys: KeysCollection,
        window: str = "soft-tissue",
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, CTWindow(window), allow_missing_keys=allow_missing_keys)


class PercentileWindowd(_Mapped):
    """Dictionary form of ``PercentileWindow``."""

    def __init__(self, keys: KeysCollection, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, PercentileWindow(), allow_missing_keys=allow_missing_keys)


class CutSlicesd(_Mapped):
    """Dictionary form of ``CutSlices``; copy the volume to another key first to paste later."""

    def __init__(
        self,
        keys: KeysCollection,
        size_px: int | None = None,
        *,
        channel_first: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        cut = CutSlices(size_px, channel_first=channel_first)
        super().__init__(keys, cut, allow_missing_keys=allow_missing_keys)


class PasteMapsd(_Mapped):
    """Dictionary form of ``PasteMaps``.

    Args:
        keys: The maps.
        volume_key: The volume that they belong to.
        channel_first: As in ``PasteMaps``.
        allow_missing_keys: Pass over keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        volume_key: str,
        *,
        channel_first: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        paste = PasteMaps(channel_first=channel_first)
        super().__init__(keys, paste, allow_missing_keys=allow_missing_keys)
        self.volume_key = volume_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the maps on the volume's grid."""
        result = dict(data)
        for key in self.key_iterator(data):
            result[key] = self.transform(result[key], data[self.volume_key])
        return result
