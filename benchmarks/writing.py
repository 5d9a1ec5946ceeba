"""What a study costs beside the model, and beside it the model: CPU and clock seconds, as JSON.

python -m benchmarks.writing
python -m benchmarks.writing --model ViT-L-14-336 --precision bf16 --predicted 8

A head CT of 512 x 512 is written as DICOM, then read, screened and all of it written by a model
that knows its answers at once, so that everything but a model is measured, on every slice. The
model that is named predicts some of the slices; its time is scaled to all. Children count: the
process that reads is one.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from headclip_med import load_model
from headclip_med.geometry import Grid
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.work.screener import Screener
from headclip_med.prediction import Prediction
from headclip_med.read import find_inputs
from headclip_med.settings import ScoreSettings
from headclip_med.synthetic.acceptance import acceptance_phantom
from headclip_med.transforms import resize_images
from headclip_med.write.dicom.series import write_ct_series

SIDE_PX, SPACING_MM = 512, (1.25, 0.45, 0.45)


@dataclass(frozen=True)
class KnownAnswers:
    """Gives every slice the smooth map of a tower's patches, with one candidate."""

    image_size: int = 336
    scores: ScoreSettings = field(default_factory=ScoreSettings)
    threshold: float = 0.5

    def describe(self) -> Mapping[str, object]:
        return {"name": "known answers", "method": "none"}

    def with_scores(self, scores: ScoreSettings) -> KnownAnswers:
        return replace(self, scores=scores)

    def predict(self, images: torch.Tensor) -> Prediction:
        maps = self.answer().expand(len(images), -1, -1).clone()
        return Prediction(maps, maps.amax(dim=(1, 2)), torch.logit(maps))

    @cache  # noqa: B019 - there is one
    def answer(self) -> torch.Tensor:
        patches = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.01
        patches[..., 14:17, 6:10] = 0.8
        side = self.image_size
        return torch.nn.functional.interpolate(patches, (side, side), mode="bilinear")[0]


def write_study(folder: Path, slices: int, number: int = 0) -> np.ndarray:
    """Write a head with the noise of a scanner, another study for each number; give its slices."""
    head = acceptance_phantom(1).voxels_hu
    random = np.random.default_rng(number)
    rows, columns = (np.linspace(0, n - 1, SIDE_PX).round().astype(int) for n in head.shape[1:])
    numbers = np.linspace(0, len(head) - 1, slices).round().astype(int)
    voxels = head[numbers][:, rows][:, :, columns]
    voxels = voxels + random.normal(0, 5, voxels.shape).astype(np.float32)
    affine = np.diag([*SPACING_MM, 1.0])[[2, 1, 0, 3]]
    grid = Grid.from_affine_lps(affine, shape=voxels.shape)
    write_ct_series(folder, voxels, grid, study_seed=f"benchmark {number}")
    return voxels


def seconds(work: Callable[[], object]) -> dict[str, float]:
    """Time something, its children included."""

    def spent() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(one.ru_utime + one.ru_stime for one in both)

    started, before = time.perf_counter(), spent()
    work()
    return {"clock": time.perf_counter() - started, "cpu": spent() - before}


def predicted(model: AnomalyModel, voxels: np.ndarray, count: int) -> dict[str, float]:
    """Time a model on some slices, and scale it to all."""
    grey = torch.from_numpy(np.clip(voxels[:count] / 80, 0, 1).astype(np.float32))
    images = resize_images(grey[:, None].expand(-1, 3, -1, -1), model.image_size)
    model.predict(images[:1])
    spent = seconds(lambda: [model.predict(one[None]) for one in images])
    return {kind: value * len(voxels) / count for kind, value in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=240)
    parser.add_argument("--model", default="headclip-mini")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--predicted", type=int, default=16, help="slices that the model sees")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voxels = write_study(folder / "in", given.slices)
        screener = Screener(model=KnownAnswers(), out=folder / "out")
        run = lambda: screen_inputs(find_inputs([folder / "in"]), screener)  # noqa: E731
        run()  # imports, and the process that reads
        rest = seconds(run)
        (result,) = (folder / "out").glob("*/*/result.json")
        steps = json.loads(result.read_text())["timings_s"]
        size = sum(path.stat().st_size for path in result.parent.rglob("*") if path.is_file())
    weights = None if given.model == "headclip-mini" else "random"
    model = load_model(given.model, weights=weights, device="cpu", precision=given.precision)
    alone = predicted(model, voxels, given.predicted)
    report = {
        **vars(given), "threads": torch.get_num_threads(), "steps_s": steps,
        "writing_s": round(sum(s for step, s in steps.items() if step.startswith("write_")), 2),
        "beside_the_model": {kind: round(value, 2) for kind, value in rest.items()},
        "model": {kind: round(value, 1) for kind, value in alone.items()},
        "beside_by_model": {kind: round(rest[kind] / alone[kind], 3) for kind in rest},
        "megabytes": round(size / 1e6, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
