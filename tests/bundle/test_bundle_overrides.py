"""Each override that people use takes effect, and Python opens the bundle from any folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from traceback import format_exception
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle.scripts import create_workflow, load
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from headclip_med.errors import InvalidSettings
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.clip import hub, loading
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.pipelines.bundle import ScreeningNetwork, network, start
from headclip_med.pipelines.bundle.folder import BUNDLE, CONFIGS, write_bundle
from headclip_med.settings import ScoreSettings
from tests import tiny
from tests.phantoms import make_grid, write_phantom

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")

NAME = "ViT-L-14-336"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_phantom(folder, make_grid(shape=(3, 150, 130)))
    return folder


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Give the shapes of the batches that a network is asked about."""
    shapes: list[tuple[int, ...]] = []
    whole = network.predict

    def seen(model: Any, images: Tensor) -> Tensor:
        shapes.append(tuple(images.shape))
        return whole(model, images)

    monkeypatch.setattr(network, "predict", seen)
    return shapes


def run(study: Path, out: Path, *files: str, **override: Any) -> dict[str, Any]:
    """Run the inference configuration, and give the result file's content."""
    workflow = create_workflow(
        config_file=[str(CONFIGS / file) for file in ("inference.json", *files)],
        workflow_type="infer", logging_file=False, dataset_dir=str(study), output_dir=str(out),
        **override,
    )  # fmt: skip
    workflow.run()
    (path,) = out.glob("*/*/result.json")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ({"window": "bone"}, ("input", "window", "name"), "bone"),
        ({"window": (40, 80)}, ("settings", "window"), "40,80"),
        ({"crop": "none"}, ("settings", "crop"), "none"),
        ({"method": "winclip"}, ("model", "method"), "winclip"),
        ({"method": "anomalyclip"}, ("model", "method"), "anomalyclip"),
        ({"precision": "bf16"}, ("model", "precision"), "bf16"),
        ({"threshold": 0.125}, ("threshold",), 0.125),
        ({"r": 0.75}, ("model", "scores", "joint_weight"), 0.75),
        ({"k": 7.0}, ("model", "scores", "top_percent"), 7.0),
        ({"sigma": 9.0}, ("model", "scores", "sigma_px"), 9.0),
        ({"minimum_size": 5.0}, ("settings", "minimum_size"), 5.0),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, dict) else "",
)
def test_an_override_stands_in_the_result(
    override: dict[str, Any], place: tuple[str, ...], value: object, study: Path, tmp_path: Path
) -> None:
    usual, found = run(study, tmp_path / "a"), run(study, tmp_path / "b", **override)
    for key in place:
        usual, found = usual[key], found[key]
    assert found == value
    assert usual != value


@pytest.mark.parametrize("outputs", ["heatmap", "heatmap,overlay", ("heatmap", "overlay")])
def test_only_the_outputs_that_are_named_are_written(
    outputs: str | tuple[str, ...], study: Path, tmp_path: Path
) -> None:
    result = run(study, tmp_path, outputs=outputs)
    named = outputs.split(",") if isinstance(outputs, str) else outputs
    assert set(result["outputs"]) == {"result", *named}
    assert {path.name.split(".")[0] for path in tmp_path.glob("*/*/*")} == set(result["outputs"])


