"""The loop that every learned method is trained in: repeatable, and resumable after any epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.checkpoint import LearnedModel
from headclip_med.settings import TrainSettings
from headclip_med.training.losses import LossTerms

STATE_FILE = "training-state.pt"
LOG_FILE = "log.jsonl"


class Example(NamedTuple):
    """One image of the auxiliary data.

    Attributes:
        image: Values in [0, 1]; without pixels where a cache knows what the trunk makes of it.
        mask: 1 on abnormal pixels.
        label: 1 for an abnormal image.
        category: What is shown, in words; only AdaCLIP's sentences use it.
        number: Of the image in its data set, where that matters.
    """

    image: Float[Tensor, "3 height width"]
    mask: Float[Tensor, "size size"]
    label: int
    category: str = "object"
    number: int = -1


@dataclass(frozen=True)
class StepReport:
    """Where a training is.

    Attributes:
        epoch: From 1.
        step: From 1, within the epoch.
        steps: In an epoch.
        loss: Total of this step.
        terms: Its parts.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    terms: dict[str, float]


@runtime_checkable
class Trainable(LearnedModel, Protocol):
    """The trainable form of a method."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """All parameters; those that learn require a gradient."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch on the model's device.

    Attributes:
        images: Values in [0, 1]; none where what the trunk makes of them is known.
        masks: 1 on abnormal pixels.
        labels: 1 for abnormal images.
        categories: What each shows.
        numbers: Of each image in its data set.
    """

    images: Float[Tensor, "batch 3 height width"]
    masks: Float[Tensor, "batch rows columns"]
    labels: Tensor
    categories: tuple[str, ...]
    numbers: Tensor


def learn(  # noqa: PLR0913 - what learns, from what, how and where, each by its name
    model: Trainable,
    examples: Dataset[Example],
    settings: TrainSettings,
    terms_of: Callable[[Batch], LossTerms],
    *,
    folder: Path,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda step: None,
) -> list[float]:
    """Train; deterministic for a seed on one device.

    After every epoch the state is saved to ``folder``, so that a stopped training can be resumed
    and ends with the weights that it would have had.

    Args:
        model: Changed in place.
        examples: The auxiliary images, equally sized.
        settings: Optimiser and schedule.
        terms_of: Computes the loss of a batch, with a graph to what learns.
        folder: Gets ``training-state.pt`` and ``log.jsonl``; it must exist.
        resume: Go on from the state in ``folder``.
        report: Called after every step.

    Returns:
        Mean loss of each epoch.

    Raises:
        InvalidSettings: There is nothing to train on.
        UnusableWeights: There is no usable state to resume from.
    """
    count = len(examples)  # type: ignore[arg-type]
    if not count:
        raise InvalidSettings("There are no images to train on.", code="no-images")
    torch.manual_seed(settings.seed)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = optimiser_of(learned, settings)
    losses = _resume(folder, model, optimiser, settings) if resume else []
    with (folder / LOG_FILE).open("a" if resume else "w") as log:
        for epoch in range(len(losses) + 1, settings.epochs + 1):
            # The order depends on the epoch alone: a resumed training sees the same batches.
            order = torch.Generator().manual_seed(settings.seed + epoch)
            batches = DataLoader(
                examples, batch_size=settings.batch_size, shuffle=True, generator=order
            )
            total = 0.0
            for number, batch in enumerate(batches, start=1):
                terms = terms_of(_placed(batch, learned[0].device))
                loss = terms.total(settings.local_weight)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                parts = {name: float(value.detach()) for name, value in vars(terms).items()}
                value = float(loss.detach())
                total += value
                step = StepReport(epoch, number, len(batches), value, {"loss": value, **parts})
                log.write(json.dumps(asdict(step)) + "\n")
                report(step)
            log.flush()
            losses.append(total / len(batches))
            _save(folder, model, optimiser, settings, losses)
    return losses


def optimiser_of(learned: list[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Build Adam, or AdamW where weights decay."""
    options = {"lr": settings.learning_rate, "betas": settings.betas}
    if settings.weight_decay:
        return torch.optim.AdamW(learned, weight_decay=settings.weight_decay, **options)  # type: ignore[arg-type]
    return torch.optim.Adam(learned, **options)  # type: ignore[arg-type]


def threshold_at_specificity(healthy: Float[Tensor, "pixels"], specificity: float) -> float:
    """Find the map value that all but a small share of healthy pixels stay below.

    Args:
        healthy: Map values of pixels without any anomaly.
        specificity: Share of them that shall lie below, in (0, 1).
    """
    rank = min(len(healthy) - 1, int(specificity * len(healthy)))
    return float(healthy.sort().values[rank])


def _placed(batch: Example, device: torch.device) -> Batch:
    """Move a collated batch, an ``Example`` of stacked values."""
    labels = torch.as_tensor(batch.label, device=device)
    numbers = torch.as_tensor(batch.number)
    image, mask = batch.image.to(device), batch.mask.to(device)
    return Batch(image, mask, labels, tuple(batch.category), numbers)


def _save(
    folder: Path,
    model: Trainable,
    optimiser: torch.optim.Optimizer,
    settings: TrainSettings,
    losses: list[float],
) -> None:
    state = {
        "method": model.method,
        "learned": model.learned_state(),
        "optimiser": optimiser.state_dict(),
        "settings": json.dumps(settings.to_json()),
        "model": json.dumps(model.settings.to_json()),
        "backbone": model.backbone.digest,
        "losses": losses,
    }
    partial = folder / f".{STATE_FILE}.partial"
    torch.save(state, partial)
    partial.replace(folder / STATE_FILE)


def _resume(
    folder: Path, model: Trainable, optimiser: torch.optim.Optimizer, settings: TrainSettings
) -> list[float]:
    path = folder / STATE_FILE
    device = next(model.parameters()).device
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        # Older states lack what was added since; they were trained with its defaults.
        started = TrainSettings().to_json() | json.loads(state["settings"])
        method = state.get("method", "headclip")
        made_of = json.dumps(model.settings.to_json())
        same_model = (method, state.get("model", made_of)) == (model.method, made_of)
    except Exception as error:  # a damaged state can break anywhere in the unpickler
        raise UnusableWeights(
            f"{path} is missing or damaged, so the training cannot be resumed; start it anew "
            "without --resume.",
            code="state-unreadable",
        ) from error
    same = json.loads(json.dumps(started | {"epochs": settings.epochs}))
    if not same_model or same != json.loads(json.dumps(settings.to_json())):
        raise InvalidSettings(
            "The training in this folder was started with other settings; resume it with the same "
            "ones (only --epochs may change), or start anew without --resume.",
            code="settings-changed",
        )
    if state["backbone"] != model.backbone.digest:
        raise UnusableWeights(
            "The training in this folder was started on another backbone; name that one.",
            code="wrong-backbone",
        )
    with torch.no_grad():
        for key, value in model.learned_state().items():
            value.copy_(state["learned"][key])
    optimiser.load_state_dict(state["optimiser"])
    return list(state["losses"])
