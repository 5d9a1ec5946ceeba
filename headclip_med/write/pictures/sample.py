"""A test image beside what a model sees in it and beside the ground truth, in one row."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from headclip_med.write.pictures.overlay import BACKGROUND, blend

_GAP_PX = 4


def draw_sample(
    picture: Float[np.ndarray, "side side channels"],
    heat: Float[np.ndarray, "side side"],
    ground_truth: Bool[np.ndarray, "side side"] | None,
) -> UInt8[np.ndarray, "side width 3"]:
    """Put an image, the same under its map, and the same under the ground truth, side by side.

    Args:
        picture: Values in [0, 1]; grey or red, green, blue.
        heat: The map, in [0, 1]; colours have the fixed scale of all our pictures.
        ground_truth: Which pixels are abnormal; left out where that is not known.
    """
    eight_bit = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    plain = np.broadcast_to(eight_bit, (*heat.shape, 3)).copy()
    gap = np.full((heat.shape[0], _GAP_PX, 3), BACKGROUND, dtype=np.uint8)
    row = [plain, gap, blend(plain, heat)]
    if ground_truth is not None:
        row += [gap, blend(plain, ground_truth.astype(np.float32))]
    return np.concatenate(row, axis=1)
