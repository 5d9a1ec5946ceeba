"""HeadCLIP: learned prompts and learned head weights on a frozen CLIP.

"Domain Adaptation of Attention Heads for Zero-shot Anomaly Detection", equations 1 to 12.
``HeadClip`` is the trainable form. ``HeadClip.fold`` gives the form that is used: head weights
multiplied into the output projections, both sentences reduced to two vectors.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.models.clip.prompts import ObjectAgnosticPrompts
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import BlockOutput, layers_within, weighted_projection
from headclip_med.models.engine.run import LastToken, PassPlan, Ran, run
from headclip_med.models.headclip.settings import NAME, SCORES, HeadClipSettings
from headclip_med.models.inference import InferenceModel, TrainedModel
from headclip_med.models.maps import averaged_logits, mean_logits, similarity_logits, unit
from headclip_med.prediction import (
    Embeddings,
    GridPairs,
    Images,
    Patches,
    PatchGrid,
    PatchTokens,
    Prediction,
    ScorePairs,
)
from headclip_med.settings import require

PAPER_FIRST, PAPER_LAST, PAPER_DEPTH = 5, 19, 24
"""The paper's local layers, of ViT-L/14."""


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """What the frozen image tower gives for a batch: constants of the images, whatever is learned.

    Attributes:
        global_token: The class token in the joint space, unit length.
        residual: Tokens entering the first local layer, class token left out.
        heads: H of eq. 3 per local layer, class token left out.
        grid: Rows and columns of patches.
    """

    global_token: Embeddings
    residual: PatchTokens
    heads: tuple[Float[Tensor, "batch heads patches head_width"], ...]
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Logits:
    """Similarities over temperature; the last axis of ``image`` is normal, abnormal.

    Attributes:
        image: Of the class token.
        patches: Of the local tokens, at each feature layer.
    """

    image: ScorePairs
    patches: tuple[GridPairs, ...]


