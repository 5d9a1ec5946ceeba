"""What a small convolutional net learns of the corpus's heads in a few minutes; prints a table.

python -m benchmarks.convolution --minutes 8

It says how much is there to be learnt, beside what headclip-mini has learnt. No model of the
project comes from it.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headclip_med import load_model
from headclip_med.metrics import image_metrics
from headclip_med.pipelines.acceptance import LEAST_LESION_PX
from headclip_med.transforms import joint_score, local_score
from research.mini.corpus import draw_samples
from research.mini.corpus.samples import EMPHASIS_UNIT
from research.mini.development import development_volumes, windowed

SIZE_PX, MAP_PX = 112, 28
BATCH, POOL, STEPS_PER_POOL = 32, 640, 40
RATE, WARMUP_STEPS = 2e-3, 100
POSITIVES = 10.0
"""Weight of a defective place, times its piece's emphasis."""
TOP = 8
"""Places whose mean is an image's score: 1 % of the map."""
VOLUMES = 40


def block(entering: int, leaving: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (entering, leaving):
        layers += [nn.Conv2d(channels, leaving, 3, padding=1), nn.GroupNorm(8, leaving), nn.GELU()]
    return nn.Sequential(*layers)


class Net(nn.Module):
    """A U-Net of three scales; a logit for every fourth pixel of every fourth row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 4, stride=2, padding=1)
        widths = (24, 32, 64, 96, 96)
        self.down = nn.ModuleList(block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList([block(96 + 96, 64), block(64 + 64, 32)])
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = [self.down[0](self.stem(images))]
        for one in self.down[1:]:
            seen.append(one(functional.max_pool2d(seen[-1], 2)))
        found = seen[-1]
        for one, skipped in zip(self.up, (seen[2], seen[1]), strict=True):
            found = one(torch.cat([functional.interpolate(found, skipped.shape[-2:]), skipped], 1))
        return self.head(found)[:, 0]


def top(logits: Tensor) -> Tensor:
    return logits.flatten(1).topk(TOP, dim=1).values.mean(dim=1)


def train(net: Net, seconds: float, seed: int) -> int:
    optimiser = torch.optim.AdamW(net.parameters(), RATE)
    started, step = time.perf_counter(), 0
    while (gone := time.perf_counter() - started) < seconds:
        if step % STEPS_PER_POOL == 0:
            pool = draw_samples(seed, step // STEPS_PER_POOL, POOL, SIZE_PX, "head")
        rows = torch.randint(len(pool.labels), (BATCH,))
        truth = torch.stack([pool.masks[rows].float(), pool.emphasis[rows] / EMPHASIS_UNIT], 1)
        truth = functional.adaptive_max_pool2d(truth, MAP_PX)
        images = pool.images[rows].float() / 255
        if torch.rand(()) < 0.5:
            images, truth = images.flip(3), truth.flip(3)
        mask, emphasis = truth.unbind(1)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARMUP_STEPS) * max(0.02, 1 - gone / seconds)
        logits = net(images)
        weight = 1 + POSITIVES * emphasis * mask
        loss = functional.binary_cross_entropy_with_logits(logits, mask, weight=weight)
        loss = loss + 0.5 * functional.binary_cross_entropy_with_logits(
            top(logits), pool.labels[rows].float()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
    return step


@torch.no_grad()
def scores(net: Net, images: Tensor) -> np.ndarray:
    return torch.cat([top(net(part.float() / 255)) for part in images.split(64)]).numpy()


@torch.no_grad()
def scores_of_mini(images: Tensor) -> np.ndarray:
    """Joint scores of headclip-mini, the pictures seen whole as the net sees them."""
    model, found = load_model("headclip-mini", device="cpu"), []
    for part in images.split(64):
        judged = model.predict(part.float() / 255)
        local = local_score(judged.map.numpy(), model.scores.top_percent)
        whole = judged.global_score.numpy().astype(np.float64)
        found.append(joint_score(whole, local, model.scores.global_weight))
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    net = Net().train()
    steps = train(net, 60 * given.minutes, 88_000 + given.seed)
    net.eval()
    held = draw_samples(77_001, 0, 800, SIZE_PX, "head")
    drawn = development_volumes(500, VOLUMES)
    slices = torch.from_numpy(np.concatenate([windowed(one) for one in drawn]))
    slices = slices[:, None].expand(-1, 3, -1, -1)
    areas = np.concatenate([one.lesion.sum((1, 2)) for one in drawn])
    counted = (areas == 0) | (areas >= LEAST_LESION_PX)
    sick = np.array([one.lesion.any() for one in drawn])
    columns = []
    for judge in (lambda images: scores(net, images), scores_of_mini):
        found = judge(slices)
        studies = np.sort(found.reshape(VOLUMES, -1), axis=1)[:, -3:].mean(axis=1)
        columns.append(
            (
                image_metrics(judge(held.images), held.labels.numpy())["AUROC"],
                image_metrics(found[counted], areas[counted] > 0)["AUROC"],
                image_metrics(studies, sick)["AUROC"],
            )
        )
    names = ("held-out heads", "development slices", "development studies")
    rows = ["| AUROC | this net | headclip-mini |", "|---|---|---|"]
    rows += [f"| {name} | {a:.3f} | {b:.3f} |" for name, a, b in zip(names, *columns, strict=True)]
    weights = sum(one.numel() for one in net.parameters())
    sys.stdout.write("\n".join(rows) + "\n")
    sys.stdout.write(f"{weights:,} weights, {steps * BATCH:,} views, {given.minutes:g} minutes\n")


if __name__ == "__main__":
    main()
