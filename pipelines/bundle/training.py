"""A method's training as the parts that ``configs/train.json`` names beside MONAI's own."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config.type_definitions import KeysCollection
from monai.handlers.mlflow_handler import MLFlowHandler
from monai.transforms.transform import MapTransform
from torch import Tensor, nn

from headclip_med.datasets import Dataset, Sample, doubts_of
from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.evaluation.datasets import open_datasets
from headclip_med.evaluation.examples import Examples, healthy_threshold, read_example
from headclip_med.metrics import PixelMetrics, image_metrics
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip.loading import load_backbone
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import DEFAULT, learning_of, method_named
from headclip_med.pipelines.bundle.network import ScreeningNetwork, changed_scores, predict
from headclip_med.pipelines.train import from_labels, training_record
from headclip_med.settings import Precision, ScoreSettings, TrainSettings
from headclip_med.training.batches import Batch
from headclip_med.training.handlers import followers
from headclip_med.training.network import BatchLoss
from headclip_med.training.processes import joined_ranks
from headclip_med.training.state import STATE_FILE, TrainingState
from headclip_med.transforms import joint_score, local_score

_UNIQUE = re.compile(r"-\d{8}-\d{6}-\d{6}-\d+$")


_log = logging.getLogger(__name__)


def unique_run_name(kind: str) -> str:
    """Name a run: MONAI's handler goes on with an unfinished run of the same name.

    Args:
        kind: What the name begins with; a name of this function stays as it is.
    """
    if _UNIQUE.search(kind):
        return kind
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return f"{kind}-{now}-{os.getpid()}"


def executed_config(output_dir: Any) -> str | None:
    """Find the configuration that MONAI has just written as it is about to be run.

    MONAI's own reference to it breaks where ``output_dir`` is overridden by a plain path.
    """
    written = sorted(Path(str(output_dir)).glob("config_*.json"))
    return str(written[-1]) if written else None


def fail_runs(engine: Engine, error: BaseException) -> None:
    """Mark the runs of an engine as failed, then let the error go on.

    MONAI's handler leaves them as running for ever.

    Raises:
        BaseException: What ended the engine.
    """
    for handler in tracking_handlers(engine):
        if handler.cur_run is not None:
            run = handler.cur_run.info
            # MONAI goes on with any run of the same name that is not finished.
            handler.client.update_run(run.run_id, name=f"{run.run_name}-failed")
            handler.client.set_terminated(run.run_id, status="FAILED")
            handler.cur_run = None
    raise error


def tracking_handlers(engine: Engine) -> list[Any]:
    """Find the MLflow handlers that are attached to an engine."""
    listeners = (
        listener for listeners in engine._event_handlers.values() for listener, *_ in listeners
    )
    owners = [getattr(getattr(one, "func", one), "__self__", None) for one in listeners]
    return list({id(one): one for one in owners if isinstance(one, MLFlowHandler)}.values())


class LabelledImages(list[dict[str, Sample]]):
    """The images of a labelled set, as MONAI lists data.

    Args:
        dataset_dir: Its folder; None where a training is not validated, which lists nothing.
        layout: ``mvtec``, ``folder``, ``nifti``, or the name of a set.

    Attributes:
        dataset: The set.

    Raises:
        InvalidSettings: The layout is unknown.
        UnreadableInput: The folder does not have that layout, or a mask contradicts its image's
            label.
    """

    def __init__(self, dataset_dir: Any, layout: str) -> None:
        super().__init__()
        self.dataset: Dataset | None = None
        if dataset_dir is not None:
            self.dataset = open_datasets([f"{layout}:{Path(str(dataset_dir)).expanduser()}"])
            samples = self.dataset.split("test").samples
            doubts_of(self.dataset, samples, _log.warning)
            self.extend({"image": one} for one in samples)


class TrainingNetwork(nn.Module):
    """A method in training: a batch goes in to learn from, images to be told what is found so far.

    Args:
        backbone: As for ``load_backbone``; it is frozen.
        weights: Of the backbone: a file, a tag, or ``random``.
        activation: What they were trained with, for files that do not tell.
        precision: ``bf16`` runs the towers' products in bfloat16.
        seed: Of what is learned, at its start.
        scores: How maps shall become scores, see ``changed_scores``.

    Raises:
        InvalidSettings: The backbone is unknown, or a number is out of its range.
        UnusableWeights: There are no weights, or they do not fit.
    """

    def __init__(
        self,
        backbone: str,
        *,
        weights: str | Path | None = None,
        activation: Activation | None = None,
        precision: Precision = "fp32",
        seed: int = 111,
        **scores: float | None,
    ) -> None:
        super().__init__()
        self.scores = changed_scores(ScoreSettings(), **scores)
        towers = load_backbone(backbone, weights=weights, activation=activation)
        method = method_named(DEFAULT)
        self.trained = method.trainable(towers, method.usual_settings(towers.name), seed)
        self.learning = learning_of(DEFAULT).network(self.trained, precision)

    @property
    def image_size(self) -> int:
        """Rows and columns of the images, in pixels."""
        return self.trained.image_size

    @property
    def learned(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return self.learning.learned

    @property
    def model(self) -> AnomalyModel:
        """What it would be if the training ended now."""
        return self.trained.fold(scores=self.scores)

    def loss(self, settings: TrainSettings) -> BatchLoss:
        """Give what is minimised."""
        return BatchLoss(self.learning.terms_of, settings)

    def forward(self, shown: Batch | Tensor) -> Any:
        """Run a batch for the trainer, or predict for images as ``ScreeningNetwork`` does."""
        return self.learning(shown) if isinstance(shown, Batch) else predict(self.model, shown)


class TrainingFolder:
    """Keeps what a training comes to: a log, the state to resume from, and its checkpoint.

    One of the trainer's handlers; the first of them is MONAI's ``CheckpointLoader``, which gives it
    the state of a training that is resumed.

    Args:
        ckpt_dir: Where all that is kept.
        network: Learns.
        optimizer: Of what learns.
        settings: Fields of ``TrainSettings``.
        data: What is learned from.
        resume: Go on with the training that left its state there.

    Attributes:
        loss: What is minimised.

    Raises:
        InvalidSettings: The folder holds a finished training that would be overwritten, or a number
            is out of its range.
        UnusableWeights: There is no usable state to resume from.
    """

    def __init__(
        self,
        ckpt_dir: str | Path,
        network: TrainingNetwork,
        optimizer: torch.optim.Optimizer,
        *,
        settings: Mapping[str, Any],
        data: LabelledImages,
        resume: bool = False,
    ) -> None:
        self._settings = TrainSettings(**settings)
        if data.dataset is not None:
            method = network.trained.method
            self._settings = from_labels(self._settings, data.dataset, method, _log.warning)
        self._network, self._data = network, data
        self._folder = Path(ckpt_dir)
        self._checkpoint = self._folder / f"{network.trained.method}.safetensors"
        self.loss = network.loss(self._settings)
        self._refuse(resume)
        self._folder.mkdir(parents=True, exist_ok=True)
        state = self._folder / STATE_FILE
        self._state = TrainingState(state, network.trained, optimizer, self._settings)
        self._trainer: Any = None

    def _refuse(self, resume: bool) -> None:
        if self._checkpoint.exists() and not resume:
            raise InvalidSettings(
                "ckpt_dir already holds a trained checkpoint.",
                "Name another folder as --ckpt_dir, or add --resume True to train it further.",
                code="out-exists",
            )
        if resume and not is_zipfile(self._folder / STATE_FILE):  # PyTorch's files are archives
            raise UnusableWeights(
                f"{STATE_FILE} is missing or damaged in ckpt_dir, so no training can be resumed.",
                "Start it anew without --resume.",
                code="state-unreadable",
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of an earlier training, between two epochs.

        Raises:
            InvalidSettings: It was trained with other settings, or by another method.
            UnusableWeights: It is of another backbone.
        """
        self._state.load_state_dict(state)
        if self._trainer is not None:
            epochs = len(self._state.losses)
            self._trainer.state.epoch = epochs
            self._trainer.state.iteration = epochs * self._trainer.state.epoch_length

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        self._trainer = engine
        # Its own logger repeats exceptions, which may quote a file's name; they reach the caller.
        engine.logger = logging.Logger("trainer", logging.CRITICAL + 1)
        for one in (self._trainer.data_loader, *followers(self.loss, self._state)):
            one.attach(engine)
        engine.add_event_handler(Events.EXCEPTION_RAISED, fail_runs)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self) -> None:
        dataset, network = self._data.dataset, self._network
        if dataset is None:
            raise TypeError("there is a data set behind what was learned from")
        examples = Examples(dataset, network.image_size)
        threshold = healthy_threshold(network.model, examples)
        about = {"name": dataset.name, "digest": dataset.content_digest, "images": len(examples)}
        if joined_ranks().first:
            write_checkpoint(
                self._checkpoint,
                network.trained,
                scores=network.scores,
                threshold=threshold,
                training=training_record(
                    about, self._settings, self._state.losses, network.trained.backbone.device
                ),
            )


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
