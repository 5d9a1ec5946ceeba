"""Losses, gradients and steps of AnomalyCLIP and AdaCLIP here, beside those of their own code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from headclip_med.models.adaclip.learning import adaclip_loss
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.anomalyclip.learning import anomalyclip_loss
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.maps import upsample
from headclip_med.models.registry import learning_of
from headclip_med.training.loop import optimiser_of
from headclip_med.training.losses import LossTerms
from tests.published_files import written_as_published
from tests.reference import oracle, oracle_learned
from tests.reference.oracle_learned import Stage, stage

LOSSES, GRADIENTS, HALF_GRADIENTS = 1e-5, 2e-5, 3e-4
"""Shares of the largest value."""
HALF_UNIT = 2**-10
"""A value rounded to fp16 may fall on the other side of a border: one unit of its own."""
STEPPED = 2e-5
"""Of parameters after three steps, absolute."""


def anomalyclip_training_stages(oracles: Path, towers: Backbone) -> Iterator[Stage]:
    for run in runs_with_losses(oracles / "anomalyclip"):
        yield from anomalyclip_run(oracles, towers, run)
    yield from row_stages(oracles, towers)
    yield from step_stages(oracles, towers)


def runs_with_losses(folder: Path) -> list[str]:
    """Name the runs that a folder has losses and gradients of."""
    files = oracle.arrays(folder, "outputs").files
    return sorted(key.removesuffix("/loss_total") for key in files if key.endswith("/loss_total"))


def anomalyclip_run(oracles: Path, towers: Backbone, run: str) -> Iterator[Stage]:
    folder, size = oracles / "anomalyclip", "other" if "other" in run else "native"
    cast = "fp16" if "half" in run else "none"
    theirs, weight = oracle.arrays(folder, "outputs"), float(oracle.config(folder)["lam"])
    model = oracle_learned.anomalyclip(oracles, towers, deep_cast=cast)
    terms = loss_of(model, folder, size)
    yield of_largest("losses", terms.image, theirs[f"{run}/loss_ce"], LOSSES)
    yield from local_stages(terms, theirs, run)
    local = terms.total(weight) - terms.image
    yield of_largest("losses", local, theirs[f"{run}/loss_local_x4"], LOSSES)
    yield of_largest("losses", terms.total(weight), theirs[f"{run}/loss_total"], LOSSES)
    terms.total(weight).backward()  # type: ignore[no-untyped-call]
    yield from gradient_stages(model, theirs, run, rounded=cast == "fp16")


def row_stages(oracles: Path, towers: Backbone) -> Iterator[Stage]:
    """A batch of one, whose mask the published code squeezes: dice is averaged over rows."""
    folder = oracles / "anomalyclip"
    terms = loss_of(oracle_learned.anomalyclip(oracles, towers), folder, "native", count=1)
    yield from local_stages(terms, oracle.arrays(folder, "outputs"), "train_batch1_squeezed_gt")


def step_stages(oracles: Path, towers: Backbone) -> Iterator[Stage]:
    """Three steps of Adam."""
    folder = oracles / "anomalyclip"
    theirs, settings = oracle.arrays(folder, "outputs"), learning_of("anomalyclip").settings
    model = oracle_learned.anomalyclip(oracles, towers)
    optimiser = optimiser_of([model.prompts.context, model.prompts.deep], settings)
    losses = []
    for _ in range(3):
        terms = loss_of(model, folder, "native")
        losses.append(terms)
        optimiser.zero_grad()
        terms.total(settings.local_weight).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    losses.append(loss_of(model, folder, "native"))
    local = torch.stack([terms.total(settings.local_weight) - terms.image for terms in losses])
    both = torch.stack([local, torch.stack([terms.image for terms in losses])], dim=1)
    expected = theirs["train_adam3/loss_local_x4_and_ce"]
    yield of_largest("losses of three steps", both, expected, LOSSES)
    for name, value in written_as_published(model)["prompt_learner"].items():
        yield stage(
            "tokens after three steps", value, theirs[f"train_adam3/params/{name}"], STEPPED
        )


def adaclip_training_stages(oracles: Path, towers: Backbone) -> Iterator[Stage]:
    for run in runs_with_losses(oracles / "adaclip"):
        yield from adaclip_run(oracles, towers, run)


def adaclip_run(oracles: Path, towers: Backbone, run: str) -> Iterator[Stage]:
    folder, squeezed = oracles / "adaclip", "imagewise" not in run
    theirs, inputs = oracle.arrays(folder, "outputs"), oracle.arrays(folder, "inputs")
    model = oracle_learned.adaclip(oracles, towers, mlp_activation="trained-with")
    images, masks = (oracle.tensor(inputs, f"{n}_native")[:1] for n in ("images", "mask"))
    features = model(images, oracle.config(folder)["class_names"][:1])
    clustering = oracle_learned.stored_labels(theirs, f"{run}/hsf_cluster_labels")
    probabilities = model.image_probabilities(features, clustering)
    scores = theirs[f"{run}/score_probs"]
    yield stage("training scores", probabilities, scores, oracle_learned.PROBABILITIES)
    maps = model.level_maps(features, *masks.shape[-2:]).softmax(dim=2)
    labels = oracle.tensor(theirs, f"{run}/label_used")
    terms = adaclip_loss(probabilities, maps, labels, masks, squeezed=squeezed)
    yield of_largest("losses", terms.image, theirs[f"{run}/loss_cls_focal"], LOSSES)
    yield from local_stages(terms, theirs, run)
    yield of_largest("losses", terms.total(), theirs[f"{run}/loss_total"], LOSSES)
    terms.total().backward()  # type: ignore[no-untyped-call]
    yield from gradient_stages(model, theirs, run)


def loss_of(model: AnomalyClip, folder: Path, size: str, count: int | None = None) -> LossTerms:
    inputs = oracle.arrays(folder, "inputs")
    images = oracle.tensor(inputs, f"images_{size}")[:count]
    masks = oracle.tensor(inputs, f"mask_{size}")[:count]
    logits = model(model.freeze_features(images))
    maps = [upsample(level.softmax(dim=1), *masks.shape[-2:]) for level in logits.levels]
    return anomalyclip_loss(logits.image, maps, oracle.tensor(inputs, "label")[:count], masks)


def local_stages(terms: LossTerms, theirs: NpzFile, run: str) -> Iterator[Stage]:
    for name in ("focal", "dice_abnormal", "dice_normal"):
        total = theirs[f"{run}/loss_{name}_per_layer"].sum()
        yield of_largest("losses", getattr(terms, name), total, LOSSES)


def gradient_stages(
    model: AnomalyClip | AdaClip, theirs: NpzFile, run: str, *, rounded: bool = False
) -> Iterator[Stage]:
    mine, what = published_gradients(model), "rounded gradient" if rounded else "gradient"
    stem, share = f"{run}/grad_norm/", HALF_GRADIENTS if rounded else GRADIENTS
    unit = HALF_UNIT if rounded else 0.0
    stored = {key.removeprefix(stem) for key in theirs.files if key.startswith(stem)}
    assert stored == set(mine)
    for name, value in mine.items():
        if f"{run}/grad/{name}" in theirs.files:
            yield of_largest(f"{what}s", value, theirs[f"{run}/grad/{name}"], share, unit)
        yield of_largest(f"{what} norms", value.norm(), theirs[stem + name], share)


def published_gradients(model: AnomalyClip | AdaClip) -> dict[str, Tensor]:
    """Name the gradients as the published code does."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name in model.learned_state() or name.startswith("prompts."):
                value.copy_(torch.zeros_like(value) if value.grad is None else value.grad)
    state = written_as_published(model)
    return state.get("prompt_learner", state)


def of_largest(
    name: str, mine: Tensor, theirs: np.ndarray | np.floating, share: float, unit: float = 0.0
) -> Stage:
    """Allow a share of the largest value, and of each value ``unit``."""
    there = np.asarray(theirs)
    largest = share * float(np.abs(there).max())
    return stage(name, mine, there, np.maximum(largest, unit * np.abs(there)) if unit else largest)


TRAINING_STAGES = {"anomalyclip": anomalyclip_training_stages, "adaclip": adaclip_training_stages}
