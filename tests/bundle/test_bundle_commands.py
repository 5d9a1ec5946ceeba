"""The bundle's checks, and its commands from another folder than its own, mistakes included."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle.scripts import download
from pydicom.dataset import Dataset

from headclip_med.cli.main import main
from headclip_med.pipelines.bundle.folder import BUNDLE, CONFIGS, write_bundle
from headclip_med.pipelines.bundle.verify import metadata_problems, verify_bundle, write_tiny_set
from tests.phantoms import edit, write_phantom

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("copy") / "headclip_lesion_segmentation")


def monai(cwd: Path, *arguments: str) -> tuple[int, str]:
    """Run ``python -m monai.bundle`` elsewhere than in the bundle: exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", *arguments], cwd=cwd, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_metadata_is_as_monai_wants_it() -> None:
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata_problems(metadata) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": "9.9.9"}, "changelog"),
        ({"task": None}, "'task' is a required property"),
        ({"monai_version": "newest"}, "monai_version"),
        ({"network_data_format": {"inputs": {}}}, "network_data_format.inputs"),
        ({"network_data_format": {"inputs": {"image": {}}}}, "'dtype' is a required property"),
        (
            {"network_data_format": {"inputs": {"image": {"spatial_shape": ["x"]}}}},
            "'x' is not valid",
        ),
        ({"network_data_format": {"inputs": {"image": []}}}, "[] is not of type 'number'"),
        ({"latent_data_format": {"inputs": {"z": 1}}}, "'outputs' is a required property"),
        ({"eval_metrics": [0.9]}, "$.eval_metrics: [0.9] is not of type 'object'"),
        ({"references": "a paper"}, "$.references"),
    ],
)
def test_wrong_metadata_is_told(change: dict[str, object], problem: str) -> None:
    metadata = {**json.loads((CONFIGS / "metadata.json").read_text()), **change}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    assert problem in " ".join(metadata_problems(metadata))


def test_a_copy_has_all_parts_and_is_never_written_over(bundle: Path) -> None:
    for path in BUNDLE.rglob("*.json"):
        assert (bundle / path.relative_to(BUNDLE)).read_bytes() == path.read_bytes()
    assert (bundle / "models/model.pt").stat().st_size < 25_000_000
    before = sorted(bundle.rglob("*"))
    assert main(["bundle", "init", str(bundle)]) == 2
    assert sorted(bundle.rglob("*")) == before


def test_a_damaged_bundle_fails_with_what_to_do(bundle: Path, tmp_path: Path) -> None:
    copy = write_bundle(tmp_path / "b")
    (copy / "LICENSE").unlink()
    (copy / "models/model.pt").write_bytes(b"no weights")
    checks = {}
    for check in verify_bundle(copy):
        checks[check.name] = check
        if check.name == "weights, tensors only":
            break
    assert checks["required files"].state == "failed"
    assert "LICENSE" in checks["required files"].what_to_do
    assert checks["metadata"].state == "ok"
    assert checks["weights, tensors only"].state == "failed"


@pytest.mark.filterwarnings("ignore:No hash value provided")  # the zoo's own list has them
def test_the_archive_is_what_monai_s_download_unpacks(bundle: Path, tmp_path: Path) -> None:
    left = bundle / "eval/left.json"
    left.parent.mkdir()
    left.write_text("{}")
    assert main(["bundle", "zip", str(bundle)]) == 0
    version = json.loads((bundle / "configs/metadata.json").read_text())["version"]
    archive = bundle.with_name(f"{bundle.name}_v{version}.zip")
    download(name=bundle.name, url=archive.as_uri(), bundle_dir=str(tmp_path), progress=False)
    found = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.suffix != ".zip"}
    own = (path for path in bundle.rglob("*") if "eval" not in path.parts)
    kept = {path.relative_to(bundle.parent) for path in own}
    assert found == {*kept, Path(bundle.name)}
    for path in kept:
        if (tmp_path / path).is_file():
            assert (tmp_path / path).read_bytes() == (bundle.parent / path).read_bytes()
    first = archive.read_bytes()
    assert main(["bundle", "zip", str(bundle)]) == 2  # never over another
    archive.unlink()
    shutil.rmtree(left.parent)
    assert main(["bundle", "zip", str(bundle)]) == 0
    assert archive.read_bytes() == first
    archive.unlink()


def test_what_is_no_bundle_is_not_packed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "zip", str(tmp_path)]) == 2
    assert "no bundle" in capsys.readouterr().err


@pytest.mark.slow
def test_every_check_of_the_zoo_passes_and_nothing_is_left(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(bundle.rglob("*"))
    checks = list(verify_bundle(bundle))
    assert [check for check in checks if check.state == "failed"] == []
    states = {check.name: check.state for check in checks}
    assert (states["export to ONNX"], states["export to TorchScript"]) == ("ok", "ok")
    assert sorted(bundle.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".data")] == []


@pytest.mark.slow
def test_inference_runs_from_any_folder(bundle: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "in")
    code, said = monai(
        tmp_path, "run", "--config_file", str(bundle / "configs/inference.json"),
        "--dataset_dir", "in", "--output_dir", "out",
    )  # fmt: skip
    assert code == 0, said
    assert len(list((tmp_path / "out").glob("*/*/heatmap.nii.gz"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "arguments", "code", "sentence"),
    [
        ("inference", ("--dataset_dir", "nowhere"), 1, "dataset_dir does not exist"),
        ("inference", ("--dataset_dir", "empty"), 1, "dataset_dir holds no image"),
        ("inference", ("--dataset_dir", "refused"), 1, "claims rows or columns outside"),
        ("inference", ("--dataset_dir", "in", "--ovrlap", "0.2"), 2, "Did you mean 'overlap'"),
        ("inference", ("--dataset_dir", "in", "--window", "brian"), 2, "window is not known"),
        ("inference", ("--dataset_dir", "in", "--model", "none.safetensors"), 1, "no checkpoint"),
        ("inference", ("--dataset_dir", "in", "--device", "warp"), 2, "'warp' cannot be used here"),
        ("train", ("--dataset_dir", "nowhere"), 1, "nowhere"),
        ("train evaluate", ("--dataset_dir", "set", "--ckpt_dir", "none"), 1, "no checkpoint"),
    ],
)
def test_mistakes_end_with_a_sentence_and_an_exit_code(
    files: str, arguments: tuple[str, ...], code: int, sentence: str, bundle: Path, tmp_path: Path
) -> None:
    write_phantom(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    edit(write_phantom(tmp_path / "refused"), to_no_rows)
    write_tiny_set(tmp_path / "set")
    configs = [str(bundle / f"configs/{name}.json") for name in files.split()]
    found, said = monai(
        tmp_path, "run", "--config_file", str(configs), *arguments, "--output_dir", "out"
    )
    assert (found, sentence in said, "Traceback" in said) == (code, True, False), said
    assert not list(tmp_path.glob("out/*/*/result.json"))


def to_no_rows(dataset: Dataset, index: int) -> None:
    dataset.Rows = 0


@pytest.mark.slow
def test_a_batch_with_a_bad_study_ends_with_3(bundle: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "in/good")
    (tmp_path / "in/broken.nii.gz").write_bytes(b"no gzip")
    configs = [
        str(bundle / "configs" / name) for name in ("inference.json", "batch_inference.json")
    ]
    code, said = monai(
        tmp_path, "run", "--config_file", str(configs), "--dataset_dir", "in", "--output_dir", "out"
    )
    assert code == 3, said
    assert json.loads((tmp_path / "out/summary.json").read_text())["screened"] == 1
