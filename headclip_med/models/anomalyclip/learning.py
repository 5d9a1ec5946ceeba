"""Learning AnomalyCLIP's prompts with its published loss; the backbone never changes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional

from headclip_med.models.engine.run import settled
from headclip_med.models.maps import upsample
from headclip_med.prediction import Labels, Maps, PairMaps, ScorePairs
from headclip_med.training.batches import Batch
from headclip_med.training.losses import LossTerms, summed_terms
from headclip_med.training.network import LearningNetwork, Outputs


def anomalyclip_loss(
    image_logits: ScorePairs,
    maps: Iterable[PairMaps],
    labels: Labels,
    masks: Maps,
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
    return summed_terms(image, maps, masks, squeezed=squeezed)


class AnomalyClipNetwork(LearningNetwork):
    """AnomalyCLIP as the trainer runs it: image logits, and maps N and A per layer."""

    loss = staticmethod(anomalyclip_loss)

    def forward(self, batch: Batch) -> Outputs:
        """Run a batch, with a graph to what learns."""
        ran, size = settled(self.precision, batch.images.device), batch.masks.shape[-2:]
        logits = self.model(self.model.freeze_features(batch.images, ran))
        maps = [upsample(level.softmax(dim=1), *size) for level in logits.levels]
        return Outputs(logits.image, torch.stack(maps))
