"""What a pass of an image tower shall be: over which tower, in what precision, read by whom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from headclip_med.models.clip.vision import BlockOutput, VisionTower
from headclip_med.models.engine.precision import Ran


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
