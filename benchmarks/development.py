"""Scores of a model on the development volumes, by how much it sees and how maps become scores.

python benchmarks/development.py

These volumes serve choices (synthetic/development.py); no claim rests on them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from headclip_med import load_model
from headclip_med.geometry import Grid
from headclip_med.metrics import image_metrics
from headclip_med.pipelines.acceptance import LEAST_LESION_PX
from headclip_med.pipelines.screen import screen
from headclip_med.settings import ScreenSettings
from headclip_med.synthetic.development import (
    SPACING_MM,
    DevelopmentVolume,
    development_volumes,
)
from headclip_med.volume import SliceSource, Volume

SCORES = ((0.5, 3.0), (0.25, 1.0), (0.0, 0.5))
"""r and k (in percent): the published ones, two that favour the map; headclip-mini has the last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="headclip-mini")
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--volumes", type=int, default=40)
    given = parser.parse_args()
    model = load_model(given.model)
    drawn = development_volumes(given.seed, given.volumes)
    areas = np.concatenate([one.lesion.sum((1, 2)) for one in drawn])
    counted = (areas == 0) | (areas >= LEAST_LESION_PX)
    sick = np.array([one.lesion.any() for one in drawn])
    rows = ["| crop | r | k % | slices | studies |", "|---|---|---|---|---|"]
    for crop in ("none", "body"):
        for weight, percent in SCORES:
            scores = replace(model.scores, joint_weight=weight, top_percent=percent)
            screened = [
                screen(
                    to_volume(one),
                    model.with_scores(scores),
                    settings=ScreenSettings(crop=crop),  # type: ignore[arg-type]
                )
                for one in drawn
            ]
            slices = np.concatenate([one.slice_scores for one in screened])
            studies = np.array([one.score for one in screened])
            found = (
                image_metrics(slices[counted], areas[counted] > 0)["AUROC"],
                image_metrics(studies, sick)["AUROC"],
            )
            rows.append(f"| {crop} | {weight} | {percent} | {found[0]:.3f} | {found[1]:.3f} |")
    sys.stdout.write("\n".join(rows) + "\n")


def to_volume(drawn: DevelopmentVolume) -> Volume:
    affine_lps = np.diag([*SPACING_MM[::-1], 1.0])[:, [2, 1, 0, 3]]
    return Volume(
        voxels=drawn.voxels_hu.astype(np.float32),
        grid=Grid.from_affine_lps(affine_lps, shape=drawn.voxels_hu.shape),
        sources=(SliceSource(Path("development")),) * len(drawn.voxels_hu),
        origin="dicom",
        modality="CT",
        body_part="HEAD",
    )


if __name__ == "__main__":
    main()
