"""What a training leaves at a tracker: its settings, loss curves, checkpoint, heads and samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from headclip_med.models.checkpoint import Checkpoint, read_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.train import Trained, TrainRequest
from headclip_med.tracking import Run
from headclip_med.training.batches import Example
from headclip_med.training.handlers import EpochReport, StepReport
from headclip_med.write.pictures.curves import head_weights_figure
from headclip_med.write.pictures.sample import draw_sample

SAMPLES = 4
"""Abnormal images that are drawn, evenly spread over the data."""


class TrackedTraining:
    """Records a training as it goes on.

    Args:
        run: Where.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._epochs: set[int] = set()

    def begin(self, request: TrainRequest, backbone: Backbone) -> None:
        """Record what it is begun with."""
        self._run.parameters(
            {
                "method": request.method,
                "backbone": backbone.describe(),
                "model": request.model.to_json(),
                "training": request.settings.to_json(),
                "scores": request.scores.to_json(),
            }
        )

    def step(self, report: StepReport) -> None:
        """Record the losses of a step."""
        at = (report.epoch - 1) * report.steps + report.step
        self._run.metrics(_named("step", report.loss, report.terms), step=at)

    def epoch(self, report: EpochReport) -> None:
        """Record the mean losses of an epoch."""
        self._epochs.add(report.epoch)
        self._run.metrics(_named("epoch", report.loss, report.terms), step=report.epoch)

    def end(self, trained: Trained, backbone: Backbone, examples: TorchDataset[Example]) -> None:
        """Record what came out.

        Args:
            trained: The training.
            backbone: On which.
            examples: Some of these are drawn, with what the model sees in them.
        """
        run = self._run
        if not run.is_recording:
            return
        for epoch, loss in enumerate(trained.losses, start=1):
            if epoch not in self._epochs:  # those before a resumption
                run.metrics({"epoch/loss": loss}, step=epoch)
        checkpoint = read_checkpoint(trained.checkpoint)
        run.metrics({"threshold": trained.threshold})
        run.tags({"checkpoint.digest": checkpoint.digest})
        run.artifact(trained.checkpoint, "checkpoint")
        model = checkpoint.build(backbone)
        if model.head_weights:
            heads = {"head weights w of eq. 4": model.head_weights}
            run.figure(head_weights_figure(heads), "head_weights.png")
        _record_samples(run, model, examples)


def about(checkpoint: Checkpoint) -> dict[str, object]:
    """Say what the page of a registered model shall say."""
    data = checkpoint.training.get("data", {})
    return {
        "method": checkpoint.method,
        "backbone": checkpoint.backbone,
        "threshold": checkpoint.threshold,
        "trained_on": dict(data) if isinstance(data, Mapping) else {},
    }


def _named(before: str, loss: float, terms: Mapping[str, float]) -> dict[str, float]:
    return {f"{before}/{name}": value for name, value in {**terms, "loss": loss}.items()}


def _record_samples(run: Run, model: AnomalyModel, examples: TorchDataset[Example]) -> None:
    """Draw the next abnormal image after each of evenly spread places in the data."""
    count, drawn, after = len(examples), 0, 0  # type: ignore[arg-type]
    for start in np.linspace(0, count, SAMPLES, endpoint=False).astype(int):
        for index in range(max(int(start), after), count):
            example = examples[index]
            if example.label == 1:
                found = model.predict(example.image[None]).map[0].cpu().numpy()
                picture = example.image.permute(1, 2, 0).numpy()
                row = draw_sample(picture, found, example.mask.numpy() > 0)
                drawn, after = drawn + 1, index + 1
                run.image(row, f"samples/{drawn}.png")
                break
