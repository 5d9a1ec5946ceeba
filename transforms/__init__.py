"""From a volume to the images a model sees, and from its maps to heatmap, lesions and scores.

Two steps are MONAI transforms of dictionaries, too, in ``array``: that module imports MONAI, the
functions do without it. What needs torch or scipy is looked up on first use: a window is chosen, or
refused, without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from headclip_med.transforms.planes import choose_views
from headclip_med.transforms.scores import joint_score, local_score, pool_slices
from headclip_med.transforms.window import CT_WINDOWS_HU, apply_window, check_window, choose_window

if TYPE_CHECKING:
    from headclip_med.transforms.body import find_body, find_crop_box
    from headclip_med.transforms.lesions import find_lesions, numbered_as_stored
    from headclip_med.transforms.slices import cut_slices, paste_maps, resize_images, resize_maps
    from headclip_med.transforms.tiles import (
        SliceModel,
        map_and_score,
        memory_advice,
        predict_batch,
        split_blended,
    )

__all__ = [
    "CT_WINDOWS_HU",
    "SliceModel",
    "apply_window",
    "check_window",
    "choose_views",
    "choose_window",
    "cut_slices",
    "find_body",
    "find_crop_box",
    "find_lesions",
    "joint_score",
    "local_score",
    "map_and_score",
    "memory_advice",
    "numbered_as_stored",
    "paste_maps",
    "pool_slices",
    "predict_batch",
    "resize_images",
    "resize_maps",
    "split_blended",
]

_HOMES = {
    "body": {"find_body", "find_crop_box"},
    "lesions": {"find_lesions", "numbered_as_stored"},
    "slices": {"cut_slices", "paste_maps", "resize_images", "resize_maps"},
    "tiles": {"SliceModel", "map_and_score", "memory_advice", "predict_batch", "split_blended"},
}
"""What is looked up on first use, by module."""


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"headclip_med.transforms.{home}"), name)
    raise AttributeError(f"module 'headclip_med.transforms' has no attribute '{name}'")
