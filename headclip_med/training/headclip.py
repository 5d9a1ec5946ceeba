"""Learning HeadCLIP's prompts and head weights; the backbone never changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.headclip import HeadClip
from headclip_med.models.similarity import upsample
from headclip_med.settings import TrainSettings
from headclip_med.training.losses import LossTerms, headclip_loss

STATE_FILE = "training-state.pt"
LOG_FILE = "log.jsonl"


class Example(NamedTuple):
    """One image of the auxiliary data.

    Attributes:
        image: Values in [0, 1].
        mask: 1 on abnormal pixels.
        label: 1 for an abnormal image.
    """

    image: Float[Tensor, "3 size size"]
    mask: Float[Tensor, "size size"]
    label: int


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


def train_headclip(
    model: HeadClip,
    examples: Dataset[Example],
    settings: TrainSettings,
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
    optimiser = torch.optim.Adam(learned, lr=settings.learning_rate, betas=settings.betas)
    losses = _resume(folder, model, optimiser, settings) if resume else []
    with (folder / LOG_FILE).open("a" if resume else "w") as log:
        for epoch in range(len(losses) + 1, settings.epochs + 1):
            # The order depends on the epoch alone: a resumed training sees the same batches.
            order = torch.Generator().manual_seed(settings.seed + epoch)
            batches = DataLoader(
                examples, batch_size=settings.batch_size, shuffle=True, generator=order
            )
            total = 0.0
            for number, (images, masks, labels) in enumerate(batches, start=1):
                terms = _step(model, optimiser, Example(images, masks, labels), settings)
                total += terms["loss"]
                step = StepReport(epoch, number, len(batches), terms["loss"], terms)
                log.write(json.dumps(asdict(step)) + "\n")
                report(step)
            log.flush()
            losses.append(total / len(batches))
            _save(folder, model, optimiser, settings, losses)
    return losses


def _step(
    model: HeadClip, optimiser: torch.optim.Optimizer, batch: Example, settings: TrainSettings
) -> dict[str, float]:
    device = model.head_weights.device
    images, masks = batch.image.to(device), batch.mask.to(device)
    labels = torch.as_tensor(batch.label, device=device)
    logits = model(model.freeze_features(images))
    maps = upsample(logits.patches.softmax(dim=1), *masks.shape[-2:])
    terms: LossTerms = headclip_loss(logits.image, maps, labels, masks)
    loss = terms.total(settings.local_weight)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    parts = {name: float(value.detach()) for name, value in vars(terms).items()}
    return {"loss": float(loss.detach()), **parts}


def threshold_at_specificity(healthy: Float[Tensor, "pixels"], specificity: float) -> float:
    """Find the map value that all but a small share of healthy pixels stay below.

    Args:
        healthy: Map values of pixels without any anomaly.
        specificity: Share of them that shall lie below, in (0, 1).
    """
    rank = min(len(healthy) - 1, int(specificity * len(healthy)))
    return float(healthy.sort().values[rank])


def _save(
    folder: Path,
    model: HeadClip,
    optimiser: torch.optim.Optimizer,
    settings: TrainSettings,
    losses: list[float],
) -> None:
    state = {
        "learned": model.learned_state(),
        "optimiser": optimiser.state_dict(),
        "settings": json.dumps(settings.to_json()),
        "backbone": model.backbone.digest,
        "losses": losses,
    }
    partial = folder / f".{STATE_FILE}.partial"
    torch.save(state, partial)
    partial.replace(folder / STATE_FILE)


def _resume(
    folder: Path, model: HeadClip, optimiser: torch.optim.Optimizer, settings: TrainSettings
) -> list[float]:
    path = folder / STATE_FILE
    try:
        state = torch.load(path, map_location=model.head_weights.device, weights_only=True)
        same = json.loads(state["settings"]) | {"epochs": settings.epochs}
    except Exception as error:  # a damaged state can break anywhere in the unpickler
        raise UnusableWeights(
            f"{path} is missing or damaged, so the training cannot be resumed; start it anew "
            "without --resume.",
            code="state-unreadable",
        ) from error
    if same != json.loads(json.dumps(settings.to_json())):
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
