"""Scores that change must change their version, or calibrations would judge what they do not know.

Where this fails on purpose: raise ``SCORING_VERSION``, and write the new scores down.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headclip_med.findings import SCORING_VERSION
from headclip_med.pipelines.screen import screen
from headclip_med.read import read_volume
from headclip_med.settings import ScreenSettings
from headclip_med.write.dicom.series import write_ct_series, write_mr_series
from tests.bright import BrightModel, write_picture
from tests.phantoms import edit, make_grid

SCORES = {
    "ct": 0.983889,
    "head": 0.712247,
    "mr": 0.489570,
    "picture": 0.805539,
    "all planes": 0.820237,
    "windows": 0.787612,
}
"""Of version 2, by a model that calls bright what is abnormal: they follow from windows, crop,
planes, tiles, symmetry, S_local, JAS and pooling."""

GRID = make_grid(shape=(32, 48, 40), step_lps_mm=(0, 0, 3), spacing_mm=(3, 3))


def head_hu() -> np.ndarray:
    """A head in air, brighter to the front, with a bleeding on one side."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in GRID.shape), indexing="ij")
    depth = (x / 15) ** 2 + (y / 19) ** 2 + (z / 15) ** 2
    values = np.where(depth < 1, 700.0, -1000.0)
    values = np.where(depth < 0.8, 35 - y / 2, values)
    return np.where((x - 5) ** 2 + (y + 3) ** 2 + z**2 < 12, 72.0, values)


def scores(folder: Path) -> dict[str, float]:
    """Screen one of each kind that goes another way through the steps."""
    hu = head_hu()
    for part, name in (("", "ct"), ("HEAD", "head")):
        edit(
            write_ct_series(folder / name, hu, GRID, study_seed=name),
            lambda dataset, _, part=part: setattr(dataset, "BodyPartExamined", part),
        )
    write_mr_series(folder / "mr", np.maximum(hu, 0), GRID)
    write_picture(folder / "picture.png", 200)
    found = {name: read_volume(folder / name) for name in ("ct", "head", "mr", "picture.png")}
    ways = {
        "ct": ("ct", ScreenSettings()),
        "head": ("head", ScreenSettings()),
        "mr": ("mr", ScreenSettings()),
        "picture": ("picture.png", ScreenSettings()),
        "all planes": ("head", ScreenSettings(planes="all")),
        "windows": ("head", ScreenSettings(tiling="windows")),
    }
    model = BrightModel()
    return {
        name: screen(found[which], model, settings=settings).score
        for name, (which, settings) in ways.items()
    }


def test_scores_are_those_of_their_version(tmp_path: Path) -> None:
    assert SCORING_VERSION == 2
    assert scores(tmp_path) == pytest.approx(SCORES, abs=1e-4)
