"""Pretrain the embedded backbone ``headclip-mini`` on procedural pictures and captions.

``python -m research.mini.pretrain --out DIR [--steps N] [--resume]``
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from headclip_med.training.losses import dice_loss
from research.mini.curve import Curve, prompt_pair
from research.mini.files import (
    BACKBONE,
    adopt_backbone,
    backbone_tensors,
    load_progress,
    save_backbone,
    save_checkpoint,
)
from research.mini.losses import (
    caption_loss,
    pixel_logit_loss,
    pixel_loss,
    plain_focal_loss,
    top_loss,
)
from research.mini.model import MiniModel
from research.mini.pools import Corpus, PictureBatch
from research.mini.settings import MiniSettings

LOG = "log.jsonl"
"""One JSON object per line: losses, rate and speed, or a row of the learning curve."""

_PROMPTS = 4
"""Sentences per state that one step's scores are measured against."""

_logger = logging.getLogger(__name__)


@dataclass
class Pretraining:
    """Everything that changes during training."""

    settings: MiniSettings
    model: MiniModel
    optimiser: torch.optim.AdamW
    average: dict[str, Tensor]
    step: int = 0
    recent: dict[str, float] = field(default_factory=dict)
    """Running means of the loss terms, for the log."""

    @staticmethod
    def start(settings: MiniSettings) -> Pretraining:
        """A run before its first step."""
        model = MiniModel(settings)
        trained = model.trained()
        matrices = [p for name, p in trained.items() if p.ndim >= 2 and _decays(name)]
        others = [p for name, p in trained.items() if not (p.ndim >= 2 and _decays(name))]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=settings.rate, betas=settings.betas)
        average = {name: value.detach().clone() for name, value in trained.items()}
        return Pretraining(settings, model, optimiser, average)

    def anew(self) -> Pretraining:
        """A run with what would be kept of this one, and nothing else of it."""
        fresh = Pretraining.start(self.settings)
        adopt_backbone(fresh, backbone_tensors(self.model, self.average), self.step)
        return fresh


def _decays(name: str) -> bool:
    return "positional_embedding" not in name and name != "table"


