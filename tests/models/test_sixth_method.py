"""A method is added by one folder and one line, and is there wherever methods are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]

ADDED = """
import contextlib, io, json, sys
from headclip_med.models import registry
from tests.sixth import METHOD

registry.METHODS["sixth"] = METHOD  # the one line
assert "torch" not in sys.modules, "a method costs no import of torch"

from headclip_med.cli import main

def said(*arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(arguments)
    return out.getvalue()

data, out = sys.argv[1:]
found = {"help": said("screen", "--help-all")}
found["sets"] = said("screen", "--method", "sixth", "--help-all")
found["evaluate"] = said("evaluate", f"mvtec:{data}", "--method", "all", "--no-tracking",
                         "--no-intervals", "--json")
found["screen"] = said("screen", f"{data}/nut/test/good", "--out", out, "--method", "sixth",
                       "--set", "gain=2.0", "--json")

from headclip_med.pipelines.experiments.definitions import experiment_named
found["experiment"] = [one.name for one in experiment_named("main").variants]

import torch
from headclip_med.pipelines.bundle import ScreeningNetwork
network = ScreeningNetwork(method="sixth")
found["bundle"] = list(network(torch.rand(1, 3, 112, 112)).shape)
print(json.dumps(found))
"""


def test_a_sixth_method_is_a_folder_and_a_line(tmp_path: Path) -> None:
    for kind, grey in (("good", 30), ("scratch", 90)):
        picture = tmp_path / "data/nut/test" / kind / "0.png"
        picture.parent.mkdir(parents=True)
        pixels = np.full((32, 32, 3), grey, np.uint8)
        pixels[:8, :8] = 2 * grey
        Image.fromarray(pixels).save(picture)
    mask = tmp_path / "data/nut/ground_truth/scratch/0_mask.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), (0, 24))).save(mask)
    done = subprocess.run(
        [sys.executable, "-c", ADDED, str(tmp_path / "data"), str(tmp_path / "out")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "anovl, sixth" in found["help"]
    assert "gain" in found["sets"]
    (evaluation,) = json.loads(found["evaluate"])
    assert list(evaluation["model"])[-1] == "sixth"
    assert "SixthCLIP" in {row["judge"] for row in evaluation["rows"]}
    (screened,) = json.loads(found["screen"])["series"]
    assert 0 < screened["score"] < 1
    assert found["experiment"][-2:] == ["HeadCLIP", "SixthCLIP"]
    assert found["bundle"] == [1, 2, 112, 112]