class HeadClip(TrainedModel):
    """The trainable form: three learned parts on a frozen backbone.

    Only ``prompts.context``, ``prompts.deep`` and ``head_weights`` are parameters that learn.

    Args:
        backbone: The towers.
        settings: What the model is made of.
        seed: Of fresh tokens, and of Gaussian head weights.

    Raises:
        InvalidSettings: A layer lies beyond the tower or is read for nothing, or the prompts do not
            fit.
    """

    method = NAME
    settings: HeadClipSettings

    def __init__(
        self, backbone: Backbone, settings: HeadClipSettings | None = None, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.settings = settings or HeadClipSettings()
        self.backbone = backbone.requires_grad_(False)
        backbone.vision.position_interpolation = self.settings.position_interpolation
        self.local_layers, self.levels = chosen_layers(self.settings, backbone.vision.depth)
        self.prompts = ObjectAgnosticPrompts(backbone.text, self.settings, seed=seed)
        shape = (len(self.local_layers), backbone.vision.head_count)
        learned = self.settings.head_weights == "learned"
        start = _first_weights(self.settings.head_weight_start if learned else "1.0", shape, seed)
        self.head_weights = nn.Parameter(start, requires_grad=learned)

    @torch.no_grad()
    def freeze_features(self, images: Images, precision: Ran = "fp32") -> FrozenFeatures:
        """Run the frozen image tower once; no graph is kept.

        Args:
            images: Values in [0, 1].
            precision: What its products are computed in.
        """
        vision, reader = self.backbone.vision, _HeadReader(self.local_layers)
        run(PassPlan(vision, (reader,), precision), self.backbone.normalise(images))
        patch = vision.patch_px
        grid = images.shape[-2] // patch, images.shape[-1] // patch
        token = vision.project(reader.token, norm=self.settings.class_token_norm)
        return FrozenFeatures(unit(token), reader.residual, tuple(reader.heads), grid)

    def local_tokens(self, frozen: FrozenFeatures) -> tuple[Patches, ...]:
        """Sum the weighted heads over the local layers, and project (eq. 4 to 6).

        There is no MLP on this path; gradients reach the head weights only.

        Returns:
            Unit tokens, as the sum stands at each feature layer.
        """
        vision = self.backbone.vision
        start = frozen.residual
        stream = start if self.settings.local_residual else torch.zeros_like(start)
        layers = zip(self.local_layers, frozen.heads, self.head_weights, strict=True)
        read = []
        for layer, heads, weights in layers:
            stream = vision.add_heads(stream, layer, heads, weights)
            if layer in self.levels:
                read.append(unit(vision.project(stream)))
        return tuple(read)

    def forward(self, frozen: FrozenFeatures) -> Logits:
        """Compare both paths with the learned sentences (eq. 9)."""
        text = self.prompts(self.backbone.text)
        local, temperature = self.local_tokens(frozen), self.settings.temperature
        with torch.autocast(text.device.type, enabled=False):  # logits are always float32
            patches = [similarity_logits(one, text, temperature) for one in local]
            image = similarity_logits(frozen.global_token, text, temperature)
        rows, columns = frozen.grid
        grids = (one.transpose(1, 2).reshape(-1, 2, rows, columns) for one in patches)
        return Logits(image, tuple(grids))

    def folded(self) -> FoldedHeadClip:
        """Build the form that is used."""
        return FoldedHeadClip(self)


class FoldedHeadClip(InferenceModel):
    """The inference form of HeadCLIP, an ``AnomalyModel``.

    Args:
        model: What has learned; only its image tower is kept.
    """

    settings: HeadClipSettings

    def __init__(self, model: HeadClip) -> None:
        super().__init__(model.backbone, method=NAME, settings=model.settings, scores=SCORES)
        self.local_layers, self.levels = model.local_layers, model.levels
        weights = model.head_weights.detach()
        if self.settings.head_weights == "learned":
            self.head_weights = self.local_layers, weights.float().cpu().numpy()
        projections = [
            _fold(self.vision.blocks[layer - 1], row)
            for layer, row in zip(self.local_layers, weights, strict=True)
        ]
        self.register_buffer("_weights", torch.stack([weight for weight, _ in projections]))
        biases = dict(zip(self.local_layers, (bias for _, bias in projections), strict=True))
        self.register_buffer("_bias", torch.stack(list(_sums(biases, self.levels))))
        self.register_buffer("_text", model.prompts(model.backbone.text).detach())
        self.eval().requires_grad_(False)

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        layers = {"local_layers": list(self.local_layers), "feature_layers": list(self.levels)}
        return {**super().describe(), **layers}

    def reader(self) -> _FoldedReader:
        """Give what sums weighted heads."""
        return _FoldedReader(self)

    def pass_key(self, height: int, width: int) -> Hashable:
        """Tell passes apart: one that sees mirror images serves no other model."""
        key = super().pass_key(height, width)
        return (key, "mirrored") if self.settings.mirrored else key

    def prepare(self, images: Images) -> Float[Tensor, "seen 3 height width"]:
        """Move and normalise images; their mirror images follow where the settings want them."""
        prepared = super().prepare(images)
        return torch.cat([prepared, prepared.flip(-1)]) if self.settings.mirrored else prepared

    def weight_of(self, layer: int) -> Float[Tensor, "channels merged"]:
        """Give a local layer's output projection, its head weights multiplied in."""
        folded: Tensor = self.get_buffer("_weights")[self.local_layers.index(layer)]
        return folded

    def start(self, entering: PatchTokens) -> PatchTokens:
        """Give what the local stream starts from: biases, and the residual where it is on."""
        bias = self.bias_of(0)
        return entering + bias if self.settings.local_residual else bias.expand_as(entering)

    def bias_of(self, level: int) -> Float[Tensor, "channels"]:
        """Give the biases of the layers between a feature layer and the one before."""
        return self.get_buffer("_bias")[level]

    def finish(self, reader: _FoldedReader, images: Images) -> Prediction:
        """Turn the summed local stream and the class token into maps and scores (eq. 9 and 12)."""
        height, width = (int(side) for side in images.shape[-2:])
        text, temperature = self.get_buffer("_text"), self.settings.temperature
        patch = self.vision.patch_px
        grids = []
        for stream in reader.levels:
            local = unit(self.vision.project(stream))
            patches = similarity_logits(local, text, temperature)
            grids.append(patches.transpose(1, 2).reshape(-1, 2, height // patch, width // patch))
        whole = self.vision.project(reader.token.float(), norm=self.settings.class_token_norm)
        score = similarity_logits(unit(whole), text, temperature).softmax(dim=-1)[:, 1]
        logits = mean_logits(grids, height, width)
        if self.settings.mirrored:
            # ONNX's optimiser fails at a chunk of unknown length.
            seen, mirrored = logits.reshape(2, -1, *logits.shape[-2:])
            logits = averaged_logits(seen, mirrored.flip(-1))
            score = score.reshape(2, -1).mean(dim=0)
        return self.smoothed(logits, score, self._placed(local, (height // patch, width // patch)))

    def _placed(
        self, local: Float[Tensor, "seen patches joint"], grid: tuple[int, int]
    ) -> PatchGrid:
        """Lay local tokens where they belong; those of mirror images behind the image's own."""
        placed = local.reshape(-1, *grid, local.shape[-1])
        if not self.settings.mirrored:
            return placed
        seen, mirrored = placed.reshape(2, -1, *placed.shape[1:])
        return unit(torch.cat([seen, mirrored.flip(-2)], dim=-1))


class _FoldedReader(LastToken):
    """Sums the weighted heads of the local layers (eq. 4 to 6); ``levels`` are what is read."""

    def __init__(self, model: FoldedHeadClip) -> None:
        super().__init__()
        self._model, self.local_layers = model, model.local_layers
        self._stream: Tensor | None = None
        self._is_read = False
        self.levels: list[Tensor] = []

    def read(self, block: BlockOutput) -> None:
        super().read(block)
        if block.heads is not None and block.layer in self.local_layers:
            merged = block.heads[:, :, 1:].transpose(1, 2).flatten(2)
            added = functional.linear(merged, self._model.weight_of(block.layer)).float()
            if self._stream is None:
                self._stream = self._model.start(block.tokens_in[:, 1:].float())
            elif self._is_read:
                self._stream = self._stream + self._model.bias_of(len(self.levels))
            self._stream = self._stream + added
            self._is_read = block.layer in self._model.levels
            if self._is_read:
                self.levels.append(self._stream)


def _fold(block: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply head weights and layer scale into a block's output projection and its bias."""
    projection: nn.Linear = block.attn.out_proj
    scale = getattr(block.ls_1, "gamma", torch.ones(projection.out_features).to(weights))
    return scale[:, None] * weighted_projection(projection, weights), scale * projection.bias


class _HeadReader(LastToken):
    """Keeps the heads of the local layers, and what enters the first of these."""

    residual: Tensor

    def __init__(self, local_layers: tuple[int, ...]) -> None:
        super().__init__()
        self.local_layers = local_layers
        self.heads: list[Tensor] = []

    def read(self, block: BlockOutput) -> None:
        super().read(block)
        if block.heads is not None:
            if not self.heads:
                self.residual = block.tokens_in[:, 1:]
            self.heads.append(block.heads[:, :, 1:].float())  # under autocast they are shorter


def chosen_layers(
    settings: HeadClipSettings, depth: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose the layers with value-value attention, and those of them that the stream is read at.

    Nothing joins the stream between two local layers: it is read as it stands after the last one
    that is no later than a feature layer.

    Raises:
        InvalidSettings: A layer lies beyond the tower, or would be read twice, or never.
    """
    layers, read = settings.local_layers, settings.feature_layers
    if layers is None:
        first = max(1, round(PAPER_FIRST * depth / PAPER_DEPTH))
        last = max(first, round(PAPER_LAST * depth / PAPER_DEPTH))
        layers = tuple(range(first, last + 1))
        if read is not None and first <= max(read) < last:
            layers = tuple(range(first, max(read) + 1))
    local = layers_within(layers, depth)
    if read is None:
        return local, local[-1:]
    features = layers_within(read, depth)
    levels = tuple(max((one for one in local if one <= layer), default=0) for layer in features)
    _refuse_unread(local, features, levels)
    return local, levels


def _refuse_unread(
    local: tuple[int, ...], features: tuple[int, ...], levels: tuple[int, ...]
) -> None:
    """Refuse feature layers without a map of their own, and local layers that reach no map."""
    advice = "Name other feature_layers or local_layers."
    require(
        levels[0] > 0,
        f"feature_layers must not lie before the first local layer, {local[0]}, where the local "
        "stream starts.",
        advice,
    )
    for layer, after, one, other in zip(features, features[1:], levels, levels[1:], strict=False):
        require(
            one != other,
            f"feature_layers {layer} and {after} read the same: no local layer lies between them.",
            advice,
        )
    require(
        levels[-1] == local[-1],
        f"local_layers beyond the last of feature_layers, {features[-1]}, would never be read.",
        advice,
    )


def _sums(biases: Mapping[int, Tensor], levels: tuple[int, ...]) -> Iterator[Tensor]:
    """Sum the biases of the layers up to each level, from the one before on."""
    before = 0
    for level in levels:
        yield torch.stack([one for layer, one in biases.items() if before < layer <= level]).sum(0)
        before = level


def _first_weights(start: str, shape: tuple[int, int], seed: int) -> Tensor:
    if start == "gaussian":
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.full(shape, float(start))
