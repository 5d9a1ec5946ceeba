"""HeadCLIP's training, its features kept or not, beside computing it the published way.

python benchmarks/training.py --model ViT-L-14-336 --size 336 --images 8 --epochs 15

All rows learn the same from the same images. "The published way" follows the loop that HeadCLIP
builds on: attention spelt out in float32, the image tower in every epoch, sentences padded to 77
tokens, and weights that nobody froze, whose gradients are computed and thrown away. It comes in two
readings: in AnomalyCLIP's loop the image tower runs without a graph, which head weights inside
of it do not allow for as it stands; without that, gradients run through every weight of the tower
(one image at a time, for memory's sake; the sums are the same).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from headclip_med.models.clip import vision
from headclip_med.models.clip.loading import load_backbone
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.headclip.features import Features
from headclip_med.models.headclip.learning import HeadClipNetwork, headclip_loss
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.maps import upsample
from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Batch, Batches, Example, Remembered
from headclip_med.training.loop import learn, optimiser_of

EXACT = "every epoch; fp32"
"""The row whose losses all others are held against."""

SHOWN = (1, 5, 15)
"""Epochs that are compared."""


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


class Clock:
    """Wall and processor seconds from the start to the end of each epoch."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.losses: list[float] = []

    def epoch(self, loss: float) -> None:
        wall, cpu = self._start
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        self.losses.append(loss)
        sys.stderr.write(f"  epoch {len(self.wall)}: {self.wall[-1]:.1f} s, loss {loss:.4f}\n")


# --- our way ---------------------------------------------------------------------------------


def ours(given: argparse.Namespace, backbone: Backbone, *, kept: bool, precision: str) -> Clock:
    settings = replace(TrainSettings(), epochs=given.epochs, precision=precision)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        model = HeadClip(backbone, HeadClipSettings(image_size=given.size), seed=0)
        features = None
        if kept:
            features = Features(
                model, given.images, "ram", data_digest="noise", precision=settings.precision
            )
        network = HeadClipNetwork(model, features=features, precision=settings.precision)
        noise = Noise(given.images, given.size)
        learn(
            network, Remembered(noise, features) if features else noise, settings,
            folder=Path(folder), report_epoch=lambda epoch: clock.epoch(epoch.loss),
        )  # fmt: skip
    return clock


# --- the published way -----------------------------------------------------------------------


def spelt_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ value


@contextmanager
def published(given: argparse.Namespace, backbone: Backbone) -> Iterator[HeadClip]:
    """Give a model as published code runs it; the backbone is as before afterwards."""
    text, attend = backbone.text, vision.attend
    text.tokenize = lambda sentences: text.tokenizer(list(sentences))  # type: ignore[method-assign, assignment]
    vision.attend = spelt_out
    try:
        model = HeadClip(backbone, HeadClipSettings(image_size=given.size), seed=0)
        backbone.requires_grad_(True)
        yield model
    finally:
        vision.attend = attend
        del text.tokenize
        backbone.requires_grad_(False)
        backbone.zero_grad(set_to_none=True)


def learn_as_published(
    given: argparse.Namespace, backbone: Backbone, epochs: int, freeze: Callable[..., object]
) -> Clock:
    """Take the steps; ``freeze`` runs the image tower, given the model and images."""
    settings, clock = TrainSettings(), Clock()
    with published(given, backbone) as model:
        learned = [model.prompts.context, model.prompts.deep, model.head_weights]
        adam = optimiser_of(learned, settings)
        batches = Batches(Noise(given.images, given.size), settings.batch_size, seed=settings.seed)
        for epoch in range(1, epochs + 1):
            batches.begin_epoch(epoch)
            losses = []
            for batch in batches:
                adam.zero_grad()
                losses.append(_step(model, batch, freeze))
                adam.step()
            clock.epoch(sum(losses) / len(losses))
    return clock


