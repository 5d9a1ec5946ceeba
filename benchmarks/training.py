"""HeadCLIP's training with and without kept features, one after the other; prints a table.

python benchmarks/training.py --model ViT-L-14-336 --size 336 --images 8 --epochs 15
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import Dataset

from headclip_med.models.backbones import load_backbone
from headclip_med.models.headclip import HeadClip
from headclip_med.settings import HeadClipSettings, TrainSettings
from headclip_med.training.batches import Example
from headclip_med.training.features import Features, features_bytes
from headclip_med.training.headclip import train_headclip


class Noise(Dataset[Example]):
    """Random pictures with a square to find in every second one."""

    def __init__(self, count: int, size_px: int) -> None:
        self.count, self.size_px = count, size_px

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Example:
        generator = torch.Generator().manual_seed(number)
        image = torch.rand(3, self.size_px, self.size_px, generator=generator)
        mask = torch.zeros(self.size_px, self.size_px)
        if number % 2:
            mask[: self.size_px // 4, : self.size_px // 4] = 1
        return Example(image, mask, number % 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-L-14-336")
    parser.add_argument("--size", type=int, default=336, help="rows and columns, in pixels")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    weights = None if given.model == "headclip-mini" else "random"
    backbone = load_backbone(given.model, weights=weights)
    settings = HeadClipSettings(image_size=given.size)
    examples = Noise(given.images, given.size)
    taken: dict[str, float] = {}
    losses: dict[str, list[float]] = {}
    for name in ("tower in every epoch", "tower once"):
        model = HeadClip(backbone, settings, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            kept = None
            if name == "tower once":
                kept = Features(model, given.images, "ram", data_digest="noise")
            losses[name] = train_headclip(
                model, examples, replace(TrainSettings(), epochs=given.epochs),
                folder=Path(folder), features=kept,
            )  # fmt: skip
            taken[name] = time.perf_counter() - started
    slow, quick = taken.values()
    apart = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    room = features_bytes(settings, backbone.vision, given.images) / 1e6
    rows = [f"| {name} | {seconds:.1f} |" for name, seconds in taken.items()]
    table = ["| training | s |", "|---|---|", *rows]
    sys.stdout.write("\n".join(table) + "\n")
    sys.stdout.write(
        f"{slow / quick:.1f} times faster over {given.epochs} epochs of {given.images} images; "
        f"losses differ by {apart:.1e} at most; {room:.0f} MB kept.\n"
    )


if __name__ == "__main__":
    main()
