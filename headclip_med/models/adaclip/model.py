"""AdaCLIP: static and dynamic prompts in both towers, and hybrid semantic fusion.

"AdaCLIP: Adapting CLIP with Hybrid Learnable Prompts for Zero-Shot Anomaly Detection" (ECCV 2024),
as its published code computes it, in two passes of the image tower: the plain one makes the dynamic
prompts, the prompted one gives the features.

Where the published code has a quirk, it is the default here and its correction is an option of
``AdaClipSettings``: OpenAI's weights are run with GELU (``mlp_activation``), prompts are rounded to
fp16 (``prompt_cast``), and dice terms go over image rows (``TrainSettings.squeezed_dice``). The
static prompts of the first text layer are never put in, so they never learn. Only what cannot be
relied upon differs: k-means has a seed of its own, images can be batched (the published code needs
one at a time), and dynamic prompts alone work in the text tower (there they break).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.content import ImageContent
from headclip_med.models.adaclip import fusion
from headclip_med.models.adaclip.prompts import (
    DynamicPrompts,
    HybridFeatures,
    SentenceEnsemble,
    StaticPrompts,
    as_half,
    hybrid_prompts,
    prompted_pass,
)
from headclip_med.models.adaclip.settings import NAME, SCORES, AdaClipSettings
from headclip_med.models.clip.towers import Backbone, variant
from headclip_med.models.clip.vision import layers_within, quarter_layers
from headclip_med.models.engine.run import LastToken, PassPlan, Ran, run
from headclip_med.models.inference import InferenceModel, TrainedModel
from headclip_med.models.maps import unit
from headclip_med.prediction import Embeddings, Images, LevelMaps, Maps, Prediction, ScorePairs


class AdaClip(TrainedModel):
    """The trainable form; everything but the backbone learns.

    Args:
        backbone: The towers; the caller's are left as they are.
        settings: What the model is made of.
        seed: Of fresh prompts and linear maps.

    Raises:
        InvalidSettings: A layer lies beyond the tower.
    """

    method = NAME
    settings: AdaClipSettings

    def __init__(
        self, backbone: Backbone, settings: AdaClipSettings | None = None, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.settings = settings or AdaClipSettings()
        own = self.settings.mlp_activation == "trained-with"
        self.backbone = variant(
            backbone,
            activation=backbone.activation if own else "gelu",
            position_interpolation=self.settings.position_interpolation,
        ).requires_grad_(False)
        vision, text = self.backbone.vision, self.backbone.text
        self.feature_layers = chosen_layers(self.settings, vision.depth)
        joint, channels = vision.visual.proj.shape[1], vision.visual.proj.shape[0]
        tokens, depth = self.settings.prompt_tokens, self.settings.prompt_depth
        generator = torch.Generator().manual_seed(seed)
        self.static_image = StaticPrompts(depth, (tokens, channels), generator)
        self.static_text = StaticPrompts(depth, (tokens, text.width), generator, unused=1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.dynamic_image = DynamicPrompts(tokens, joint, channels)
            self.dynamic_text = DynamicPrompts(tokens, joint, text.width)
            self.patch_heads = nn.ModuleList(
                nn.Linear(channels, joint) for _ in self.feature_layers
            )
            self.token_head = nn.Linear(joint, joint)
        self._sentences = SentenceEnsemble()

    def forward(
        self,
        images: Images,
        class_names: Sequence[str] | None = None,
        *,
        plain: Embeddings | None = None,
        precision: Ran = "fp32",
    ) -> HybridFeatures:
        """Run both towers, prompted.

        Args:
            images: Normalised as the backbone wants it.
            class_names: What each image shows; the settings' ``class_name`` by default.
            plain: Their plain features, where they are known already.
            precision: What the image tower's products are computed in.
        """
        names = class_names or [self.settings.class_name] * len(images)
        if plain is None and self.needs_plain:
            plain = self.plain_feature(images, precision)
        image_prompts, text_prompts = self.prompts_for(len(images), plain)
        vision = self.backbone.vision
        token, levels = prompted_pass(
            vision, images, image_prompts, self.feature_layers, precision=precision
        )
        heads = zip(self.patch_heads, levels, strict=True)
        patches = [unit(head(level.float())) for head, level in heads]
        patch = vision.patch_px
        return HybridFeatures(
            unit(self.token_head(vision.project(token.float()))),
            torch.stack(patches),
            self.text_features(names, text_prompts),
            (images.shape[-2] // patch, images.shape[-1] // patch),
        )

    @property
    def needs_plain(self) -> bool:
        """Whether anything is made from CLIP's own image feature."""
        return "dynamic" in self.settings.prompts and self.settings.prompted_towers != "none"

    def prompts_for(
        self, count: int, plain: Embeddings | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Make the prompts of the image tower and of the text tower (rows, depth, tokens, width).

        The image tower's have a row per image. The text tower's have one as well where they are
        dynamic, else one for all; they are rounded later, as each sentence sees them.

        Args:
            count: Of images.
            plain: Their plain features; None where nothing is made from them.
        """
        kinds, towers = self.settings.prompts, self.settings.prompted_towers
        found: list[Tensor | None] = []
        for tower, static, dynamic in (
            ("image", self.static_image, self.dynamic_image),
            ("text", self.static_text, self.dynamic_text),
        ):
            prompted = towers in ("both", tower)
            fixed = static() if prompted and "static" in kinds else None
            made = dynamic(plain) if prompted and plain is not None and self.needs_plain else None
            prompts = hybrid_prompts(fixed, made)
            if prompts is not None:
                rows = count if tower == "image" else -1
                prompts = prompts.expand(rows, self.settings.prompt_depth, -1, -1)
            found.append(prompts)
        for_images, for_text = found
        if for_images is not None and self.settings.prompt_cast == "fp16":
            for_images = as_half(for_images)
        return for_images, for_text

    @torch.no_grad()
    def plain_feature(self, images: Images, precision: Ran = "fp32") -> Embeddings:
        """Give CLIP's own image feature, not normalised; nothing is learned through it."""
        vision, last = self.backbone.vision, LastToken()
        run(PassPlan(vision, (last,), precision), images)
        return vision.project(last.token)

    def text_features(
        self, class_names: Sequence[str], prompts: Float[Tensor, "rows depth tokens width"] | None
    ) -> Float[Tensor, "batch 2 joint"]:
        """Encode the sentences about each image's class, with its own prompts.

        What two images share is encoded once.
        """
        return self._sentences.features(
            self.backbone.text, class_names, prompts, half=self.settings.prompt_cast == "fp16"
        )

    def level_logits(self, features: HybridFeatures) -> Float[Tensor, "levels batch patches 2"]:
        """Compare every layer's patches with the text, scaled."""
        return self.settings.logit_scale * (features.patches @ features.text.transpose(-1, -2))

    def image_probabilities(
        self, features: HybridFeatures, clustering: fusion.Clustering | None = None
    ) -> ScorePairs:
        """Give the published score of an image: P(normal), P(abnormal) after semantic fusion.

        Args:
            features: Of ``forward``.
            clustering: In place of the seeded k-means.
        """
        token = features.token
        if self.settings.fusion:
            clusters = self.settings.clusters
            chosen = fusion.most_abnormal(self.level_logits(features), clusters)
            clustering = clustering or fusion.k_means(self.settings.cluster_seed)
            centre = fusion.semantic_centre(features.patches, chosen, clusters, clustering)
            token = fusion.fuse(token, centre, self.settings.fusion_weight)
        cosines = (token[:, None] @ features.text.transpose(-1, -2))[:, 0]
        return (self.settings.logit_scale * cosines).softmax(dim=-1)

    def level_maps(self, features: HybridFeatures, height: int, width: int) -> LevelMaps:
        """Stretch every layer's logits to pixels; aligned corners, as published."""
        logits = self.level_logits(features)
        levels, batch = logits.shape[:2]
        grid = logits.transpose(-1, -2).reshape(levels * batch, 2, *features.grid)
        pixels = functional.interpolate(
            grid, size=(height, width), mode="bilinear", align_corners=True
        )
        return pixels.view(levels, batch, 2, height, width)

    def folded(self) -> FoldedAdaClip:
        """Build the form that is used."""
        return FoldedAdaClip(self)


class FoldedAdaClip(InferenceModel):
    """The inference form of AdaCLIP; both towers stay, since its sentences follow the image."""

    def __init__(self, model: AdaClip) -> None:
        super().__init__(model.backbone, method=NAME, settings=model.settings, scores=SCORES)
        self.model = model
        self.class_name = model.settings.class_name
        self.eval()

    def with_content(self, subject: ImageContent) -> FoldedAdaClip:
        """Name what is looked at, as published, unless the settings have named it already."""
        other = copy(self)
        if self.model.settings.class_name == AdaClipSettings.class_name:
            other.class_name = subject.name or self.class_name
        return other

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        layers = {"feature_layers": list(self.model.feature_layers)}
        return {**super().describe(), **layers, "class_name": self.class_name}

    @torch.no_grad()
    def predict(self, images: Images) -> Prediction:
        """Predict a batch of images; without dynamic prompts the plain pass is left out."""
        if self.model.needs_plain:
            return super().predict(images)
        return self.predict_from(self.prepare(images), None)

    def reader(self) -> LastToken:
        """Give what reads the plain pass; the prompted one follows it."""
        return LastToken()

    def finish(self, reader: LastToken, images: Images) -> Prediction:
        """Run the prompted pass after the plain one."""
        return self.predict_from(images, self.vision.project(reader.token.float()))

    def predict_from(self, images: Images, plain: Embeddings | None) -> Prediction:
        """Run the prompted pass over prepared images.

        Args:
            images: Prepared.
            plain: Their plain features; None where nothing is made from them.
        """
        names = [self.class_name] * len(images)
        features = self.model(images, names, plain=plain, precision=self.ran)
        probability = self.model.image_probabilities(features)
        logits = mean_logits(self.model.level_maps(features, *images.shape[-2:]))
        patches = features.patches[-1].reshape(len(images), *features.grid, -1)
        return self.smoothed(logits, probability[:, 1], patches)


def mean_logits(levels: LevelMaps) -> Maps:
    """Average the layers' logits; (1 - N + A) / 2 of their softmax is this one's sigmoid."""
    normal, abnormal = levels.mean(dim=0).unbind(1)
    return abnormal - normal


def chosen_layers(settings: AdaClipSettings, depth: int) -> tuple[int, ...]:
    """Choose the feature layers, in ascending order.

    Raises:
        InvalidSettings: A layer lies beyond the tower.
    """
    return layers_within(settings.feature_layers or quarter_layers(depth), depth)