def _step(model: HeadClip, batch: Batch, freeze: Callable[..., object]) -> float:
    """Add the gradients of a batch: at once, or image by image where a graph is kept."""
    size = 1 if freeze is with_graph else len(batch.labels)
    total = 0.0
    for start in range(0, len(batch.labels), size):
        part = slice(start, start + size)
        logits = model(freeze(model, batch.images[part]))  # type: ignore[arg-type]
        maps = upsample(logits.patches[0].softmax(dim=1), *batch.masks.shape[-2:])
        terms = headclip_loss(logits.image, maps[None], batch.labels[part], batch.masks[part])
        loss = terms.total() * size / len(batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def without_graph(model: HeadClip, images: Tensor) -> object:
    return model.freeze_features(images)


def with_graph(model: HeadClip, images: Tensor) -> object:
    return HeadClip.freeze_features.__wrapped__(model, images)  # type: ignore[attr-defined]


# --- the arithmetic --------------------------------------------------------------------------


@dataclass(frozen=True)
class Arithmetic:
    """Billions of floating-point operations (a multiplication and an addition are two).

    Attributes:
        tower: Image tower and value-value attention, forwards, of an image.
        local: Projections of the local path, forwards, of an image.
        text_cropped: Both sentences up to their end token, forwards.
        text_padded: Both sentences padded to the tower's context, forwards.
    """

    tower: float
    local: float
    text_cropped: float
    text_padded: float

    @classmethod
    def of(cls, model: HeadClip) -> Arithmetic:
        towers, text = model.backbone.vision, model.backbone.text
        width, joint = (int(size) for size in towers.visual.proj.shape)
        patches = (model.image_size // towers.patch_px) ** 2
        tokens, layers, local = patches + 1, towers.depth, len(model.local_layers)
        linear = 24 * tokens * width**2 * layers
        attention = 4 * tokens**2 * width * (layers + local)
        embedding = 2 * patches * 3 * towers.patch_px**2 * width
        projections = 2 * patches * width * (width * local + joint)

        def sentences(length: int) -> float:
            return 2 * 24 * length * text.width**2 * text.depth / 1e9

        cropped = model.prompts.embeddings().shape[1]
        return cls(
            (linear + attention + embedding) / 1e9,
            projections / 1e9,
            sentences(cropped),
            sentences(int(text.text.context_length)),
        )

    def training(self, way: str, images: int, epochs: int) -> float:
        """A backward pass costs as much as the forward one for the inputs, and again for weights.

        Gradients of head weights need those of the projections' inputs: forwards and once more.
        """
        steps = -(-images // TrainSettings().batch_size)
        frozen = epochs * (images * 2 * self.local + steps * 2 * self.text_cropped)
        if way == "kept":
            return images * self.tower + frozen
        if way == "every epoch":
            return epochs * images * self.tower + frozen
        passes = 3 if way == "published, every gradient" else 1
        text = steps * 3 * self.text_padded
        return epochs * (images * (passes * self.tower + 3 * self.local) + text)


# --- the table -------------------------------------------------------------------------------


def seconds(taken: list[float], epochs: int) -> tuple[float, bool]:
    """Time of so many epochs, and whether it was measured or follows from fewer."""
    if epochs <= len(taken):
        return taken[epochs - 1], True
    return taken[-1] * epochs / len(taken), False


def show(title: str, epochs: list[int], rows: dict[str, list[str]]) -> None:
    lines = [
        f"| {title} | {' | '.join(f'{one} epochs' for one in epochs)} |",
        f"|---|{'---|' * len(epochs)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n\n")


def report(clocks: dict[str, Clock], arithmetic: Arithmetic, given: argparse.Namespace) -> None:
    epochs = [one for one in SHOWN if one <= given.epochs]
    sys.stdout.write("~ was not measured for so many epochs, but follows from fewer.\n\n")
    rows = {}
    for name, clock in clocks.items():
        both = [(*seconds(clock.wall, one), seconds(clock.cpu, one)[0]) for one in epochs]
        rows[name] = [f"{'' if known else '~'}{wall:.1f} ({cpu:.0f})" for wall, known, cpu in both]
    show("seconds (of processor time)", epochs, rows)
    for base in (name for name in clocks if name.startswith("kept")):
        show(
            f"times as long as '{base}' (processor time; arithmetic)",
            epochs,
            {
                name: [
                    ratios((name, clock), (base, clocks[base]), arithmetic, (given.images, one))
                    for one in epochs
                ]
                for name, clock in clocks.items()
                if not name.startswith("kept")
            },
        )
    exact = clocks[EXACT].losses
    for name, clock in clocks.items():
        apart = max(abs(a - b) for a, b in zip(exact, clock.losses, strict=False))
        sys.stdout.write(f"losses of '{name}' differ from '{EXACT}' by {apart:.1e}\n")


def ratios(
    slow: tuple[str, Clock], quick: tuple[str, Clock], arithmetic: Arithmetic, job: tuple[int, int]
) -> str:
    """Of wall time, of processor time, and of operations, which is the bound at equal rates."""
    images, epochs = job
    (name, long), (base, short) = slow, quick
    wall, known = seconds(long.wall, epochs)
    wall /= seconds(short.wall, epochs)[0]
    cpu = seconds(long.cpu, epochs)[0] / seconds(short.cpu, epochs)[0]
    work = (arithmetic.training(one.partition(";")[0], images, epochs) for one in (name, base))
    bound = next(work) / next(work)
    return f"{'' if known else '~'}{wall:.1f} ({cpu:.1f}; {bound:.1f})"


def _warm_up(given: argparse.Namespace, backbone: Backbone) -> None:
    """Train for an epoch: else the first row pays for imports, threads and memory of all."""
    shorter = argparse.Namespace(**{**vars(given), "epochs": 1})
    ours(shorter, backbone, kept=True, precision="fp32")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ViT-L-14-336")
    parser.add_argument("--size", type=int, default=336, help="rows and columns, in pixels")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument(
        "--published-epochs", type=int, default=15, help="to measure; more follow from these"
    )
    parser.add_argument("--ways", nargs="+", help="rows to measure (default: all)")
    given = parser.parse_args()
    weights = None if given.model == "headclip-mini" else "random"
    backbone = load_backbone(given.model, weights=weights)
    arithmetic = Arithmetic.of(HeadClip(backbone, HeadClipSettings(image_size=given.size)))
    sys.stdout.write(
        f"{torch.get_num_threads()} threads; {given.images} images of {given.size} px\n"
    )
    sys.stdout.write(f"GFLOP per image and pass: {arithmetic}\n")
    sys.stderr.write("warming up\n")
    _warm_up(given, backbone)
    clocks: dict[str, Clock] = {}
    runs: dict[str, Callable[[], Clock]] = {
        "kept; fp32": lambda: ours(given, backbone, kept=True, precision="fp32"),
        "kept; bf16": lambda: ours(given, backbone, kept=True, precision="bf16"),
        "published; fp32": lambda: learn_as_published(
            given, backbone, given.published_epochs, without_graph
        ),
        "published, every gradient; fp32": lambda: learn_as_published(
            given, backbone, given.published_epochs, with_graph
        ),
        EXACT: lambda: ours(given, backbone, kept=False, precision="fp32"),
        "every epoch; bf16": lambda: ours(given, backbone, kept=False, precision="bf16"),
    }
    chosen = given.ways or list(runs)
    if EXACT not in chosen or not set(chosen) <= set(runs):
        parser.error(f"--ways takes '{EXACT}' and any of: {', '.join(map(repr, runs))}")
    for name in chosen:
        take = runs[name]
        sys.stderr.write(f"{name}\n")
        clocks[name] = take()
    report(clocks, arithmetic, given)


if __name__ == "__main__":
    main()
