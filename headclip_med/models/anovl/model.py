"""AnoVL: domain-aware sentences, value-value attention, and an adaptation to each image.

"AnoVL: Adapting Vision-Language Models for Unified Zero-shot Anomaly Localization" (2023), as its
published code computes it for MVTec AD. Nothing is learned beforehand.

The map compares the patches of a stream that sums value-value heads from ``local_layers`` on, with
the mean of 462 sentences a side; it is averaged over 3 x 3 patches. The image score averages the
class token's P(abnormal) over 22 views, and does not look at the map.

Quirks of the published code that are the default here, and what corrects them:

- No temperature, so that all values lie close to one half (``temperature``).
- It lists layers for the map but keeps no copies, so that the last one is always used
  (``feature_layer``).
- Adaptation keeps the optimiser's moments from image to image (``adaptation="independent"``).
- Views and their grey are made of the normalised image.

Only what cannot be relied upon differs: adapters and noise are drawn from a seed, the same for each
image, and images can be batched. Its script for VisA (two crops, a square adapter) is not offered.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from headclip_med.content import ImageContent
from headclip_med.errors import InvalidSettings
from headclip_med.models.anovl.adaptation import PatchAdapter
from headclip_med.models.anovl.sentences import anovl_ensemble
from headclip_med.models.anovl.settings import NAME, SCORES, AnoVlSettings
from headclip_med.models.anovl.views import other_views
from headclip_med.models.clip.layers import layers_within
from headclip_med.models.clip.towers import Backbone, variant
from headclip_med.models.clip.vision import BlockOutput, VisionTower
from headclip_med.models.engine.plan import LastToken, PassPlan
from headclip_med.models.engine.run import run
from headclip_med.models.inference import InferenceModel, PassReader, Use
from headclip_med.models.maps import in_double, log_odds, similarity_logits, unit
from headclip_med.models.sentences import Ensemble, encode, mean_direction
from headclip_med.prediction import Prediction
from headclip_med.settings import AUTO

PUBLISHED_LAYERS = 12
"""The last so many blocks have value-value attention in the published code."""


@dataclass(frozen=True, eq=False)
class Sentences:
    """What the sentences about a subject mean.

    Attributes:
        text: Unit features of normal and abnormal.
        prompts: Unit features of every sentence, the normal ones first.
    """

    text: Float[Tensor, "2 joint"]
    prompts: Float[Tensor, "prompts joint"]


class AnoVl(InferenceModel):
    """An ``AnomalyModel`` on any backbone.

    Args:
        backbone: Both towers; the caller's are left as they are.
        settings: What the model is made of.
        use: How it is to be used; as published by default.

    Raises:
        InvalidSettings: A layer lies beyond the tower.
    """

    settings: AnoVlSettings

    def __init__(
        self, backbone: Backbone, settings: AnoVlSettings | None = None, *, use: Use | None = None
    ) -> None:
        settings = settings or AnoVlSettings()
        towers = variant(
            backbone,
            activation=backbone.activation,
            position_interpolation=settings.position_interpolation,
        )
        usual = Use(SCORES)
        super().__init__(towers, method=NAME, settings=settings, use=use or usual)
        self.text = towers.text
        self.local_layers, self.feature_layer = chosen_layers(settings, self.vision.depth)
        self._named = ImageContent(None if settings.class_name == AUTO else settings.class_name)
        self._encoded: dict[ImageContent, Sentences] = {}
        self._adapters: dict[ImageContent, PatchAdapter] = {}
        self.eval().requires_grad_(False)

    @property
    def ensemble(self) -> Ensemble:
        """The sentences about the present subject."""
        return anovl_ensemble(self.settings.wording, self._named)

    def with_content(self, subject: ImageContent) -> AnoVl:
        """Give the same model, its sentences about a subject; weights are shared."""
        own = self.settings.class_name
        other = copy(self)
        other._named = subject if own == AUTO else replace(subject, name=own)
        return other

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        layers = {"local_layers": list(self.local_layers), "feature_layer": self.feature_layer}
        return {**super().describe(), **layers, "prompts": self.ensemble.to_json()}

    def sentences(self) -> Sentences:
        """Encode the sentences about the present subject, once."""
        place = self.get_buffer("_mean").device
        found = self._encoded.get(self._named)
        if found is None or found.text.device != place:
            ensemble = self.ensemble
            sides = [encode(self.text, one) for one in (ensemble.normal, ensemble.abnormal)]
            found = Sentences(mean_direction(*sides), unit(torch.cat(sides)))
            self._encoded[self._named] = found
        return found

    def reader(self, images: Float[Tensor, "batch 3 height width"]) -> PassReader:
        """Start reading a pass over prepared images; other views of them follow it."""
        return _StreamReader(self, images)

    def predict_from(
        self,
        images: Float[Tensor, "batch 3 height width"],
        patches: Float[Tensor, "batch patches joint"],
        token: Float[Tensor, "batch joint"],
    ) -> Prediction:
        """Turn projected tokens into maps and scores.

        Args:
            images: Prepared; their other views are run from here.
            patches: Of the local stream, not normalised.
            token: The class token of the plain pass.
        """
        height, width = images.shape[-2:]
        rows, columns = height // self.vision.patch_px, width // self.vision.patch_px
        if self.settings.adaptation != "none":
            grids = patches.reshape(len(patches), rows, columns, -1)
            patches = torch.stack([self.adapt(one) for one in grids]).flatten(1, 2)
        both = in_double(self.logits(patches)).softmax(dim=-1)
        normal, abnormal = (
            stretch(average_neighbours(one.view(-1, rows, columns)), height, width)
            for one in both.unbind(-1)
        )
        score = self.abnormality(token)
        if self.settings.views:
            others = [self.abnormality(self.class_token(view)) for view in other_views(images)]
            score = torch.stack([score, *others]).mean(dim=0)
        return self.smoothed(log_odds(abnormal, normal), score)

    def abnormality(self, features: Float[Tensor, "*batch joint"]) -> Float[Tensor, "*batch"]:
        """Compare features with the sentences: P(abnormal)."""
        return self.logits(features).softmax(dim=-1)[..., 1]

    def logits(self, features: Float[Tensor, "*batch joint"]) -> Float[Tensor, "*batch 2"]:
        """Compare features with the sentences: cosine over temperature, normal and abnormal."""
        return similarity_logits(unit(features), self.sentences().text, self.settings.temperature)

    def class_token(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch joint"]:
        """Run prepared images, for CLIP's own image feature."""
        last = LastToken()
        run(PassPlan(self.vision, (last,), self.ran), images)
        return self.vision.project(last.token.float())

    def adapt(
        self, patches: Float[Tensor, "rows columns joint"]
    ) -> Float[Tensor, "rows columns joint"]:
        """Adapt the patches of one image to themselves."""
        chosen = self.settings
        adapter = self._adapters.get(self._named)
        if adapter is None or chosen.adaptation == "independent":
            known = self.sentences()
            adapter = PatchAdapter(
                known.prompts,
                known.text,
                temperature=chosen.temperature,
                rate=chosen.adaptation_rate,
            )
            self._adapters[self._named] = adapter
        generator = torch.Generator().manual_seed(chosen.seed)
        adapter.restart_at_random(generator)
        noises = (
            torch.randn(patches.shape, generator=generator).to(patches) * chosen.adaptation_noise
            for _ in range(chosen.adaptation_steps)
        )
        for _ in adapter.fit(patches, noises):
            pass
        with torch.no_grad():
            return adapter(patches)


