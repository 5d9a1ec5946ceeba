"""Learning AdaCLIP's prompts and projections with its published loss; the backbone stays.

One thing of the published protocol is left out: choosing the epoch by a score on the set it is
tested on. Its sentences name each example's category.
"""

from __future__ import annotations

from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.engine.run import settled
from headclip_med.prediction import Labels, LevelMaps, Maps, ScorePairs
from headclip_med.training.batches import Batch
from headclip_med.training.losses import LossTerms, focal_loss, summed_terms
from headclip_med.training.network import LearningNetwork, Outputs


def adaclip_loss(
    probabilities: ScorePairs,
    maps: LevelMaps,
    labels: Labels,
    masks: Maps,
    *,
    squeezed: bool = True,
) -> LossTerms:
    """Compute the focal term of the image, and focal and dice terms summed over feature layers.

    Args:
        probabilities: P(normal) and P(abnormal) of each image.
        maps: Per feature layer, upsampled probabilities N and A.
        labels: 1 for abnormal images.
        masks: 1 on abnormal pixels.
        squeezed: Average the dice terms of a batch of one over image rows, as published.
    """
    # An image is a map of one pixel.
    image = focal_loss(probabilities[..., None, None], labels[:, None, None].to(probabilities))
    return summed_terms(image, maps, masks, squeezed=squeezed)


class AdaClipNetwork(LearningNetwork):
    """AdaCLIP as the trainer runs it: image probabilities, and maps N and A per layer."""

    loss = staticmethod(adaclip_loss)

    def forward(self, batch: Batch) -> Outputs:
        """Run a batch, with a graph to what learns."""
        model: AdaClip = self.model
        images = model.backbone.normalise(batch.images)
        ran = settled(self.precision, images.device)
        features = model(images, batch.categories, precision=ran)
        maps = model.level_maps(features, *batch.masks.shape[-2:]).softmax(dim=2)
        return Outputs(model.image_probabilities(features), maps)
