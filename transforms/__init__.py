"""From a volume to the images a model sees, and from its maps to heatmap, lesions and scores.

Some of the functions are MONAI transforms, too, in ``array``: that module imports MONAI, the
functions do without it.
"""

from headclip_med.transforms.body import find_body, find_crop_box
from headclip_med.transforms.lesions import find_lesions
from headclip_med.transforms.scores import joint_score, local_score, pool_slices
from headclip_med.transforms.slices import cut_slices, paste_maps, resize_images, resize_maps
from headclip_med.transforms.tiles import (
    SliceModel,
    map_and_score,
    memory_advice,
    predict_batch,
    split_blended,
)
from headclip_med.transforms.window import (
    CT_WINDOWS_HU,
    apply_window,
    check_window,
    choose_window,
)

__all__ = [
    "CT_WINDOWS_HU",
    "SliceModel",
    "apply_window",
    "check_window",
    "choose_window",
    "cut_slices",
    "find_body",
    "find_crop_box",
    "find_lesions",
    "joint_score",
    "local_score",
    "map_and_score",
    "memory_advice",
    "paste_maps",
    "pool_slices",
    "predict_batch",
    "resize_images",
    "resize_maps",
    "split_blended",
]
