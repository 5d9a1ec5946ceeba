"""A network as TorchScript that takes images of any size, as the network itself does.

Tracing a whole network would fix its graph to the example's size. Only what runs at the model's own
size is traced; the resizing before and after it is TorchScript's own.
"""

from __future__ import annotations

import warnings
from typing import Any, no_type_check

import torch
from torch import Tensor, nn
from torch.nn import functional


class ScriptedNetwork(nn.Module):
    """What ``torch.jit.script`` makes of a ``ScreeningNetwork``.

    Args:
        network: Gives map and score plane; it keeps its weights.
        image_size: Rows and columns of the images that its model was made for.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        example = torch.zeros(2, 3, image_size, image_size)
        with torch.no_grad(), warnings.catch_warnings():
            # That sizes become constants is what is wanted here.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            self.judge: Any = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]

    @no_type_check  # TorchScript knows tensors without shapes only
    def forward(self, images: Tensor) -> Tensor:
        """Resize, judge and resize back, as ``transforms.map_and_score`` does."""
        side, rows, columns = self.image_size, images.shape[2], images.shape[3]
        shown = images.expand(-1, 3, -1, -1)
        if rows == side and columns == side:
            return self.judge(shown)
        shown = functional.interpolate(
            shown, size=[side, side], mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
        found = self.judge(shown)
        maps = functional.interpolate(
            found[:, :1], size=[rows, columns], mode="bilinear", antialias=True, align_corners=False
        )
        scores = found[:, 1:, :1, :1].expand(-1, -1, rows, columns)
        return torch.cat([maps, scores], dim=1)