def test_an_output_that_is_unknown_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as raised:
        run(study, tmp_path, outputs="heatmap,hetmap")
    assert "hetmap" in "".join(format_exception(raised.value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("override", [{"r": 1.0}, {"k": 40.0}, {"sigma": 20.0}])
def test_how_maps_become_scores_changes_the_score(override: dict[str, Any], tmp_path: Path) -> None:
    rows, columns = np.mgrid[:112, :112]
    picture = np.where(np.hypot((rows - 56) / 48, (columns - 56) / 38) < 1, 250.0, 0.0)  # a skull
    brain = np.hypot((rows - 56) / 43, (columns - 56) / 33) < 1
    picture[brain] = np.random.default_rng(1).normal(110, 5, brain.sum())
    picture[np.hypot(rows - 45, columns - 66) < 9.5] = 190  # a bleeding
    study = tmp_path / "study"
    study.mkdir()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(study / "spot.png")
    usual, found = run(study, tmp_path / "a"), run(study, tmp_path / "b", **override)
    assert abs(found["score"] - usual["score"]) > 1e-4


def test_the_batch_size_is_what_the_network_gets(
    study: Path, tmp_path: Path, batches: list[tuple[int, ...]]
) -> None:
    run(study, tmp_path, batch_size=2)
    assert [shape[0] for shape in batches] == [2, 1]


def test_more_overlap_is_more_windows(
    study: Path, tmp_path: Path, batches: list[tuple[int, ...]]
) -> None:
    counts = []
    for overlap in (0.0, 0.75):
        batches.clear()
        run(study, tmp_path / str(overlap), tiling="windows", crop="none", overlap=overlap)
        assert {shape[2:] for shape in batches} == {(112, 112)}
        counts.append(sum(shape[0] for shape in batches))
    # Per slice: 150 x 130 by 112 is two windows each way; steps of 28 px make it 3 and 2.
    assert counts == [3 * 4, 3 * 6]


def test_the_device_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    config = str(CONFIGS / "inference.json")
    options = {"config_file": config, "workflow_type": "infer", "logging_file": False}
    with pytest.raises(RuntimeError) as raised:
        create_workflow(**options)
    assert "'cuda:0' cannot be used here" in "".join(format_exception(raised.value))
    named = create_workflow(**options, device="cpu")
    assert {one.device.type for one in named.parser.get_parsed_content("network").buffers()} == {
        "cpu"
    }


def test_a_device_that_is_not_here_is_refused_with_a_sentence() -> None:
    start(torch.device("cpu"))
    with pytest.raises(InvalidSettings, match="'warp:3' cannot be used here"):
        start("warp:3")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Write random weights of a tiny model that goes by the name of ViT-L/14, and a checkpoint."""
    monkeypatch.setattr(hub, "registry_config", lambda name: tiny.CONFIG)
    files = {}
    for seed in (1, 2):
        towers = tiny.backbone(seed, quick_gelu=True)
        state = {key: value.contiguous() for key, value in towers.clip.state_dict().items()}
        files[f"seed {seed}"] = tmp_path / f"clip{seed}.safetensors"
        save_file(state, files[f"seed {seed}"])
    towers = loading.load_backbone(NAME, weights=files["seed 1"], activation="quickgelu")
    learned = HeadClip(towers, HeadClipSettings(local_layers=(2, 3)), seed=3)
    files["checkpoint"] = tmp_path / "models/headclip-vitl14.safetensors"
    files["checkpoint"].parent.mkdir()
    scores = ScoreSettings(sigma_px=4.0)
    write_checkpoint(files["checkpoint"], learned, scores=scores, threshold=0.5, training={})
    return files


def test_backbone_and_weights_are_those_that_are_named(
    study: Path, tmp_path: Path, weights: dict[str, Path]
) -> None:
    found = [
        run(
            study, tmp_path / name, method="winclip", backbone=NAME, activation="quickgelu",
            weights=str(weights[name]),
        )["model"]["backbone"]
        for name in ("seed 1", "seed 2")
    ]  # fmt: skip
    assert [one["name"] for one in found] == [NAME, NAME]
    assert found[0]["digest"] != found[1]["digest"]


@pytest.mark.usefixtures("quick_bf16")
def test_the_configuration_for_vit_l_takes_a_checkpoint_and_its_weights(
    study: Path, tmp_path: Path, weights: dict[str, Path], batches: list[tuple[int, ...]]
) -> None:
    result = run(
        study, tmp_path / "out", "inference_vitl14.json",
        bundle_root=str(tmp_path), weights=str(weights["seed 1"]), batch_size=2,
    )  # fmt: skip
    assert result["model"]["backbone"]["name"] == NAME
    assert (result["model"]["method"], result["model"]["precision"]) == ("headclip", "bf16")
    assert [shape[0] for shape in batches] == [2, 1]


def test_bundle_and_workflow_open_from_any_folder(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "somewhere/headclip_lesion_segmentation")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.copytree(study, "STUDY")
    images = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    for place in ("../somewhere", str(bundle.parent)):
        opened = load(
            bundle.name, bundle_dir=place, workflow_type="inference", device="cpu",
            net_override={"sigma": 9.0},
        )  # fmt: skip
        assert isinstance(opened, ScreeningNetwork)
        assert opened.model.scores.sigma_px == 9.0
        torch.testing.assert_close(opened(images), ScreeningNetwork(sigma=9.0)(images))
    workflow = create_workflow(
        config_file=f"../somewhere/{bundle.name}/configs/inference.json", workflow_type="infer",
        logging_file=False, dataset_dir="STUDY", output_dir="OUT",
    )  # fmt: skip
    workflow.run()
    assert len(list(Path("OUT").glob("*/*/result.json"))) == 1
    assert sorted(path.name for path in BUNDLE.iterdir()) == sorted(
        path.name for path in bundle.iterdir()
    )