class StreamReader(LastToken):
    """Sums value-value heads beside the stream, from the first local layer on; there is no MLP.

    Args:
        vision: The image tower.
        local_layers: One-based layers whose heads are summed.
        feature_layer: The layer whose stream is kept.
    """

    def __init__(
        self, vision: VisionTower, local_layers: tuple[int, ...], feature_layer: int
    ) -> None:
        super().__init__()
        self.local_layers = tuple(layer for layer in local_layers if layer <= feature_layer)
        self._vision = vision
        self._stream: Tensor | None = None

    def read(self, block: BlockOutput) -> None:
        """Take a block's heads and class token."""
        if block.heads is not None and block.layer in self.local_layers:
            start = block.tokens_in[:, 1:].float() if self._stream is None else self._stream
            self._stream = self._vision.add_heads(start, block.layer, block.heads[:, :, 1:])
        super().read(block)

    @property
    def stream(self) -> Float[Tensor, "batch patches channels"]:
        """The sum so far, class token left out."""
        if self._stream is None:
            raise AssertionError("local layers lie inside the tower")  # checked when built
        return self._stream.float()

    def projected(
        self,
    ) -> tuple[Float[Tensor, "batch patches joint"], Float[Tensor, "batch joint"]]:
        """Give local patches and the plain class token in the joint space, not normalised."""
        project = self._vision.project
        return project(self.stream), project(self.token.float())


class _StreamReader(StreamReader):
    def __init__(self, model: AnoVl, images: Tensor) -> None:
        super().__init__(model.vision, model.local_layers, model.feature_layer)
        self._model, self._images = model, images

    def finish(self) -> Prediction:
        return self._model.predict_from(self._images, *self.projected())


def average_neighbours(
    grid: Float[Tensor, "batch rows columns"],
) -> Float[Tensor, "batch rows columns"]:
    """Average 3 x 3 patches; at the border the outermost patches count again."""
    padded = functional.pad(grid[:, None], (1, 1, 1, 1), mode="replicate")
    return functional.avg_pool2d(padded, 3, stride=1)[:, 0]


def stretch(
    grid: Float[Tensor, "batch rows columns"], height: int, width: int
) -> Float[Tensor, "batch height width"]:
    """Stretch maps to pixels bilinearly, the centres of corner patches to the corners."""
    return functional.interpolate(
        grid[:, None], size=(height, width), mode="bilinear", align_corners=True
    )[:, 0]


def chosen_layers(settings: AnoVlSettings, depth: int) -> tuple[tuple[int, ...], int]:
    """Choose the local layers, in ascending order, and the one whose stream gives the map.

    Raises:
        InvalidSettings: A layer lies beyond the tower.
    """
    local = settings.local_layers
    if local is None:
        local = tuple(range(max(1, depth - PUBLISHED_LAYERS + 1), depth + 1))
    local = layers_within(local, depth)
    (feature,) = layers_within((settings.feature_layer or depth,), depth)
    if feature < local[0]:
        raise InvalidSettings(
            f"feature_layer {feature} lies before the first local layer, {local[0]}.",
            "Choose a later one.",
            code="feature-layer",
        )
    return local, feature
