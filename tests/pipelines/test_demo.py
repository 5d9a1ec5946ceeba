"""The demonstration and the embedded model: offline, valid, and where the lesion really is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import torch
from safetensors import safe_open

from headclip_med import load_model
from headclip_med.cli import main
from headclip_med.cli.screen import DEMO_SLICES
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.clip.loading import EMBEDDED_PATH
from headclip_med.models.header import MODELS, checkpoint_of
from headclip_med.pipelines import demo
from headclip_med.pipelines.demo import Demonstration, demonstrate, phantom_grid
from headclip_med.prediction import Prediction
from headclip_med.settings import TrainSettings
from headclip_med.synthetic.development import development_volume
from research.mini.make import COMPARED_EXAMPLES, ProceduralExamples, learn_compared, learn_headclip
from tests.bright import BrightModel, stand_in

EMBEDDED_CHECKPOINT = MODELS / "headclip-mini.checkpoint.safetensors"

LARGEST_FILE_BYTES, LARGEST_SUM_BYTES = 25_000_000, 30_000_000


def test_the_embedded_files_are_small_and_say_what_they_are() -> None:
    sizes = [path.stat().st_size for path in (EMBEDDED_PATH, EMBEDDED_CHECKPOINT)]
    assert max(sizes) < LARGEST_FILE_BYTES
    assert sum(sizes) < LARGEST_SUM_BYTES
    with safe_open(EMBEDDED_PATH, framework="pt") as file:
        assert file.metadata()["activation"] == "gelu"
        assert json.loads(file.metadata()["training"])["seed"]
    about = load_model().describe()
    assert about["name"] == "headclip-mini"
    assert "procedural" in about["training"]["data"]["name"]  # type: ignore[index]


def test_the_embedded_model_is_loaded_quickly() -> None:
    started = time.process_time()  # a busy machine is not the model's fault
    load_model(device="cpu")
    assert time.process_time() - started < 3


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demonstration, Path]:
    out = tmp_path_factory.mktemp("demo")
    return demonstrate(load_model(device="cpu"), out), out


def test_all_studies_are_screened_by_the_embedded_model(shown: tuple[Demonstration, Path]) -> None:
    demonstration, _ = shown
    assert not demonstration.batch.failures
    assert sorted(str(row.modality) for row in demonstration.batch.rows) == ["CT", "CT", "MR"]
    assert [row.modality for row in demonstration.drawn] == ["CT", "MR"]
    assert sum(len(row.slice_scores) for row in demonstration.batch.rows) == DEMO_SLICES
    assert len({row.study_instance_uid for row in demonstration.batch.rows}) == 3


def test_the_embedded_model_points_at_the_known_lesion(shown: tuple[Demonstration, Path]) -> None:
    lesion = shown[0].lesions[0]
    assert lesion.auroc > 0.9
    assert lesion.volume_mm3 > 1000


def test_the_command_prints_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for key in ("page", "overlay"):
        assert Path(printed[key]).is_file()
    assert Path(printed["mr"]["overlay"]).is_file()
    for one in (printed, printed["mr"]):
        assert 0 <= one["known_lesion"]["dice"] <= 1


def test_a_lesion_that_is_seen_comes_back_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model that cannot miss it: from the SEG and from the heatmap, in patient mm."""
    phantom = development_volume(demo.CT_SEED, demo.CT_KIND)
    bright = np.where(phantom.lesion, 80.0, 0.0)  # white in the brain window, on black
    shown = type(phantom)(bright, phantom.lesion, phantom.brain, phantom.kind)
    monkeypatch.setattr(demo, "development_volume", lambda seed, kind: shown)
    found = demonstrate(BrightModel(image_size=112, threshold=0.5), tmp_path)
    lesion, row = found.lesions[0], found.drawn[0]
    assert lesion.auroc > 0.999
    assert lesion.dice > 0.95
    assert lesion.first_distance_mm is not None
    assert lesion.first_distance_mm < 1.0

    grid = phantom_grid(phantom)
    truth_lps_mm = grid.to_lps_mm(np.argwhere(phantom.lesion).astype(float))
    points = seg_points_lps_mm(tmp_path / "results" / row.folder / row.outputs["seg"])
    assert np.abs(points.mean(axis=0) - truth_lps_mm.mean(axis=0)).max() < 1.0
    assert np.abs(points.min(axis=0) - truth_lps_mm.min(axis=0)).max() < 2.1  # one pixel
    assert np.abs(points.max(axis=0) - truth_lps_mm.max(axis=0)).max() < 2.1


def seg_points_lps_mm(path: Path) -> np.ndarray:
    """Voxel centres of all segments, by each frame's own position."""
    seg = hd.seg.segread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    across, down = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    points = []
    frames = np.atleast_3d(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    for groups, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        rows, columns = np.nonzero(frame)
        points.append(
            origin + rows[:, None] * row_mm * np.array(down, dtype=float)
            + columns[:, None] * column_mm * np.array(across, dtype=float)
        )  # fmt: skip
    return np.concatenate(points)


def test_headclip_is_learned_on_the_embedded_backbone(tmp_path: Path) -> None:
    checkpoint = learn_headclip(
        EMBEDDED_PATH, tmp_path, count=8, settings=TrainSettings(epochs=1, batch_size=4)
    )
    about = load_model(checkpoint, device="cpu").describe()
    embedded = load_model(device="cpu").describe()
    assert about["backbone"]["digest"] == embedded["backbone"]["digest"]  # type: ignore[index]
    one = ProceduralExamples(1, 8, 112)[0]
    assert one.image.shape == (3, 112, 112)
    assert 0 <= float(one.image.min()) <= float(one.image.max()) <= 1


@pytest.mark.parametrize("method", ["anomalyclip", "adaclip"])
def test_the_compared_methods_are_learned_on_it_as_published(method: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(learn_compared(EMBEDDED_PATH, tmp_path, method, count=2))
    shipped = read_checkpoint(checkpoint_of("headclip-mini", method))
    assert checkpoint.method == shipped.method == method
    assert checkpoint.backbone == shipped.backbone
    assert checkpoint.settings == shipped.settings
    assert checkpoint.scores == shipped.scores
    assert checkpoint.training["settings"] == shipped.training["settings"]
    assert shipped.training["data"]["images"] == COMPARED_EXAMPLES


def test_a_demonstration_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(BrightModel):
        def predict(self, images: torch.Tensor) -> Prediction:
            raise torch.OutOfMemoryError

    stand_in(monkeypatch, lambda: Full(image_size=112))
    assert main(["demo", "--out", str(tmp_path), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("headclip: The device ran out of memory")
    assert "smaller batch_size" in told
    assert told.count("\n") == 1
