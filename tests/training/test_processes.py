"""Two processes that torchrun starts learn what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.training.handlers import LOG_FILE
from tests.pipelines.test_train import mvtec_folder

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def run(out: Path, data: Path, *options: str, processes: int) -> subprocess.CompletedProcess[str]:
    started = TORCHRUN if processes == 2 else ()
    return subprocess.run(
        [sys.executable, *started, "-m", "headclip_med", "train", "--data", f"mvtec:{data}",
         "--out", str(out), "--device", "cpu", "--json", "--no-tracking", *options],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mvtec_folder(tmp_path_factory.mktemp("data"))  # 12 images


METHODS = [
    # The last batch has one image: one process has none of its own.
    ("headclip", ["--set", "local_layers=4-6", "--batch-size", "11"], ["--cache", "none"]),
    ("headclip", ["--set", "local_layers=4-6", "--batch-size", "5"], ["--cache", "kept"]),
    ("anomalyclip", ["--set", "feature_layers=3,6", "--batch-size", "4"], []),
    # Dice over rows only where the whole batch is one image, not where one's part is. Unrounded
    # prompts: fp16 rounds small gradients by their size, and a process has twice a batch's share.
    ("adaclip", ["--set", "clusters=4", "--batch-size", "2", "--set", "learning_rate=1e-3",
                 "--set", "prompt_cast=none"], []),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options", "cache"), METHODS)
def test_two_processes_learn_what_one_does(
    method: str, options: list[str], cache: list[str], data: Path, tmp_path: Path
) -> None:
    cache = [str(tmp_path / one) if one == "kept" else one for one in cache]
    shared = ["--method", method, "--epochs", "2", *options]
    alone = run(tmp_path / "one", data, *shared, *cache[:1], *(["none"] if cache else []),
                processes=1)  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    both = run(tmp_path / "two", data, *shared, *cache, processes=2)
    assert both.returncode == 0, both.stderr
    one, two = (read_checkpoint(tmp_path / n / f"{method}.safetensors") for n in ("one", "two"))
    assert two.training["losses"] == pytest.approx(one.training["losses"], rel=1e-4)
    # Adam makes a whole step of rounding where a gradient is nought; so the mean is looked at.
    apart = {k: float((two.learned[k] - v).abs().mean()) for k, v in one.learned.items()}
    assert max(apart.values()) < 2e-5, apart  # a step moves a value by up to 1e-3
    printed = [json.loads(line) for line in both.stdout.splitlines()]
    assert [one["losses"] for one in printed] == [list(two.training["losses"])], "the first prints"
    steps = [json.loads(x) for x in (tmp_path / "two" / LOG_FILE).read_text().splitlines()]
    assert steps == sorted(steps, key=lambda step: (step["epoch"], step["step"]))
    assert len({(step["epoch"], step["step"]) for step in steps}) == len(steps)


@pytest.mark.slow
def test_memory_that_others_do_not_see_is_refused(data: Path, tmp_path: Path) -> None:
    refused = run(tmp_path / "run", data, "--cache", "ram", "--epochs", "1", processes=2)
    assert refused.returncode != 0
    assert "memory of one process is not seen by the others" in refused.stdout + refused.stderr
    assert not (tmp_path / "run").exists()
