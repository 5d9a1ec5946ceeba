"""Time of every method's ``predict`` beside a plain pass of CLIP's image tower; prints a table.

python benchmarks/methods.py --model ViT-L-14-336 --size 518 --precision bf16

The backbone's weights are random, which costs the same as trained ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch

from headclip_med.models.anomaly import AnomalyModel
from headclip_med.models.judging import JudgingModel
from headclip_med.models.method_set import load_methods
from headclip_med.models.methods import METHODS
from headclip_med.models.sources import Source
from headclip_med.models.trunk import predict_together
from headclip_med.settings_training_free import AnoVlSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-L-14-336")
    parser.add_argument("--size", type=int, default=518, help="rows and columns, in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    images = torch.rand(given.batch, 3, given.size, given.size)
    models = load(given)
    first = models["headclip"]
    calls: dict[str, Callable[[], object]] = {"plain CLIP": lambda: plain(first, images)}
    calls |= {name: lambda one=one: one.predict(images) for name, one in models.items()}
    published = [models[name] for name in METHODS if name in models]
    calls[f"these {len(published)} together"] = lambda: predict_together(published, images)
    seconds = {name: best(call, given) / given.batch for name, call in calls.items()}
    if given.json:
        sys.stdout.write(json.dumps({**vars(given), "seconds_per_image": seconds}) + "\n")
        return
    sys.stdout.write("| method | seconds per slice | times plain CLIP |\n|---|---|---|\n")
    for name, one in seconds.items():
        sys.stdout.write(f"| {name} | {one:.3f} | {one / seconds['plain CLIP']:.2f} |\n")


def load(given: argparse.Namespace) -> dict[str, JudgingModel]:
    """Load all methods, and AnoVL in its other forms as well."""
    found: dict[str, JudgingModel] = {}
    forms = {
        "": AnoVlSettings(),
        ", one view": AnoVlSettings(views=False),
        ", adapting": AnoVlSettings(views=False, adaptation="independent"),
    }
    source = Source(given.model, None if given.model == "headclip-mini" else "random")
    for form, settings in forms.items():
        loaded = load_methods(
            source, settings={"anovl": settings}, device=given.device, precision=given.precision
        )
        if loaded.missing:
            sys.stderr.write(f"not timed: {', '.join(loaded.missing)}\n")
        wanted = loaded.models if not form else {"anovl": loaded.models["anovl"]}
        found |= {f"{name}{form}": judging(one) for name, one in wanted.items()}
    return found


def judging(model: AnomalyModel) -> JudgingModel:
    if not isinstance(model, JudgingModel):
        raise TypeError("every method here reads the trunk")
    return model


@torch.no_grad()
def plain(model: JudgingModel, images: torch.Tensor) -> torch.Tensor:
    """CLIP's own image feature, by the same tower."""
    with model.trunk_context():
        *_, last = model.vision.walk(model.prepare(images))
    return model.vision.project(last.tokens[:, 0].float())


def best(call: Callable[[], object], given: argparse.Namespace) -> float:
    call()  # encodes sentences, which is done once for each subject
    seconds = []
    for _ in range(given.repeats):
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
