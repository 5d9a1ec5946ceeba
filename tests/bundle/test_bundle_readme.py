"""Every command of the bundle's README, as it stands there, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle.scripts import verify_metadata
from PIL import Image

from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.pipelines.bundle import ScreeningNetwork
from headclip_med.pipelines.bundle.folder import BUNDLE, CONFIGS, write_bundle
from headclip_med.pipelines.bundle.verify import SCHEMA_FILE, write_tiny_set
from tests.phantoms import write_phantom

pytestmark = [
    pytest.mark.filterwarnings("ignore:No hash value provided"),  # of a schema that the test wrote
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),  # MONAI exports to it
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)

COMMANDS = [
    (language, command)
    for language, block in BLOCK.findall((BUNDLE / "docs/README.md").read_text("utf-8"))
    for command in (block.splitlines() if language == "sh" else [block])
]

LEAVES = {
    r"configs/inference.json --dataset_dir": (
        "RESULTS/*/*/heatmap.nii.gz", "RESULTS/*/*/result.json", "RESULTS/*/*/overlay.png",
        "RESULTS/summary.csv",
    ),
    r"batch_inference.json": ("RESULTS/*/*/result.json", "RESULTS/index.html"),
    r"run_workflow": ("RESULTS/*/*/result.json", "RESULTS/summary.json"),
    r"inference_vitl14.json": ("RESULTS/*/*/result.json", "RESULTS/summary.json"),
    r"MVTEC --ckpt_dir models/trained$": ("models/trained/headclip.safetensors",),
    r"--resume True": ("models/trained/headclip.safetensors",),
    r"^torchrun": ("models/together/headclip.safetensors", "models/together/log.jsonl"),
    r"evaluate.json": ("eval/metrics.csv",),
    r"--model models/trained/": ("RESULTS/*/*/result.json",),
    r"--tracking mlflow": ("eval/mlruns.db", "models/first/headclip.safetensors"),
    r"--tracking configs": ("eval/mlruns.db", "models/second/headclip.safetensors"),
    r"verify_metadata": (),
    r"verify_net_in_out": (),
    r"ckpt_export": ("models/model.ts",),
    r"onnx_export": ("models/model.onnx",),
    r"^from monai.bundle import": ("../RESULTS/*/*/result.json",),
}  # fmt: skip
"""What is new after a command; each stands in the README once."""


@dataclass
class Readme:
    """A bundle's folder in which the README is worked through."""

    folder: Path
    temporary: Path
    said: list[str] = field(default_factory=list)
    new: list[set[str]] = field(default_factory=list)

    def work_to(self, number: int) -> None:
        """Run the commands up to one, as far as they have not been run; later ones need earlier."""
        while len(self.new) <= number:
            self._run(*COMMANDS[len(self.new)])

    def _run(self, language: str, command: str) -> None:
        shutil.rmtree(self.folder / "RESULTS", ignore_errors=True)
        before = self._files()
        arguments = ["bash", "-c", command] if language == "sh" else [sys.executable, "-c", command]
        done = subprocess.run(
            arguments, cwd=self.folder if language == "sh" else self.folder.parent,
            capture_output=True, text=True, check=False, env=self._environment(),
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        self.said.append(done.stdout + done.stderr)
        self.new.append({name for name, when in self._files().items() if before.get(name) != when})

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
        nowhere = "http://127.0.0.1:9"  # what would be fetched fails
        return {
            **own,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}",
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary),
            "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere,
            "http_proxy": nowhere, "https_proxy": nowhere,
        }  # fmt: skip

    def _files(self) -> dict[str, int]:
        """Give every file below the bundle and beside it, with its time of change."""
        beside = self.folder.parent
        return {
            os.path.relpath(path, self.folder): path.stat().st_mtime_ns
            for path in beside.rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Readme:
    folder = write_bundle(tmp_path_factory.mktemp("user") / "headclip_lesion_segmentation")
    write_phantom(folder / "STUDIES/series")
    grey = np.random.default_rng(1).integers(0, 255, (30, 40), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "STUDIES/picture.png")
    shutil.copytree(folder / "STUDIES", folder.parent / "STUDIES")
    for name in ("MVTEC", "OTHER_SET"):
        write_tiny_set(folder / name)
    shutil.copy(
        folder / "models/headclip-mini.checkpoint.safetensors",
        folder / "models/headclip-vitl14.safetensors",
    )
    (folder / "eval").mkdir()
    shutil.copy(SCHEMA_FILE, folder / "eval/schema.json")
    return Readme(folder, tmp_path_factory.mktemp("temporary"))


def test_every_command_of_the_readme_is_expected_once() -> None:
    found = [[key for key in LEAVES if re.search(key, command)] for _, command in COMMANDS]
    assert sorted(found) == sorted([key] for key in LEAVES)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_a_command_of_the_readme_leaves_what_it_says(number: int, readme: Readme) -> None:
    readme.work_to(number)
    _, command = COMMANDS[number]
    (wanted,) = (names for key, names in LEAVES.items() if re.search(key, command))
    for name in wanted:
        assert any(Path(new).match(name) for new in readme.new[number]), (name, readme.new[number])
    if not re.search(r"dataset_dir", command):
        assert readme.new[number] == set(wanted)
    for key, check in CHECKS.items():
        if re.search(key, command):
            check(readme)


def trained_on(readme: Readme) -> None:
    checkpoint = read_checkpoint(readme.folder / "models/trained/headclip.safetensors")
    assert len(checkpoint.training["losses"]) == 20


def tracked(readme: Readme) -> None:
    with sqlite3.connect(readme.folder / "eval/mlruns.db") as database:
        runs = database.execute("select name, status from runs").fetchall()
        metrics = database.execute("select distinct key from metrics").fetchall()
    assert len({name for name, _ in runs}) == 2
    assert {state for _, state in runs} == {"FINISHED"}
    assert {"train_loss", "loss", "pixels/AUROC"} <= {key for (key,) in metrics}


def scripted(readme: Readme) -> None:
    network = ScreeningNetwork()
    exported = torch.jit.load(readme.folder / "models/model.ts")  # type: ignore[no-untyped-call]
    for size in ((3, 3, 112, 112), (2, 3, 150, 90)):
        images = torch.rand(size, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(exported(images), network(images), atol=1e-5, rtol=0)


def in_onnx(readme: Readme) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        readme.folder / "models/model.onnx", providers=["CPUExecutionProvider"]
    )
    network = ScreeningNetwork()
    for count in (1, 5):
        images = torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(count))
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), network(images), atol=1e-4, rtol=0)
    assert [path.name for path in readme.temporary.rglob("*.data")] == []


def verified(readme: Readme) -> None:
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    del metadata["network_data_format"]["outputs"]["pred"]["num_channels"]
    broken = readme.temporary / "metadata.json"
    broken.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(broken), filepath=readme.folder / "eval/schema.json")
    broken.unlink()


CHECKS: dict[str, Callable[[Readme], None]] = {
    r"--resume True": trained_on,
    r"--tracking configs": tracked,
    r"ckpt_export": scripted,
    r"onnx_export": in_onnx,
    r"verify_metadata": verified,
}
"""What else shall be true after a command."""
