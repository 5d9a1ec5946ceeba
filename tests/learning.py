"""Train a model of any method as ``headclip train`` does, without a checkpoint at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from headclip_med.models.inference import TrainedModel
from headclip_med.models.registry import learning_of
from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Example, KeptFeatures, Remembered
from headclip_med.training.loop import learn


def train_model(
    model: TrainedModel,
    examples: Dataset[Example],
    settings: TrainSettings,
    *,
    folder: Path,
    features: KeptFeatures | None = None,
    **reports: Any,
) -> list[float]:
    network = learning_of(model.method).network(model, settings.precision, features)
    shown = Remembered(examples, features) if features else examples
    return learn(network, shown, settings, folder=folder, **reports)
