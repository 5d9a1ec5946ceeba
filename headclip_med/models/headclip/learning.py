"""Learning HeadCLIP's prompts and head weights; the backbone never changes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional

from headclip_med.models.engine.run import autocast, settled
from headclip_med.models.headclip.features import Features
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.maps import upsample
from headclip_med.prediction import Labels, Maps, PairMaps, ScorePairs
from headclip_med.training.batches import Batch
from headclip_med.training.losses import LossTerms, summed_terms
from headclip_med.training.network import LearningNetwork, Outputs


def headclip_loss(
    image_logits: ScorePairs,
    maps: Iterable[PairMaps],
    labels: Labels,
    masks: Maps,
    *,
    squeezed: bool = False,
) -> LossTerms:
    """Compute cross-entropy of the image (eq. 9), and focal and dice terms of the maps (eq. 10).

    Args:
        image_logits: Cosine over temperature of the class token; normal, abnormal.
        maps: Per feature layer, upsampled probabilities N and A; terms are summed over layers.
        labels: 1 for abnormal images.
        masks: 1 on abnormal pixels.
        squeezed: See ``level_terms``.
    """
    image = functional.cross_entropy(image_logits, labels)
    return summed_terms(image, maps, masks, squeezed=squeezed)


class HeadClipNetwork(LearningNetwork):
    """HeadCLIP as the trainer runs it: image logits, and maps N and A per feature layer."""

    loss = staticmethod(headclip_loss)

    def forward(self, batch: Batch) -> Outputs:
        """Run a batch, with a graph to what learns."""
        model: HeadClip = self.model
        ran = settled(self.precision, batch.masks.device)
        kept: Features | None = self.features
        frozen = kept.of(batch) if kept else model.freeze_features(batch.images, ran)
        with autocast(ran, batch.masks.device):
            logits = model(frozen)
        size = batch.masks.shape[-2:]
        maps = [upsample(level.softmax(dim=1), *size) for level in logits.patches]
        return Outputs(logits.image, torch.stack(maps))
