"""AnomalyCLIP: object-agnostic learned prompts, compared with value-value tokens of several layers.

"AnomalyCLIP: Object-agnostic Prompt Learning for Zero-shot Anomaly Detection" (ICLR 2024), as its
published code computes it. With all head weights at one, and the last layer alone, HeadCLIP's local
path is this method's.

Where the published code has a quirk, it is the default here and its correction is an option of
``AnomalyClipSettings``: deep tokens rounded to fp16 (``deep_cast``), a class token that skips the
final norm (``class_token_norm``), dice terms of a single image over its rows
(``TrainSettings.squeezed_dice``). One is the other way round: the published code overwrites its
table of positions whenever the size of images changes, so that its results depend on what the
process saw before. Here positions always come from the pretrained table, which is equal as long as
there is one size, and ``earlier_sizes`` names such a past. Maps are averaged over layers, where the
published code sums them: the same order of pixels, in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.models.anomalyclip.settings import NAME, SCORES, AnomalyClipSettings
from headclip_med.models.clip.prompts import ObjectAgnosticPrompts
from headclip_med.models.clip.towers import Backbone, variant
from headclip_med.models.clip.vision import VisionTower, layers_within
from headclip_med.models.engine.run import PassPlan, Ran, StreamReader, run
from headclip_med.models.inference import InferenceModel, TrainedModel
from headclip_med.models.maps import mean_logits, similarity_logits, unit
from headclip_med.prediction import Images, ImageScores, Prediction, ScorePairs, TextPair

PUBLISHED_FIRST, PUBLISHED_DEPTH = 6, 24
"""First layer with value-value attention in ViT-L/14: the code's DPAM_layer 20 replaces the last
19 blocks of 24."""


@dataclass(frozen=True, eq=False)
class FrozenLevels:
    """What the frozen image tower gives for a batch: constants of the images, whatever is learned.

    Attributes:
        global_token: The class token in the joint space, unit length.
        levels: Patches of each feature layer in the joint space, unit length.
        grid: Rows and columns of patches.
    """

    global_token: Float[Tensor, "batch joint"]
    levels: tuple[Float[Tensor, "batch patches joint"], ...]
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class LevelLogits:
    """Similarities over temperature: normal, abnormal.

    Attributes:
        image: Of the class token.
        levels: Of the patches of each feature layer.
    """

    image: ScorePairs
    levels: tuple[Float[Tensor, "batch 2 rows columns"], ...]


class AnomalyClip(TrainedModel):
    """The trainable form; only ``prompts.context`` and ``prompts.deep`` learn.

    Args:
        backbone: The towers; the caller's are left as they are.
        settings: What the model is made of.
        seed: Of fresh tokens.

    Raises:
        InvalidSettings: A layer lies beyond the tower, or the prompts do not fit.
    """

    method = NAME
    settings: AnomalyClipSettings

    def __init__(
        self, backbone: Backbone, settings: AnomalyClipSettings | None = None, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.settings = settings or AnomalyClipSettings()
        self.backbone = variant(
            backbone,
            activation=backbone.activation,
            position_interpolation=self.settings.position_interpolation,
        ).requires_grad_(False)
        vision = self.backbone.vision
        vision.earlier_grids = tuple(px // vision.patch_px for px in self.settings.earlier_sizes)
        self.local_layers, self.feature_layers = chosen_layers(self.settings, vision.depth)
        self.prompts = ObjectAgnosticPrompts(self.backbone.text, self.settings, seed=seed)

    @torch.no_grad()
    def freeze_features(self, images: Images, precision: Ran = "fp32") -> FrozenLevels:
        """Run the frozen image tower once; no graph is kept.

        Args:
            images: Values in [0, 1].
            precision: What its products are computed in.
        """
        vision = self.backbone.vision
        reader = StreamReader(vision, self.local_layers, self.feature_layers)
        run(PassPlan(vision, (reader,), precision), self.backbone.normalise(images))
        return freeze(reader, self.settings, _grid(vision, images))

    def forward(self, frozen: FrozenLevels) -> LevelLogits:
        """Compare the class token and every layer's patches with the learned sentences."""
        text = self.prompts(self.backbone.text)
        return compare(frozen, text, self.settings.temperature)

    def folded(self) -> FoldedAnomalyClip:
        """Build the form that is used."""
        return FoldedAnomalyClip(self)


class FoldedAnomalyClip(InferenceModel):
    """The inference form of AnomalyCLIP: the image tower, and both sentences as two vectors."""

    settings: AnomalyClipSettings

    def __init__(self, model: AnomalyClip) -> None:
        super().__init__(model.backbone, method=NAME, settings=model.settings, scores=SCORES)
        self._layers = (model.local_layers, model.feature_layers)
        self.register_buffer("_text", model.prompts(model.backbone.text).detach())
        self.eval().requires_grad_(False)

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        local, features = self._layers
        layers = {"local_layers": list(local), "feature_layers": list(features)}
        return {**super().describe(), **layers}

    def reader(self) -> StreamReader:
        """Give what keeps the feature layers."""
        return StreamReader(self.vision, *self._layers)

    def finish(self, reader: StreamReader, images: Images) -> Prediction:
        """Turn what was read into maps and scores."""
        frozen = freeze(reader, self.settings, _grid(self.vision, images))
        logits = compare(frozen, self.get_buffer("_text"), self.settings.temperature)
        patches = frozen.levels[-1].reshape(len(images), *frozen.grid, -1)
        maps = mean_logits(logits.levels, *images.shape[-2:])
        return self.smoothed(maps, image_score(logits), patches)


def freeze(
    reader: StreamReader, settings: AnomalyClipSettings, grid: tuple[int, int]
) -> FrozenLevels:
    """Project what was read of a pass over images of this many patches."""
    levels, token = reader.projected(norm=settings.class_token_norm)
    return FrozenLevels(unit(token), tuple(map(unit, levels)), grid)


def _grid(vision: VisionTower, images: Tensor) -> tuple[int, int]:
    return images.shape[-2] // vision.patch_px, images.shape[-1] // vision.patch_px


def image_score(logits: LevelLogits) -> ImageScores:
    """Give the published score of an image: how abnormal its class token is, in [0, 1]."""
    return logits.image.softmax(dim=-1)[:, 1]


def compare(frozen: FrozenLevels, text: TextPair, temperature: float) -> LevelLogits:
    """Compare frozen features with the unit text features of normal and abnormal."""
    rows, columns = frozen.grid
    levels = (similarity_logits(level, text, temperature) for level in frozen.levels)
    return LevelLogits(
        similarity_logits(frozen.global_token, text, temperature),
        tuple(level.transpose(1, 2).reshape(-1, 2, rows, columns) for level in levels),
    )


def chosen_layers(
    settings: AnomalyClipSettings, depth: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose the local layers and the feature layers, in ascending order.

    Raises:
        InvalidSettings: A layer lies beyond the tower.
    """
    local, features = settings.local_layers, settings.feature_layers
    if local is None:
        local = tuple(range(max(1, round(PUBLISHED_FIRST * depth / PUBLISHED_DEPTH)), depth + 1))
    features = (depth,) if features is None else features
    return layers_within(local, depth), layers_within(features, depth)
