"""The bundle's training, evaluation and tracking, in this process, on a set of four pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from monai.bundle.scripts import create_workflow

from headclip_med.datasets import open_dataset
from headclip_med.errors import HeadClipError
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.loading import load_model
from headclip_med.pipelines.bundle import unique_run_name
from headclip_med.pipelines.bundle.folder import CONFIGS
from headclip_med.pipelines.bundle.verify import write_tiny_set
from headclip_med.training.handlers import LossHistory
from tests.evaluating import evaluate_dataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),  # of MLflow's tables
    # MLflow's store opens its database anew, and leaves it to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHECKPOINT = "headclip.safetensors"


def workflow(*files: str, **override: Any) -> Any:
    return create_workflow(
        config_file=[str(CONFIGS / file) for file in files], workflow_type="train",
        logging_file=False, device="cpu", batch_size=2, **override,
    )  # fmt: skip


def train(folder: Path, data: Path, *, epochs: int = 2, **override: Any) -> Any:
    made = workflow(
        "train.json", dataset_dir=str(data), output_dir=f"{folder}/eval", ckpt_dir=str(folder),
        epochs=epochs, **override,
    )  # fmt: skip
    made.run()
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, data)
    return folder


@pytest.fixture(autouse=True)
def _own_tracking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_training_leaves_a_checkpoint_that_loads_anywhere(trained: Path) -> None:
    checkpoint = read_checkpoint(trained / CHECKPOINT)
    assert len(checkpoint.training["losses"]) == 2
    assert checkpoint.training["data"]["images"] == 4
    model = load_model(trained / CHECKPOINT, device="cpu")
    assert model.predict(torch.rand(1, 3, 112, 112)).map.shape == (1, 112, 112)


def test_a_resumed_training_ends_where_an_unbroken_one_does(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    train(tmp_path, data, epochs=1)
    train(tmp_path, data, epochs=2, resume=True)
    whole, parts = (read_checkpoint(one / CHECKPOINT) for one in (trained, tmp_path))
    for name, value in whole.learned.items():
        torch.testing.assert_close(parts.learned[name], value)


def test_a_finished_training_is_never_overwritten(trained: Path, data: Path) -> None:
    before = (trained / CHECKPOINT).read_bytes()
    with pytest.raises(RuntimeError) as raised:
        train(trained, data)
    assert "already holds a trained checkpoint" in sentence(raised.value)
    assert (trained / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_nothing_is_resumed_from_a_state_that_cannot_be_read(
    damage: str, trained: Path, data: Path, tmp_path: Path
) -> None:
    if damage == "cut short":
        whole = (trained / "training-state.pt").read_bytes()
        (tmp_path / "training-state.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError) as raised:
        train(tmp_path, data, resume=True)
    assert "missing or damaged" in sentence(raised.value)


def test_a_training_is_not_resumed_with_other_settings(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    copytree(trained, tmp_path, dirs_exist_ok=True)
    with pytest.raises(RuntimeError) as raised:
        train(tmp_path, data, epochs=3, resume=True, learning_rate=0.5)
    assert "started with other settings" in sentence(raised.value)


def sentence(error: BaseException) -> str:
    while error.__cause__ is not None and not isinstance(error, HeadClipError):
        error = error.__cause__
    return str(error)


def test_evaluation_gives_the_metrics_of_the_evaluate_command(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    made = workflow(
        "train.json", "evaluate.json", dataset_dir=str(data), output_dir=str(tmp_path),
        ckpt_dir=str(trained),
    )  # fmt: skip
    made.run()
    found = made.evaluator.state.metrics
    model = load_model(trained / CHECKPOINT, device="cpu")
    expected = evaluate_dataset(open_dataset(f"mvtec:{data}"), model, intervals=False)
    for row in expected.rows:
        if not row.is_baseline and row.score in ("map", "joint"):
            for name, estimate in row.metrics.items():
                if np.isfinite(estimate.value):
                    assert found[f"{row.level}/{name}"] == pytest.approx(estimate.value, abs=1e-4)
    saved = (tmp_path / "metrics.csv").read_text()
    assert "pixels/AUROC" in saved


def test_every_property_that_monai_asks_for_is_there(data: Path, tmp_path: Path) -> None:
    made = workflow("train.json", dataset_dir=str(data), ckpt_dir=str(tmp_path / "new"))
    assert made.check_properties() == []
    assert made.max_epochs == 15


def test_a_set_that_is_not_there_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as raised:
        train(tmp_path / "out", tmp_path / "nowhere")
    assert "no such folder" in sentence(raised.value).lower() or "folder" in sentence(raised.value)


def runs_of(folder: Path) -> list[Any]:
    client = MlflowClient(f"sqlite:///{folder}/eval/mlruns.db")
    (experiment,) = client.search_experiments(filter_string="name LIKE 'headclip%'")
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.slow
def test_a_tracked_training_has_its_settings_losses_and_validation(
    data: Path, tmp_path: Path
) -> None:
    train(
        tmp_path, data, epochs=2, val_dataset_dir=str(data), run_name="mine",
        tracking=str(CONFIGS / "tracking_mlflow.json"),
    )  # fmt: skip
    (run,) = runs_of(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.info.run_name.startswith("mine-")
    assert run.data.params["batch_size"] == "2"
    assert {"loss", "focal", "pixels/AUROC", "images/AP", "val_metric"} <= set(run.data.metrics)
    artifacts = list((tmp_path / "eval/mlruns").rglob("config_*.json"))
    assert json.loads(artifacts[0].read_text())["epochs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("tracking", ["mlflow", str(CONFIGS / "tracking_mlflow.json")])
def test_a_crashed_run_is_marked_as_failed_and_never_gone_on_with(
    tracking: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LossHistory, "_epoch", _break)
        with pytest.raises(RuntimeError):
            train(tmp_path, data, tracking=tracking, run_name="one")
    train(tmp_path, data, epochs=1, tracking=tracking, run_name="one")
    states = {run.info.run_id: run.info.status for run in runs_of(tmp_path)}
    assert sorted(states.values()) == ["FAILED", "FINISHED"]


def _break(*_: Any) -> None:
    raise OSError("the disk is full")


def test_names_of_runs_are_unique_and_stay_as_they_are() -> None:
    first, second = unique_run_name("train"), unique_run_name("train")
    assert first != second
    assert unique_run_name(first) == first
