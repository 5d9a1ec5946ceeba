"""Slices of a volume through a network, by MONAI's own inferer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SliceInferer
from monai.utils.enums import BlendMode
from torch import Tensor

from headclip_med.content import ImageContent, content_of_part
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.volumes import FACTS, facts_of
from headclip_med.settings import ScreenSettings
from headclip_med.transforms import memory_advice


class ScreeningInferer(SliceInferer):
    """MONAI's ``SliceInferer`` over the last axis, with the windows that ``headclip screen`` has.

    Args:
        settings: Its ``tiling``, ``overlap`` and ``batch_size`` count.
    """

    def __init__(self, settings: ScreenSettings) -> None:
        super().__init__(
            spatial_dim=2,
            roi_size=(-1, -1),
            sw_batch_size=settings.batch_size,
            overlap=settings.overlap,
            # A black border would be an edge that the patient does not have.
            padding_mode="replicate",
            device="cpu",
        )
        self.settings = settings

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Float[Tensor, "batch planes rows columns *slices"]:
        """Judge every slice.

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
        slide = self.settings.tiling == "windows" and max(rows, columns) > side
        self.orig_roi_size = (side, side) if slide else (rows, columns)
        # One window needs no blending: its weights would only cost digits.
        self.mode = BlendMode.GAUSSIAN if slide else BlendMode.CONSTANT
        if isinstance(network, ScreeningNetwork):
            network = network.about(_subject(inputs))
        with memory_advice(self.settings.batch_size, side):
            judged = super().__call__(inputs, network, *args)
        if not isinstance(judged, Tensor):  # it mirrors the network's type
            raise TypeError("the network must return one tensor")
        return judged


def _subject(inputs: Tensor) -> ImageContent:
    if not isinstance(inputs, MetaTensor) or FACTS not in inputs.meta:
        return ImageContent()
    facts = facts_of(inputs)
    return content_of_part(facts["body_part"], facts["modality"])
