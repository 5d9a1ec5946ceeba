"""What the forms of methods that are used share: all of ``AnomalyModel`` but how a pass is read.

Many maps come from CLIP's own stream and from value-value heads beside it, which never feed back.
So models on the same weights, run with the same activation, positions and precision, can read one
pass block by block, whatever layers each wants.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import VisionTower, default_image_size
from headclip_med.models.engine.run import BlockReader, PassPlan, Ran, run, settled
from headclip_med.models.maps import in_double, patches_of, smooth
from headclip_med.models.model import EVEN, AnomalyModel
from headclip_med.models.shown import require_images
from headclip_med.prediction import Images, ImageScores, Maps, Prediction
from headclip_med.settings import MethodSettings, Precision, ScoreSettings, top_count
from headclip_med.training.network import Trainable

HeadWeights = tuple[tuple[int, ...], Float[np.ndarray, "layers heads"]]
"""One-based layers, and the weights that were learned of the heads of each."""


class InferenceModel(nn.Module):
    """An ``AnomalyModel`` whose subclass says how it reads a pass of the image tower.

    Args:
        backbone: Only its image tower is kept here.
        method: What it is called by.
        settings: What the model is made of.
        scores: How its maps become scores, as published.

    Attributes:
        scores: How its maps become scores.
        threshold: Map value from which a pixel counts as abnormal.
        about: Plain JSON values that ``describe`` adds: where it comes from.
        precision: That was asked for; ``ran`` is what runs.
        head_weights: Learned weights of attention heads, of a method that has such.
    """

    head_weights: HeadWeights | None = None

    def __init__(
        self, backbone: Backbone, *, method: str, settings: MethodSettings, scores: ScoreSettings
    ) -> None:
        super().__init__()
        self.vision: VisionTower = backbone.vision
        self.method = method
        self.settings = settings
        self.scores = scores
        self.threshold = EVEN
        self.about: Mapping[str, object] = {}
        self.precision: Precision = "fp32"
        self._backbone = backbone.describe()
        self.register_buffer("_mean", backbone.get_buffer("_mean"))
        self.register_buffer("_std", backbone.get_buffer("_std"))

    @property
    def image_size(self) -> int:
        """Rows and columns of the images it was trained on, in pixels."""
        return default_image_size(self.settings, self.vision)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.get_buffer("_mean").device

    @property
    def ran(self) -> Ran:
        """What products of the image tower are computed in on its device."""
        return settled(self.precision, self.device)

    def with_scores(self, scores: ScoreSettings) -> InferenceModel:
        """Give the same model, its maps smoothed and scored otherwise; weights are shared."""
        other = copy(self)
        other.scores = scores
        return other

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        ran = self.ran
        asked = {} if ran == self.precision else {"precision_asked": self.precision}
        return {
            "method": self.method,
            "backbone": dict(self._backbone),
            "precision": ran,
            **asked,
            "image_size": self.image_size,
            "patch_px": self.vision.patch_px,
            "settings": self.settings.to_json(),
            "scores": self.scores.to_json(),
            **self.about,
        }

    @torch.no_grad()
    def predict(self, images: Images) -> Prediction:
        """Predict a batch of images.

        Args:
            images: Values in [0, 1]; sides a multiple of the patch. They are moved to the model's
                device.

        Returns:
            Smoothed map and global score, float32, on the model's device.

        Raises:
            InvalidSettings: They are no such images; see ``require_images``.
        """
        return _predict_sharing([self], images)[0]

    def reader(self) -> BlockReader:
        """Give what reads a pass over prepared images."""
        raise NotImplementedError

    def finish(self, reader: Any, images: Images) -> Prediction:
        """Turn what was read of a pass over prepared images into map and score.

        Args:
            reader: Of ``reader``; it has read the last block.
            images: Prepared.
        """
        raise NotImplementedError

    def pass_key(self, height: int, width: int) -> Hashable:
        """Tell passes apart: models with the same key see the same blocks at this size."""
        run_key = self.vision.run_key(height, width)
        return self._backbone["digest"], self.ran, str(self.device), *run_key

    def prepare(self, images: Images) -> Images:
        """Move images in [0, 1] to the model's device, and normalise them.

        Raises:
            InvalidSettings: They are no such images; see ``require_images``.
        """
        require_images(images)
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        return (images.to(mean.device) - mean) / std

    def smoothed(self, logits: Maps, score: ImageScores) -> Prediction:
        """Turn log-odds into a map, smoothed as the model's scores want it."""
        # Sides are tensors while a graph is traced.
        side = max(int(one) for one in logits.shape[-2:])
        logits, sigma_px = logits.float(), self.scores.sigma_at(side)
        local = None
        if self.scores.local_map == "patches":
            local = self._local_score(logits)
        return Prediction(smooth(logits.sigmoid(), sigma_px), score.float(), logits, local)

    def _local_score(self, logits: Maps) -> ImageScores:
        """Average the most abnormal patches (eq. 7)."""
        patches = patches_of(in_double(logits).sigmoid(), self.vision.patch_px).flatten(1)
        counted = top_count(patches.shape[1], self.scores.top_percent)
        return patches.topk(counted).values.mean(dim=1).float()


class TrainedModel(Trainable):
    """The form of a method that learns, or has learned, on a frozen backbone.

    Attributes:
        settings: What it is made of.
        backbone: The towers it stands on.
    """

    settings: MethodSettings
    backbone: Backbone

    @property
    def image_size(self) -> int:
        """Rows and columns of the images it is trained and used on, in pixels."""
        return default_image_size(self.settings, self.backbone.vision)

    @torch.no_grad()
    def fold(
        self,
        *,
        scores: ScoreSettings | None = None,
        threshold: float | None = None,
        about: Mapping[str, object] | None = None,
    ) -> InferenceModel:
        """Give the form that is used: the same results, with nothing left to learn.

        Args:
            scores: How maps become scores.
            threshold: Map value from which a pixel counts as abnormal, where it was measured.
            about: What ``describe`` shall say of where the model comes from.
        """
        model = self.folded()
        model.scores = scores or model.scores
        model.threshold = model.threshold if threshold is None else threshold
        model.about = dict(about or {})
        return model

    def folded(self) -> InferenceModel:
        """Build the form that is used."""
        raise NotImplementedError


@torch.no_grad()
def predict_together(models: Sequence[AnomalyModel], images: Images) -> list[Prediction]:
    """Predict a batch with several models; those that can share a pass of the tower do.

    Args:
        models: Of any kind; one that cannot share simply predicts.
        images: Values in [0, 1], of a size that fits all; sides a multiple of the patch.

    Returns:
        What each model predicts, in their order: the same as each one's ``predict``.
    """
    height, width = images.shape[-2:]
    found: dict[int, Prediction] = {}
    groups: dict[Hashable, list[tuple[int, InferenceModel]]] = {}
    for number, model in enumerate(models):
        if isinstance(model, InferenceModel):
            groups.setdefault(model.pass_key(height, width), []).append((number, model))
        else:
            found[number] = model.predict(images)
    for group in groups.values():
        numbers, sharing = zip(*group, strict=True)
        found.update(zip(numbers, _predict_sharing(sharing, images), strict=True))
    return [found[number] for number in range(len(models))]


def _predict_sharing(models: Sequence[InferenceModel], images: Images) -> list[Prediction]:
    """Run the first model's pass, and let all models read it; they have the same key."""
    first = models[0]
    prepared = first.prepare(images)
    readers = [model.reader() for model in models]
    run(PassPlan(first.vision, readers, first.ran), prepared)
    return [one.finish(reader, prepared) for one, reader in zip(models, readers, strict=True)]
