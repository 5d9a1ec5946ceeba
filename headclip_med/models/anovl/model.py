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

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from headclip_med.content import ImageContent
from headclip_med.errors import InvalidSettings
from headclip_med.models import sentences
from headclip_med.models.anovl.adaptation import PatchAdapter
from headclip_med.models.anovl.settings import NAME, SCORES, AnoVlSettings
from headclip_med.models.anovl.views import other_views
from headclip_med.models.clip.towers import Backbone, variant
from headclip_med.models.clip.vision import layers_within
from headclip_med.models.engine.run import LastToken, PassPlan, StreamReader, run
from headclip_med.models.maps import in_double, log_odds, similarity_logits, unit
from headclip_med.prediction import AnyEmbeddings, GridMaps, GridTokens, Images, Maps, Prediction

_STATES: Mapping[sentences.Wording, sentences.States] = {
    "published": (
        ("normal {}", "flawless {}", "perfect {}", "unblemished {}"),
        ("damaged {}", "abnormal {}", "imperfect {}", "blemished {}"),
    ),
    "medical": (
        ("normal {}", "healthy {}", "intact {}", "unremarkable {}"),
        ("damaged {}", "abnormal {}", "diseased {}", "pathological {}"),
    ),
}
_MACARONI = ("macaroni1", "macaroni2")
_TEXTURES = ("carpet", "leather", "grid", "tile", "wood")
"""Categories that are described as surfaces."""


def anovl_ensemble(wording: sentences.Wording, subject: ImageContent) -> sentences.Ensemble:
    """Build the ensemble.

    As published, macaroni1 and macaroni2 are both macaroni, other names stand as they are, and
    surfaces are described by words of their own.
    """
    states, thing = _STATES[wording], subject.name or sentences.NAMELESS
    if wording == "medical":
        kinds = tuple(dict.fromkeys((*sentences.kinds_of(subject), "medical image")))
        return sentences.compose(
            "anovl-medical", thing, states, sentences.medical_descriptions(kinds), wording
        )
    kinds = ("industrial photo", "industrial image", "manufacturing image")
    if thing in _TEXTURES:
        kinds = ("industrial photo", "textural photo", "surface picture")
    descriptions = [
        f"{sentences.articled(a.format(kind))} of {b}"
        for kind in kinds
        for a, b in sentences.FRAMES
    ]
    called = "macaroni" if thing in _MACARONI else thing
    return sentences.compose("anovl-industrial", called, states, descriptions, wording)


PUBLISHED_LAYERS = 12
"""The last so many blocks have value-value attention in the published code."""


class AnoVl(sentences.SentenceModel):
    """An ``AnomalyModel`` on any backbone.

    Args:
        backbone: Both towers; the caller's are left as they are.
        settings: What the model is made of.

    Raises:
        InvalidSettings: A layer lies beyond the tower.
    """

    settings: AnoVlSettings

    def __init__(self, backbone: Backbone, settings: AnoVlSettings | None = None) -> None:
        settings = settings or AnoVlSettings()
        towers = variant(
            backbone,
            activation=backbone.activation,
            position_interpolation=settings.position_interpolation,
        )
        super().__init__(towers, method=NAME, settings=settings, scores=SCORES)
        self.local_layers, self.feature_layer = chosen_layers(settings, self.vision.depth)
        self._adapters: dict[ImageContent, PatchAdapter] = {}

    @property
    def ensemble(self) -> sentences.Ensemble:
        """The sentences about the present subject."""
        return anovl_ensemble(self.settings.wording, self._named)

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        layers = {"local_layers": list(self.local_layers), "feature_layer": self.feature_layer}
        return {**super().describe(), **layers}

    def reader(self) -> StreamReader:
        """Give what reads the plain pass; other views of the images follow it."""
        return StreamReader(self.vision, self.local_layers, (self.feature_layer,))

    def finish(self, reader: StreamReader, images: Images) -> Prediction:
        """Turn what was read into maps and scores; other views are run from here."""
        (patches,), token = reader.projected()
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
        placed = unit(patches).reshape(len(images), rows, columns, -1)
        return self.smoothed(log_odds(abnormal, normal), score, placed)

    def abnormality(self, features: AnyEmbeddings) -> Float[Tensor, "*batch"]:
        """Compare features with the sentences: P(abnormal)."""
        return self.logits(features).softmax(dim=-1)[..., 1]

    def logits(self, features: AnyEmbeddings) -> Float[Tensor, "*batch 2"]:
        """Compare features with the sentences: cosine over temperature, normal and abnormal."""
        return similarity_logits(unit(features), self.sentences().text, self.settings.temperature)

    def class_token(self, images: Images) -> Float[Tensor, "batch joint"]:
        """Run prepared images, for CLIP's own image feature."""
        last = LastToken()
        run(PassPlan(self.vision, (last,), self.ran), images)
        return self.vision.project(last.token.float())

    def adapt(self, patches: GridTokens) -> GridTokens:
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


def average_neighbours(grid: GridMaps) -> GridMaps:
    """Average 3 x 3 patches; at the border the outermost patches count again."""
    padded = functional.pad(grid[:, None], (1, 1, 1, 1), mode="replicate")
    return functional.avg_pool2d(padded, 3, stride=1)[:, 0]


def stretch(grid: GridMaps, height: int, width: int) -> Maps:
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
