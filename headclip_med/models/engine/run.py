"""The one place where a pass of an image tower is executed, and what can be read of one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.models.clip.vision import BlockOutput, VisionTower
from headclip_med.prediction import Embeddings, Images, Patches, PatchTokens, Tokens
from headclip_med.settings import Precision

BF16 = ("avx512_bf16", "amx_tile")
"""Instructions of CPUs for products in bfloat16."""

LOG = logging.getLogger(__name__)

Ran = Literal["fp32", "bf16"]
"""What products are computed in, once that is settled for a device."""


@runtime_checkable
class BlockReader(Protocol):
    """Takes what it needs of a pass over one batch."""

    @property
    def local_layers(self) -> Collection[int]:
        """One-based layers whose value-value heads it wants."""

    def read(self, block: BlockOutput) -> None:
        """Take what it needs of a block; heads may be there that others wanted."""


@dataclass(frozen=True, eq=False)
class PassPlan:
    """A pass of an image tower.

    Attributes:
        vision: The tower.
        readers: Whom each block's output is shown to, in turn.
        precision: What products are computed in.
        prompts: Tokens of the first layers; they stand behind the patches, each layer's in place
            of the one's before, and the last stay to the end. A row for each image, or one for all.
    """

    vision: VisionTower
    readers: Sequence[BlockReader] = ()
    precision: Ran = "fp32"
    prompts: Float[Tensor, "rows depth tokens channels"] | None = None


class LastToken:
    """Reads the class token that leaves the last block."""

    local_layers: Collection[int] = ()

    def __init__(self) -> None:
        self._token: Tensor | None = None

    def read(self, block: BlockOutput) -> None:
        """Take a block's class token."""
        self._token = block.tokens[:, 0]

    @property
    def token(self) -> Float[Tensor, "batch channels"]:
        """The class token of the last block that was read."""
        if self._token is None:
            raise AssertionError("a tower has blocks")
        return self._token


class StreamReader(LastToken):
    """Sums value-value heads beside the stream, from the first local layer on.

    A feature layer before the first local one gives the stream's own tokens. The local path has no
    MLP, and never feeds back.

    Args:
        vision: The image tower.
        local_layers: One-based layers whose heads are summed.
        feature_layers: The layers whose sum is kept, in ascending order.

    Attributes:
        levels: The patches of each feature layer.
    """

    def __init__(
        self, vision: VisionTower, local_layers: Collection[int], feature_layers: tuple[int, ...]
    ) -> None:
        super().__init__()
        last = max(feature_layers)
        self.local_layers = tuple(layer for layer in local_layers if layer <= last)
        self.levels: list[PatchTokens] = []
        self._vision, self._feature_layers = vision, feature_layers
        self._stream: Tensor | None = None

    def read(self, block: BlockOutput) -> None:
        """Take a block's heads and tokens."""
        super().read(block)
        if block.heads is not None and block.layer in self.local_layers:
            start = block.tokens_in[:, 1:].float() if self._stream is None else self._stream
            self._stream = self._vision.add_heads(start, block.layer, block.heads[:, :, 1:])
        if block.layer in self._feature_layers:
            own = block.tokens[:, 1:]
            self.levels.append(own if self._stream is None else self._stream)

    def projected(self, *, norm: bool = True) -> tuple[list[Patches], Embeddings]:
        """Give levels and class token in the joint space, float32, not normalised.

        Args:
            norm: Whether the class token passes the final norm.
        """
        project = self._vision.project
        levels = [project(level.float()) for level in self.levels]
        return levels, project(self.token.float(), norm=norm)


def run(plan: PassPlan, images: Images | Tokens) -> None:
    """Run the blocks of a tower in turn, and show each one's output to the plan's readers.

    Readers compute in the plan's precision too. Gradients are kept where the caller wants them.

    Args:
        plan: Tower, readers, precision and prompts.
        images: Normalised, both sides a multiple of the patch; or tokens that enter the first
            block, class token first.

    Raises:
        InvalidSettings: The size is no multiple of the patch.
    """
    vision, readers = plan.vision, plan.readers
    wanted = frozenset[int]().union(*(reader.local_layers for reader in readers))
    with autocast(plan.precision, images.device):
        tokens = vision.embed(images) if images.ndim == 4 else images
        count = tokens.shape[1]
        for layer in range(1, vision.depth + 1):
            if plan.prompts is not None and layer <= plan.prompts.shape[1]:
                fresh = plan.prompts[:, layer - 1].to(tokens).expand(len(tokens), -1, -1)
                tokens = torch.cat([tokens[:, :count], fresh], dim=1)
            output = vision.run_block(layer, tokens, local=layer in wanted)
            for reader in readers:
                reader.read(output)
            tokens = output.tokens


def settled(asked: Precision, device: torch.device | str) -> Ran:
    """Say what runs where this was asked for; a warning is logged where it is not that.

    bfloat16 without instructions of its own takes several times as long as float32, so it is run
    on a GPU, or on a CPU that has AVX512-BF16 or AMX, and nowhere else.
    """
    if asked == "fp32":
        return "fp32"
    kind = torch.device(device).type
    if has_bf16(kind):
        return "bf16"
    if asked == "bf16":
        _warn(kind)
    return "fp32"


def has_bf16(kind: str) -> bool:
    """Tell whether a kind of device multiplies in bfloat16 by instructions of its own."""
    if kind != "cpu":
        return True
    # PyTorch before 2.6 cannot tell.
    known = (getattr(torch.cpu, f"_is_{one}_supported", bool) for one in BF16)
    return any(is_there() for is_there in known)


def autocast(precision: Ran, device: torch.device) -> AbstractContextManager[object]:
    """Give what products are run in: bfloat16 by autocast, or nothing."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@cache
def _warn(kind: str) -> None:
    LOG.warning("bf16 would be many times slower than fp32 on this %s, so fp32 is run", kind)
