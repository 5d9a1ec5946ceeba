"""What MLflow calls to load a registered model, as a ``pyfunc`` or for ``mlflow models serve``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from headclip_med import load_model


class ServedModel:
    """A model behind MLflow's seam: arrays in, arrays out.

    Args:
        checkpoint: That was registered.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._model = load_model(checkpoint)

    def predict(
        self, images: Float[np.ndarray, "batch 3 height width"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """Judge images with values in [0, 1]: their ``map`` and ``global_score``, in [0, 1]."""
        found = self._model.predict(torch.from_numpy(np.ascontiguousarray(images)))
        return {"map": found.map.cpu().numpy(), "global_score": found.global_score.cpu().numpy()}


def _load_pyfunc(path: str) -> ServedModel:
    return ServedModel(Path(path))
