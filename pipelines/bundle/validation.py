"""Labelled images through MONAI's evaluator, measured as ``headclip evaluate`` measures."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform

from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.examples import read_example
from headclip_med.metrics import PixelMetrics, image_metrics
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.tracking import fail_runs
from headclip_med.pipelines.bundle.training import TrainingNetwork
from headclip_med.transforms import joint_score, local_score


class LoadExampled(MapTransform):
    """Read an image of a labelled set with its mask, resized as the published methods do.

    Args:
        keys: Each names a ``Sample``, as ``LabelledImages`` lists them.
        size_px: Rows and columns of what the network gets.
    """

    def __init__(self, keys: KeysCollection, size_px: int) -> None:
        super().__init__(keys)
        self.size_px = size_px

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the sample by the fields of its ``Example``."""
        result = dict(data)
        for key in self.key_iterator(data):
            result.update(read_example(data[key], self.size_px)._asdict())
        return result


class ScreeningMetrics:
    """Metrics of pixels and of images, by ``exact``, averaged over the categories.

    ``engine.state.metrics`` gets ``pixels/AUROC``, ``images/AP`` and so on, fractions of 1. What is
    undefined (no category has both classes, or masks) is left out.

    Args:
        network: Whose ``model.scores`` say how maps become scores.
        key: Which of them is MONAI's key metric.
    """

    def __init__(
        self, network: ScreeningNetwork | TrainingNetwork, *, key: str = "pixels/AUROC"
    ) -> None:
        self._network, self._key = network, key
        self._pixels: dict[str, PixelMetrics] = {}
        self._images: dict[str, list[tuple[float, int]]] = {}

    def attach(self, engine: Engine, name: str) -> None:
        """Listen to an evaluator.

        Args:
            engine: MONAI's evaluator of ``LabelledImages``; its output lies on the CPU.
            name: Under which the key metric is found.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._compute, name)
        engine.add_event_handler(Events.EXCEPTION_RAISED, fail_runs)

    def _clear(self) -> None:
        for pixels in self._pixels.values():
            pixels.close()
        self._pixels, self._images = {}, {}

    def _add(self, engine: Engine) -> None:
        scores = self._network.model.scores
        batch: Any = engine.state.batch
        for case, output in zip(batch, _outputs(engine), strict=True):
            found = torch.as_tensor(output["pred"]).numpy()
            mask = np.asarray(case["mask"])[None] > 0
            pixels = self._pixels.setdefault(case["category"], PixelMetrics())
            pixels.update(found[:1], mask)
            given = found[2, :1, 0] if len(found) > 2 else None
            local = local_score(found[:1], scores.top_percent) if given is None else given
            own = found[1, :1, 0].astype(np.float64)
            joint = float(joint_score(own, local, scores.global_weight)[0])
            images = self._images.setdefault(case["category"], [])
            images.append((joint, int(case["label"])))

    def _compute(self, engine: Engine, name: str) -> None:
        parts = {"pixels": [], "images": []}  # type: dict[str, list[dict[str, float]]]
        for category, pixels in self._pixels.items():
            parts["pixels"].append(pixels.compute())
            scores, labels = zip(*self._images[category], strict=True)
            parts["images"].append(image_metrics(np.array(scores), np.array(labels)))
        found = {
            f"{level}/{metric}": value
            for level, metrics in parts.items()
            for metric, value in _average(metrics).items()
        }
        self._clear()
        if self._key not in found:
            raise InvalidSettings(
                f"{self._key} is not defined on these images, which lack one of the two "
                "classes or masks.",
                f"Choose another key_metric: {', '.join(found) or 'none'}.",
                code="undefined-metric",
            )
        engine.state.metrics.update(found)
        engine.state.metrics[name] = found[self._key]


def _outputs(engine: Engine) -> list[dict[str, Any]]:
    output: Any = engine.state.output
    return list(output)


def _average(metrics: Iterable[dict[str, float]]) -> dict[str, float]:
    """Average over categories, each metric over those where it is defined."""
    values: dict[str, list[float]] = {}
    for one in metrics:
        for name, value in one.items():
            if np.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(some)) for name, some in values.items()}