def train_mini(settings: MiniSettings, out: Path, *, resume: bool = False) -> Path:
    """Pretrain the backbone.

    Args:
        settings: The recipe.
        out: Folder for checkpoint, log and result.
        resume: Go on from the folder's checkpoint, or from a finished file after which a closing
            begins anew. Batches follow from the step alone, so the result is that of an unbroken
            run.

    Returns:
        The finished file.

    Raises:
        UnusableWeights: There is nothing that can be resumed.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    run = Pretraining.start(settings)
    if resume:
        load_progress(run, out)
    curve = Curve(settings)
    for last in settings.ends:
        if run.step < last:
            run = run.anew() if settings.begins_anew(run.step) else run
            _train_until(run, last, Corpus(settings, run.step), curve, out)
    save_backbone(run, out)
    return out / BACKBONE


def _train_until(run: Pretraining, last: int, corpus: Corpus, curve: Curve, out: Path) -> None:
    settings = run.settings
    since, first = time.perf_counter(), run.step
    while run.step < last:
        train_step(run, corpus.batch(run.step))
        if run.step % settings.log_every == 0:
            speed = (run.step - first) * settings.batch / (time.perf_counter() - since)
            _write(out, run, {"images_per_s": round(speed, 1), **_rounded(run.recent)})
            since, first = time.perf_counter(), run.step
        if run.step % settings.evaluate_every == 0 or run.step == last:
            _write(out, run, {"curve": measure_average(run, curve)})
            since, first = time.perf_counter(), run.step
        if run.step % settings.checkpoint_every == 0 or run.step == last:
            save_checkpoint(run, out)


def train_step(run: Pretraining, batch: PictureBatch) -> None:
    """Learn from one batch, and move the average."""
    settings = run.settings
    rate = settings.learning_rate(run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    terms = loss_terms(run.model, batch, run.step)
    weights = settings.losses_at(run.step)
    factors = {
        "global": weights.global_score,
        "auxiliary": weights.auxiliary,
        "top": weights.top,
        "caption": weights.caption * (0.3 if batch.mirrored else 1.0),
        "margin": weights.margin,
    }
    loss = sum((factors.get(name, 1.0) * term for name, term in terms.items()), torch.tensor(0.0))
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    trained = run.model.trained()
    torch.nn.utils.clip_grad_norm_(trained.values(), settings.clip_norm)
    run.optimiser.step()
    # Early on the average would be mostly the random start: let it forget faster.
    keep = min(settings.average, (1 + run.step) / (10 + run.step))
    values = [value.detach() for value in trained.values()]
    torch._foreach_lerp_([run.average[name] for name in trained], values, 1 - keep)
    run.step += 1
    for name, term in terms.items():
        value = float(term.detach())
        run.recent[name] = 0.97 * run.recent.get(name, value) + 0.03 * value


def loss_terms(model: MiniModel, batch: PictureBatch, step: int) -> dict[str, Float[Tensor, ""]]:
    """Every term of the loss, unweighted, by name."""
    settings, weights = model.settings, model.settings.losses_at(step)
    normal, abnormal = _some_prompts(model, step)
    count = len(batch.labels)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_bfloat16_is_quick()):
        seen = model.look(batch.images)
        texts = model.read(torch.cat([batch.tokens, normal, abnormal]))
        auxiliary = model.auxiliary_maps(seen)
    states = torch.stack(
        [texts[count : count + _PROMPTS].mean(0), texts[count + _PROMPTS :].mean(0)]
    )
    states = functional.normalize(states, dim=-1)
    logits = seen.whole @ states.T / settings.temperature
    local = (seen.places @ states.T / settings.temperature).softmax(-1)[..., 1]
    probability = _stretch(local, settings.map_px)
    positives = weights.positives
    last, places = (_stretch(logit.float(), settings.map_px) for logit in auxiliary)
    truth = (batch.masks, batch.emphasis, positives)
    scale = model.backbone.clip.logit_scale.exp().clamp(max=60)
    return {
        "global": functional.cross_entropy(logits, batch.labels.long()),
        "focal": plain_focal_loss(probability, batch.masks),
        "dice": dice_loss(probability, batch.masks) + dice_loss(1 - probability, 1 - batch.masks),
        "pixel": pixel_loss(probability, *truth),
        "auxiliary": pixel_logit_loss(last, *truth) + pixel_logit_loss(places, *truth),
        "top": top_loss(probability, batch.masks, batch.labels, weights.top_percent),
        "caption": caption_loss(seen.whole, texts[:count], batch.tokens, scale),
        "margin": (states[0] @ states[1] - weights.text_cosine).clamp(min=0),
    }


def _bfloat16_is_quick() -> bool:
    """Whether the processor multiplies in bfloat16: one that does not takes 20 times as long."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _some_prompts(model: MiniModel, step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(model.settings.seed + step)
    context = model.settings.context_length
    chosen = []
    for tokens in (model.normal_tokens, model.abnormal_tokens):
        rows = torch.randint(len(tokens), (_PROMPTS,), generator=generator)
        chosen.append(functional.pad(tokens[rows], (0, context - tokens.shape[1])))
    return chosen[0], chosen[1]


def _stretch(
    places: Float[Tensor, "batch patches"], size: int
) -> Float[Tensor, "batch rows columns"]:
    side = round(places.shape[1] ** 0.5)
    grid = places.reshape(-1, 1, side, side)
    stretched = functional.interpolate(grid, (size, size), mode="bilinear", align_corners=False)
    return stretched[:, 0]


def measure_average(run: Pretraining, curve: Curve) -> dict[str, float]:
    """A row of the learning curve, of the averaged weights."""
    trained = run.model.trained()
    held = {name: value.detach().clone() for name, value in trained.items()}
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(run.average[name])
        row = curve.measure(run.model)
        pair = prompt_pair(run.model, run.model.normal_tokens, run.model.abnormal_tokens)
        row["text cosine"] = round(float(pair[0] @ pair[1]), 3)
        for name, value in trained.items():
            value.copy_(held[name])
    return row


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _write(out: Path, run: Pretraining, values: dict[str, object]) -> None:
    rate = run.settings.learning_rate(run.step)
    row = {"step": run.step, "time": round(time.time(), 1), "rate": round(rate, 6), **values}
    with (out / LOG).open("a") as file:
        file.write(json.dumps(row) + "\n")
    _logger.info("%s", row)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="research.mini.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and result")
    parser.add_argument("--steps", type=int, help="batches in all (default: the recipe's)")
    parser.add_argument("--resume", action="store_true", help="go on with what lies in the folder")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = MiniSettings()
    if options.steps is not None:
        settings = replace(settings, steps=options.steps)
    train_mini(settings, options.out, resume=options.resume)


if __name__ == "__main__":
    main()
