"""Learning AnomalyCLIP's prompts with its published loss; the backbone never changes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.engine.precision import settled
from headclip_med.models.maps import upsample
from headclip_med.settings import Precision
from headclip_med.training.batches import Batch
from headclip_med.training.losses import LossTerms, level_terms
from headclip_med.training.network import LearningNetwork, Outputs


def anomalyclip_network(model: AnomalyClip, *, precision: Precision = "fp32") -> LearningNetwork:
    """Give AnomalyCLIP as the trainer runs it: image logits, and maps N and A per layer.

    Args:
        model: Changed in place.
        precision: What the frozen tower's products are computed in.
    """

    def outputs_of(batch: Batch) -> Outputs:
        frozen = model.freeze_features(batch.images, settled(precision, batch.images.device))
        logits = model(frozen)
        size = batch.masks.shape[-2:]
        maps = [upsample(level.softmax(dim=1), *size) for level in logits.levels]
        return Outputs(logits.image, torch.stack(maps))

    def terms_of(outputs: Outputs, batch: Batch, squeezed: bool) -> LossTerms:
        return anomalyclip_loss(*outputs, batch.labels, batch.masks, squeezed=squeezed)

    return LearningNetwork(model, outputs_of, terms_of)


def anomalyclip_loss(
    image_logits: Float[Tensor, "batch 2"],
    maps: Iterable[Float[Tensor, "batch 2 height width"]],
    labels: Int[Tensor, "batch"],
    masks: Float[Tensor, "batch height width"],
    *,
    squeezed: bool = True,
) -> LossTerms:
    """Compute cross-entropy of the image, and focal and dice terms summed over feature layers.

    Args:
        image_logits: Cosine over temperature of the class token; normal, abnormal.
        maps: Per feature layer, upsampled probabilities N and A.
        labels: 1 for abnormal images.
        masks: 1 on abnormal pixels.
        squeezed: Average the dice terms of a batch of one over image rows, as published.
    """
    image = functional.cross_entropy(image_logits, labels)
    levels = torch.stack([level_terms(one, masks, squeezed=squeezed) for one in maps]).sum(dim=0)
    return LossTerms(image, *levels.unbind())
