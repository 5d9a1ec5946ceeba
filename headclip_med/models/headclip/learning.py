"""Learning HeadCLIP's prompts and head weights; the backbone never changes."""

from __future__ import annotations

from torch.nn import functional

from headclip_med.models.engine.run import autocast, settled
from headclip_med.models.headclip.features import Features
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.maps import upsample
from headclip_med.prediction import Labels, Maps, PairMaps, ScorePairs
from headclip_med.training.batches import Batch
from headclip_med.training.losses import LossTerms, level_terms
from headclip_med.training.network import LearningNetwork, Outputs


def headclip_loss(
    image_logits: ScorePairs, maps: PairMaps, labels: Labels, masks: Maps, *, squeezed: bool = False
) -> LossTerms:
    """Compute cross-entropy of the image (eq. 9), and focal and dice terms of the maps (eq. 10).

    Args:
        image_logits: Cosine over temperature of the class token; normal, abnormal.
        maps: Upsampled probabilities N and A.
        labels: 1 for abnormal images.
        masks: 1 on abnormal pixels.
        squeezed: See ``level_terms``.
    """
    local = level_terms(maps, masks, squeezed=squeezed)
    return LossTerms(functional.cross_entropy(image_logits, labels), *local)


class HeadClipNetwork(LearningNetwork):
    """HeadCLIP as the trainer runs it: image logits, and maps N and A."""

    loss = staticmethod(headclip_loss)

    def forward(self, batch: Batch) -> Outputs:
        """Run a batch, with a graph to what learns."""
        model: HeadClip = self.model
        ran = settled(self.precision, batch.masks.device)
        kept: Features | None = self.features
        frozen = kept.of(batch) if kept else model.freeze_features(batch.images, ran)
        with autocast(ran, batch.masks.device):
            logits = model(frozen)
        maps = upsample(logits.patches.softmax(dim=1), *batch.masks.shape[-2:])
        return Outputs(logits.image, maps)
