"""Slices of a volume through a network, by MONAI's own inferer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SliceInferer
from monai.utils.enums import BlendMode
from torch import Tensor

from headclip_med.content import ImageContent, content_of_part
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.transforms import memory_advice


class ScreeningInferer(SliceInferer):
    """MONAI's ``SliceInferer`` over the last axis, with the windows that ``headclip screen`` has.

    Args:
        tiling: ``whole`` shows the network whole slices, ``windows`` slides its input over them.
        overlap: Of neighbouring windows, as a share of their side.
        batch_size: Slices, or windows, that the network gets at a time.
    """

    def __init__(
        self,
        tiling: Literal["whole", "windows"] = "whole",
        overlap: float = 0.5,
        batch_size: int = 8,
    ) -> None:
        super().__init__(
            spatial_dim=2,
            roi_size=(-1, -1),
            sw_batch_size=batch_size,
            overlap=overlap,
            # A black border would be an edge that the patient does not have.
            padding_mode="replicate",
            device="cpu",
        )
        self.tiling = tiling

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Float[Tensor, "batch planes rows columns *slices"]:
        """Show the network every slice.

        Args:
            inputs: Grey levels in [0, 1], ``(batch, channel, row, column[, slice])``.
            network: Takes images and gives map and score plane; a ``ScreeningNetwork`` also learns
                what is shown.
            args: For the network.
            kwargs: Other tensors of a case, which MONAI Deploy hands over; the network takes none.

        Raises:
            OutOfMemory: A batch does not fit the device.
        """
        if inputs.ndim == 4:
            flat: Tensor = self(inputs[..., None], network, *args)
            return flat[..., 0]
        rows, columns = inputs.shape[2:4]
        side = getattr(network, "image_size", max(rows, columns))
        slide = self.tiling == "windows" and max(rows, columns) > side
        self.orig_roi_size = (side, side) if slide else (rows, columns)
        # One window needs no blending: its weights would only cost digits.
        self.mode = BlendMode.GAUSSIAN if slide else BlendMode.CONSTANT
        if isinstance(network, ScreeningNetwork):
            network = network.about(_content(inputs))
        with memory_advice(self.sw_batch_size, side):
            found = super().__call__(inputs, network, *args)
        if not isinstance(found, Tensor):  # it mirrors the network's type
            raise TypeError("the network must return one tensor")
        return found


def _content(inputs: Tensor) -> ImageContent:
    """Say what a tensor of ``tensor_of`` shows; of a batch, what its first volume does."""
    meta = inputs.meta if isinstance(inputs, MetaTensor) else {}
    known = [meta.get(key) for key in ("body_part", "modality")]
    part, modality = (one if isinstance(one, str) or one is None else one[0] for one in known)
    return content_of_part(part, modality)
