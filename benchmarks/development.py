"""Scores of a model on the development volumes, by how much it sees and how maps become scores.

python -m benchmarks.development
python -m benchmarks.development --seed 5000 --volumes 160 --crops body

These volumes serve choices (research/mini/development.py); no claim rests on them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from torch import Tensor

from headclip_med import load_model
from headclip_med.metrics import image_metrics
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.acceptance import LEAST_LESION_PX, head_grid
from headclip_med.pipelines.screen import screen
from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings, ScreenSettings
from headclip_med.synthetic.development import SPACING_MM, DevelopmentVolume
from headclip_med.transforms import joint_score, local_score
from headclip_med.volume import SliceSource, Volume
from research.mini.development import development_volumes

SCORES = tuple((r, k) for k in (0.25, 0.5, 1.0, 3.0) for r in (0.0, 0.1, 0.25, 0.5))
"""r and k (in percent)."""

POOLED = ScreenSettings().pooled_slices


class Heard:
    """A model whose global scores and highest pixels are kept as they are given."""

    def __init__(self, model: AnomalyModel) -> None:
        self.model = model
        self.image_size, self.threshold, self.scores = (
            model.image_size, model.threshold, model.scores,
        )  # fmt: skip
        self.whole: list[np.ndarray] = []
        self.local: dict[float, list[np.ndarray]] = {percent: [] for _, percent in SCORES}

    def describe(self) -> dict[str, object]:
        return dict(self.model.describe())

    def with_scores(self, scores: ScoreSettings) -> Heard:
        return Heard(self.model.with_scores(scores))

    def predict(self, images: Tensor) -> Prediction:
        found = self.model.predict(images)
        self.whole.append(found.global_score.cpu().numpy().astype(np.float64))
        for percent, kept in self.local.items():
            kept.append(local_score(found.map.cpu().numpy(), percent))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="headclip-mini")
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--crops", nargs="+", default=["none", "body"])
    given = parser.parse_args()
    model = load_model(given.model)
    drawn = development_volumes(given.seed, given.volumes)
    areas = np.concatenate([one.lesion.sum((1, 2)) for one in drawn])
    counted = (areas == 0) | (areas >= LEAST_LESION_PX)
    sick = np.array([one.lesion.any() for one in drawn])
    rows = ["| crop | r | k % | slices | studies |", "|---|---|---|---|---|"]
    for crop in given.crops:
        heard = Heard(model)
        for one in drawn:
            screen(to_volume(one), heard, settings=ScreenSettings(crop=crop, symmetry="off"))
        whole = np.concatenate(heard.whole)
        for weight, percent in SCORES:
            slices = joint_score(whole, np.concatenate(heard.local[percent]), weight)
            highest = np.sort(slices.reshape(len(drawn), -1), axis=1)[:, -POOLED:]
            found = (
                image_metrics(slices[counted], areas[counted] > 0)["AUROC"],
                image_metrics(highest.mean(axis=1), sick)["AUROC"],
            )
            rows.append(f"| {crop} | {weight} | {percent} | {found[0]:.3f} | {found[1]:.3f} |")
        levels = slices.reshape(len(drawn), -1)[~sick].mean(axis=0)
        rows.append(f"\nhealthy slices from base to vertex, last row: {levels.round(2).tolist()}\n")
    sys.stdout.write("\n".join(rows) + "\n")


def to_volume(drawn: DevelopmentVolume) -> Volume:
    return Volume(
        voxels=drawn.voxels_hu.astype(np.float32),
        grid=head_grid(drawn.voxels_hu.shape, SPACING_MM, coronal=drawn.coronal),
        sources=(SliceSource(Path("development")),) * len(drawn.voxels_hu),
        origin="dicom",
        modality="CT",
        body_part="HEAD",
    )


if __name__ == "__main__":
    main()
