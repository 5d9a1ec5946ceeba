"""The map value from which a pixel counts as abnormal, measured on healthy pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from headclip_med.models.model import AnomalyModel

if TYPE_CHECKING:
    from headclip_med.training.batches import Example

SPECIFICITY = 0.995
"""Share of healthy pixels of the auxiliary data that stay below the threshold."""

IMAGES = 64
"""Images that the threshold is set on, evenly spread over the data."""


def healthy_threshold(model: AnomalyModel, examples: Dataset[Example]) -> float:
    """Find the map value that ``SPECIFICITY`` of the healthy pixels stay below.

    Args:
        model: In the form that is used.
        examples: Up to ``IMAGES`` of them are looked at.
    """
    count = len(examples)  # type: ignore[arg-type]
    chosen = np.unique(np.linspace(0, count - 1, min(count, IMAGES)).round().astype(int))
    healthy = []
    for number in chosen:
        example = examples[int(number)]
        found = model.predict(example.image[None]).map[0].cpu()
        healthy.append(found[example.mask == 0])
    return threshold_at_specificity(torch.cat(healthy), SPECIFICITY)


def threshold_at_specificity(healthy: Float[Tensor, "pixels"], specificity: float) -> float:
    """Find the map value that all but a small share of healthy pixels stay below.

    Args:
        healthy: Map values of pixels without any anomaly.
        specificity: Share of them that shall lie below, in (0, 1).
    """
    rank = min(len(healthy) - 1, int(specificity * len(healthy)))
    return float(healthy.sort().values[rank])
