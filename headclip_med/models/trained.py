"""From a checkpoint of any trained method to a model that judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from headclip_med.models.adaclip.model import adaclip_from
from headclip_med.models.anomalyclip.model import anomalyclip_from
from headclip_med.models.checkpoint import Checkpoint, restore
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.headclip.folded import FoldedHeadClip
from headclip_med.models.inference import InferenceModel


class FromCheckpoint(Protocol):
    """Builds a method's model from a checkpoint of that method."""

    def __call__(
        self,
        checkpoint: Checkpoint,
        backbone: Backbone,
        *,
        about: Mapping[str, object] | None = None,
    ) -> InferenceModel:
        """Build it, on the backbone that it was trained on."""


def headclip_from(
    checkpoint: Checkpoint, backbone: Backbone, *, about: Mapping[str, object] | None = None
) -> FoldedHeadClip:
    """Build the HeadCLIP that a checkpoint describes, ready to judge.

    Raises:
        UnusableWeights: It is another method's checkpoint, or was trained on another backbone.
    """
    model = restore(checkpoint, backbone)
    return model.fold(scores=checkpoint.scores, threshold=checkpoint.threshold, about=about)


TRAINED: Mapping[str, FromCheckpoint] = {
    "headclip": headclip_from,
    "anomalyclip": anomalyclip_from,
    "adaclip": adaclip_from,
}
"""The methods that are trained; a checkpoint names one of them."""


def model_from(
    checkpoint: Checkpoint, backbone: Backbone, *, about: Mapping[str, object] | None = None
) -> InferenceModel:
    """Build the model of whichever method a checkpoint is of.

    Args:
        checkpoint: Of any trained method.
        backbone: What it was trained on.
        about: What ``describe`` shall say of where the model comes from.

    Raises:
        UnusableWeights: It was trained on another backbone, or is damaged.
    """
    return TRAINED[checkpoint.method](checkpoint, backbone, about=about)
