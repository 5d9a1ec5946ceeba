"""What a model may be shown, checked before anything runs on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headclip_med.errors import InvalidSettings

ROUNDING = 1e-3
"""By so much a value may lie outside [0, 1]: interpolation and half precision round."""


def require_images(images: object) -> None:
    """Refuse what is no batch of images in [0, 1]: a model would see something, and answer.

    Values are not looked at while a graph is recorded, where there are none.

    Args:
        images: To be predicted.

    Raises:
        InvalidSettings: It is no tensor, not ``(batch, 3, height, width)``, of whole numbers,
            empty, or holds values outside [0, 1] or what is no number.
    """
    if not isinstance(images, Tensor):
        raise _unusable("is no tensor", "Give torch.from_numpy(array), channels first.")
    if images.ndim != 4 or images.shape[1] != 3:
        sides = tuple(int(side) for side in images.shape)
        raise _unusable(
            f"has the shape {sides}, which is not batch x 3 x height x width",
            "Put channels second and add what is missing: image.permute(2, 0, 1)[None], and "
            "grey.expand(-1, 3, -1, -1).",
        )
    if not images.is_floating_point():
        raise _unusable(
            f"holds values of the type {str(images.dtype).removeprefix('torch.')}, not of float32",
            "Give images.float() / 255 where white is 255.",
        )
    if torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
        return
    if not images.numel():
        raise _unusable("holds no image", "Give at least one.")
    low, high = (float(one) for one in images.detach().aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise _unusable(
            "holds values that are no numbers"
            if not math.isfinite(low + high)
            else f"holds values from {low:.3g} to {high:.3g}, outside [0, 1]",
            "Divide by the value of white, such as 255; mean and deviation are the model's own "
            "business.",
        )


def _unusable(what: str, advice: str) -> InvalidSettings:
    return InvalidSettings(f"What was given to predict {what}.", advice, code="unusable-images")
