"""The embedded backbone as it is trained: initial weights, a short word table, the forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.models.clip.hub import FoundModel
from headclip_med.models.clip.text import end_indices
from headclip_med.models.clip.towers import Backbone, assemble
from headclip_med.models.clip.vision import BlockOutput, VisionTower
from headclip_med.models.engine.run import PassPlan, run
from headclip_med.models.maps import unit
from research.mini.corpus import draw_samples
from research.mini.corpus.captions import state_sentences, vocabulary
from research.mini.settings import MiniSettings

_WHITENING_FLOOR = 0.15
"""Added to a stem channel's standard deviation before dividing by it, so that the finest
frequencies, which hold mostly noise, are not blown up."""

_START_LOGIT_SCALE = 14.0
"""Inverse temperature of the caption contrast at the start: CLIP's 1 / 0.07."""


@dataclass(frozen=True)
class Seen:
    """What the image tower makes of a batch."""

    whole: Float[Tensor, "batch joint"]
    """Unit features of the class token."""
    places: Float[Tensor, "batch patches joint"]
    """Unit features of the patches on the value-value path."""
    last_tokens: Float[Tensor, "batch patches width"]
    """Patches of the last block on the plain path."""
    local_tokens: Float[Tensor, "batch patches width"]
    """Patches on the value-value path, before projection."""


class MiniModel(nn.Module):
    """The backbone, with only the words of the corpus in its table, and two auxiliary heads.

    Attributes:
        backbone: The towers. Their own word table is not trained.
        rows: Token numbers that the corpus uses, ascending.
        table: Trained embeddings of those tokens.
    """

    def __init__(self, settings: MiniSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone: Backbone = assemble(
            FoundModel(settings.model_config(), settings.preprocess(), "headclip-mini", "random"),
            seed=settings.seed,
        )
        clip = self.backbone.clip.train().requires_grad_(True)
        clip.token_embedding.requires_grad_(False)
        generator = torch.Generator().manual_seed(settings.seed)
        self.rows = self._used_tokens()
        lookup = torch.zeros(clip.token_embedding.num_embeddings, dtype=torch.long)
        lookup[self.rows] = torch.arange(len(self.rows))
        self._lookup = lookup
        words = 0.05 * torch.randn(len(self.rows), settings.text_width, generator=generator)
        self.table = nn.Parameter(words)
        self.normal_tokens = self.backbone.text.tokenize(state_sentences(abnormal=False))
        self.abnormal_tokens = self.backbone.text.tokenize(state_sentences(abnormal=True))
        self.last_head = nn.Linear(settings.width, 1)
        self.local_head = nn.Linear(settings.width, 1)
        with torch.no_grad():
            for head in (self.last_head, self.local_head):
                head.weight.copy_(0.05 * torch.randn(head.weight.shape, generator=generator))
                head.bias.zero_()
            self._initialise(clip, generator)

    def _used_tokens(self) -> Int[Tensor, "rows"]:
        sentences = [*vocabulary(), *state_sentences(True), *state_sentences(False)]
        used: Tensor = torch.unique(self.backbone.text.tokenize(sentences))
        return used

    def _initialise(self, clip: nn.Module, generator: torch.Generator) -> None:
        settings, visual = self.settings, clip.get_submodule("visual")
        positions = visual.get_parameter("positional_embedding")
        side = settings.image_px // settings.patch_px
        positions[1:] = 0.3 * sine_positions(side, settings.width)
        filters = cosine_filters(settings.patch_px)[: settings.width]
        stem = visual.get_parameter("conv1.weight")
        stem[: len(filters)] = filters
        sample = draw_samples(settings.seed, 2**31, 128, settings.image_px).images.float() / 255
        response = functional.conv2d(self.backbone.normalise(sample), stem, stride=stem.shape[-1])
        spread = response.transpose(0, 1).flatten(1).std(1)
        # Without whitening the patch mean would drown every other channel in the first LayerNorm.
        stem.div_((spread + _WHITENING_FLOOR).view(-1, 1, 1, 1))
        clip.get_parameter("logit_scale").fill_(math.log(_START_LOGIT_SCALE))

    def look(self, images: Float[Tensor, "batch 3 height width"]) -> Seen:
        """Run the image tower on pictures in [0, 1], with every head weight one."""
        vision = self.backbone.vision
        reader = _HeadSums(vision, self.settings.local_layers)
        run(PassPlan(vision, (reader,)), self.backbone.normalise(images))
        if reader.stream is None or reader.tokens is None:
            raise AssertionError("settings promise at least one local layer")
        last, local = reader.tokens[:, 1:], reader.stream[:, 1:]
        whole, places = vision.project(reader.tokens[:, 0]), vision.project(local)
        return Seen(unit(whole), unit(places), last, local)

    def read(self, tokens: Int[Tensor, "prompts context"]) -> Float[Tensor, "prompts joint"]:
        """Unit features of sentences that use the corpus's words only."""
        ends = end_indices(tokens)
        tokens = tokens[:, : int(ends.max()) + 1]
        return unit(self.backbone.text(self.table[self._lookup[tokens]], ends))

    def auxiliary_maps(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Logits per patch of the two linear heads."""
        width = (self.settings.width,)
        last = self.last_head(functional.layer_norm(seen.last_tokens.float(), width))
        local = self.local_head(functional.layer_norm(seen.local_tokens.float(), width))
        return last[..., 0], local[..., 0]

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}


class _HeadSums:
    """Sums value-value heads beside the stream, and keeps what leaves the last block."""

    def __init__(self, vision: VisionTower, local_layers: tuple[int, ...]) -> None:
        self.local_layers, self._vision = local_layers, vision
        self.stream: Tensor | None = None
        self.tokens: Tensor | None = None

    def read(self, block: BlockOutput) -> None:
        """Take a block's heads and tokens."""
        if block.heads is not None:
            start = block.tokens_in if self.stream is None else self.stream
            self.stream = self._vision.add_heads(start, block.layer, block.heads)
        self.tokens = block.tokens


def cosine_filters(size: int) -> Float[Tensor, "filters 3 size size"]:
    """The orthonormal DCT-II of a colour patch, low frequencies first.

    Args:
        size: Rows and columns of the patch; there are 3 size^2 filters.
    """
    place = torch.arange(size) + 0.5
    waves = torch.cos(torch.pi / size * place * torch.arange(size)[:, None])
    waves = waves / waves.norm(dim=1, keepdim=True)
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
    colours = colours / colours.norm(dim=1, keepdim=True)
    order = sorted((u + v, u, v, c) for u in range(size) for v in range(size) for c in range(3))
    filters = [torch.einsum("c,u,v->cuv", colours[c], waves[u], waves[v]) for _, u, v, c in order]
    return torch.stack(filters)


def sine_positions(side: int, width: int) -> Float[Tensor, "places width"]:
    """Sines and cosines of row and column, a quarter of the width each (MAE's 2-D table)."""
    rates = 100.0 ** (-torch.arange(width // 4) / (width // 4))
    axis = torch.arange(side)[:, None] * rates
    waves = torch.cat([axis.sin(), axis.cos()], dim=1)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    table = torch.cat([rows, columns], dim=2).flatten(0, 1)
    return functional.pad(table, (0, width - table.shape[1]))
