"""Time of every method's ``predict`` beside a plain pass of CLIP's image tower; prints a table.

OMP_NUM_THREADS=2 python benchmarks/methods.py --model ViT-L-14-336 --size 336

The backbone's weights are random, which costs the same as trained ones. Sentences that do not
follow the image are encoded once for each subject: their time stands in a column of its own. What
takes longer than ``--seconds`` is timed once, the rest several times, and the best is given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import torch

from headclip_med.models.anovl.model import AnoVl
from headclip_med.models.engine.run import LastToken, PassPlan, run
from headclip_med.models.inference import InferenceModel, predict_together
from headclip_med.models.loading import load_models
from headclip_med.models.request import ALL, ModelRequest
from headclip_med.models.sentences import SentenceModel

FORMS = {
    ", one view": {"views": False},
    ", one view, adapting": {"views": False, "adaptation": "independent"},
}
"""What AnoVL can do beside what it does as published."""


@dataclass(frozen=True)
class Timed:
    """Best time of a slice, and the time of what is done once, both in seconds."""

    slice_s: float
    once_s: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-L-14-336")
    parser.add_argument("--size", type=int, default=336, help="rows and columns, in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"), default="fp32")
    parser.add_argument("--seconds", type=float, default=8.0, help="repeat each for about so long")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    images = torch.rand(given.batch, 3, given.size, given.size)
    models = load(given)
    first = models["headclip"]
    once = {name: encode(one, given) for name, one in models.items()}
    calls: dict[str, Callable[[], object]] = {"plain CLIP": lambda: plain(first, images)}
    calls |= {name: lambda one=one: one.predict(images) for name, one in models.items()}
    if {"headclip", "anomalyclip"} <= models.keys():
        pair = [models["headclip"], models["anomalyclip"]]
        calls["headclip and anomalyclip together"] = lambda: predict_together(pair, images)
    plain(first, images)  # threads and memory are there from now on
    found = {
        name: Timed(best(call, given) / given.batch, once.get(name, 0.0))
        for name, call in calls.items()
    }
    write(found, given)


def write(found: dict[str, Timed], given: argparse.Namespace) -> None:
    base = found["plain CLIP"].slice_s
    if given.json:
        report = {
            **vars(given), "threads": torch.get_num_threads(),
            "seconds_per_image": {name: one.slice_s for name, one in found.items()},
            "seconds_per_subject": {name: one.once_s for name, one in found.items()},
        }  # fmt: skip
        sys.stdout.write(json.dumps(report) + "\n")
        return
    sys.stdout.write(
        f"{given.model}, {given.size} px, {given.precision}, batch {given.batch}, {given.device}, "
        f"{torch.get_num_threads()} threads\n\n"
        "| method | seconds per slice | times plain CLIP | seconds per subject, once |\n"
        "|---|---|---|---|\n"
    )
    for name, one in found.items():
        once = f"{one.once_s:.1f}" if one.once_s else ""
        sys.stdout.write(f"| {name} | {one.slice_s:.3f} | {one.slice_s / base:.2f} | {once} |\n")


def load(given: argparse.Namespace) -> dict[str, InferenceModel]:
    """Load all methods, and AnoVL in its other forms as well."""
    weights = None if given.model == "headclip-mini" else "random"
    loaded = load_models(
        ModelRequest(
            name=given.model, method=ALL, weights=weights, device=given.device,
            precision=given.precision,
        )
    )  # fmt: skip
    if loaded.missing:
        sys.stderr.write(f"not timed: {', '.join(loaded.missing)}\n")
    found: dict[str, InferenceModel] = {}
    for name, one in loaded.models.items():
        found[name] = one
        if isinstance(one, AnoVl):
            found |= {f"{name}{form}": changed(one, **change) for form, change in FORMS.items()}
    return found


def changed(model: AnoVl, **change: object) -> AnoVl:
    """Give the same model with other settings; weights and encoded sentences are shared."""
    other = copy(model)
    other.settings = replace(model.settings, **change)
    return other


@torch.no_grad()
def encode(model: InferenceModel, given: argparse.Namespace) -> float:
    """Encode what a method says of every image alike; 0 where that was done when it was built."""
    started = time.perf_counter()
    if isinstance(model, SentenceModel):
        model.sentences()
    wait(given.device)
    spent_s = time.perf_counter() - started
    return spent_s if spent_s > 1e-2 else 0.0


@torch.no_grad()
def plain(model: InferenceModel, images: torch.Tensor) -> torch.Tensor:
    """CLIP's own image feature, by the same tower."""
    last = LastToken()
    run(PassPlan(model.vision, (last,), model.ran), model.prepare(images))
    return model.vision.project(last.token.float())


def best(call: Callable[[], object], given: argparse.Namespace) -> float:
    seconds: list[float] = []
    while sum(seconds) < given.seconds:
        wait(given.device)
        started = time.perf_counter()
        call()
        wait(given.device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
