"""From a folder in MVTec AD's layout to a checkpoint that screens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headclip_med import load_model
from headclip_med.cli import main
from headclip_med.datasets import open_dataset
from headclip_med.evaluation.examples import Examples, resize_mask
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.registry import learning_of


def mvtec_folder(root: Path, *, categories: tuple[str, ...] = ("nut", "tile")) -> Path:
    """Grey squares; ``scratch`` images have a white bar that the mask marks."""
    for category in categories:
        for folder in ("train/good", "test/good", "test/scratch", "ground_truth/scratch"):
            (root / category / folder).mkdir(parents=True)
        for number in range(3):
            grey = np.full((40, 60, 3), 90 + number, dtype=np.uint8)
            name = f"{number:03d}.png"
            Image.fromarray(grey - 40).save(root / category / "train/good" / name)
            Image.fromarray(grey).save(root / category / "test/good" / name)
            grey[10:20, 30:60] = 255
            Image.fromarray(grey).save(root / category / "test/scratch" / name)
            mask = np.zeros((40, 60), dtype=np.uint8)
            mask[10:20, 30:60] = 255
            place = root / category / "ground_truth/scratch" / f"{number:03d}_mask.png"
            Image.fromarray(mask).save(place)
    return root


def test_examples_are_the_test_split_with_masks(tmp_path: Path) -> None:
    examples = Examples(open_dataset(f"mvtec:{mvtec_folder(tmp_path)}"), 20)
    assert len(examples) == 12
    labels = [example.label for example in examples]  # type: ignore[attr-defined]
    assert sum(labels) == 6
    abnormal = examples[labels.index(1)]
    assert abnormal.image.shape == (3, 20, 20)
    expected = torch.zeros(20, 20)
    expected[5:10, 10:] = 1  # halved in height, a third of the width
    torch.testing.assert_close(abnormal.mask, expected)
    healthy = examples[labels.index(0)]
    assert not healthy.mask.any()
    assert float(healthy.image[0].mean()) == pytest.approx(90 / 255, abs=0.01)


def test_masks_are_cut_at_one_half() -> None:
    left = np.zeros((4, 4), dtype=bool)
    left[:, :2] = True
    assert resize_mask(left, 2).tolist() == [[True, False], [True, False]]
    speck = np.zeros((8, 8), dtype=bool)
    speck[3, 3] = True
    assert not resize_mask(speck, 2).any()


def test_a_trained_checkpoint_screens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = mvtec_folder(tmp_path / "data"), tmp_path / "run"
    arguments = ["train", "--data", f"mvtec:{data}", "--out", str(out), "--set", "local_layers=4-6",
                 "--epochs", "2", "--batch-size", "4", "--device", "cpu", "--json",
                 "--no-tracking"]  # fmt: skip
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    checkpoint = read_checkpoint(Path(printed["checkpoint"]))
    assert checkpoint.threshold == printed["threshold"]
    assert checkpoint.training["data"]["digest"] == open_dataset(f"mvtec:{data}").content_digest
    assert str(tmp_path) not in json.dumps(dict(checkpoint.training))
    assert load_model(printed["checkpoint"], device="cpu").image_size == 112
    screened = ["screen", str(data / "nut/test/scratch"), "--out", str(tmp_path / "results"),
                "--model", printed["checkpoint"], "--device", "cpu"]  # fmt: skip
    assert main(screened) == 0
    assert len(list((tmp_path / "results").glob("*/*/result.json"))) == 3

    assert main(arguments) == 2, "a finished training is never overwritten"
    capsys.readouterr()
    longer = [one if one != "2" else "3" for one in arguments]
    assert main([*longer, "--resume"]) == 0
    losses = json.loads(capsys.readouterr().out)["losses"]
    assert len(losses) == 3
    assert main([*arguments, "--from-epoch", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["losses"] == losses[:2]
    assert main([*arguments, "--from-epoch", "9"]) == 2
    assert "no state of epoch 9 (it has 1 to 3)" in capsys.readouterr().out


def test_a_missing_mask_names_its_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = mvtec_folder(tmp_path / "data", categories=("nut",))
    (data / "nut/ground_truth/scratch/001_mask.png").unlink()
    code = main(["train", "--data", f"mvtec:{data}", "--out", str(tmp_path / "run")])
    assert code == 1
    assert "001" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "options"),
    [("anomalyclip", ["--set", "feature_layers=3,6"]), ("adaclip", ["--set", "clusters=4"])],
)
def test_the_compared_methods_are_trained_as_well(
    method: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = mvtec_folder(tmp_path / "data", categories=("nut",))
    arguments = ["train", "--method", method, "--data", f"mvtec:{data}", "--epochs", "1",
                 "--batch-size", "4", "--device", "cpu", "--json", *options]  # fmt: skip
    assert main([*arguments, "--out", str(tmp_path / "run"), "--no-tracking"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed["checkpoint"]).name == f"{method}.safetensors"
    checkpoint = read_checkpoint(Path(printed["checkpoint"]))
    assert checkpoint.method == method
    assert checkpoint.scores.global_weight == 1
    assert 0 <= checkpoint.threshold <= 1
    asked = (3, 6) if method == "anomalyclip" else 4
    assert asked in (checkpoint.settings.get("feature_layers"),
                     checkpoint.settings.get("clusters"))  # fmt: skip
    loaded = load_model(printed["checkpoint"], device="cpu")
    assert loaded.describe()["method"] == method
    image, results = data / "nut/test/scratch/000.png", tmp_path / "results"
    screened = ["screen", str(image), "--out", str(results),
                "--model", printed["checkpoint"], "--device", "cpu"]  # fmt: skip
    assert main(screened) == 0
    published = learning_of(method).settings
    assert checkpoint.training["settings"]["learning_rate"] == published.learning_rate


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        (["--method", "winclip"], "winclip needs no training"),
        (["--method", "anovl"], "anovl needs no training"),
        (["--method", "padim"], "There is no method 'padim'"),
        (["--method", "anomalyclip", "--set", "clusters=3"], "It is adaclip's, and anomalyclip"),
        (["--set", "fusion=yes"], "It is adaclip's, and headclip has none like it"),
        (["--method", "adaclip", "--set", "feature_layers=99"], "Layer 99 lies beyond"),
    ],
)
def test_a_method_asked_for_what_it_lacks_says_so_in_one_line(
    options: list[str], saying: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = mvtec_folder(tmp_path / "data", categories=("nut",)), tmp_path / "run"
    arguments = ["train", "--data", f"mvtec:{data}", "--out", str(out), "--no-tracking"]
    assert main([*arguments, *options]) == 2
    error = capsys.readouterr().err
    assert saying in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_kept_features_change_nothing_and_several_sets_are_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = []
    for cache in ("none", "ram", str(tmp_path / "kept")):
        folder = tmp_path / f"run{len(losses)}"
        arguments = ["train", "--epochs", "2", "--batch-size", "4", "--device", "cpu", "--json",
                     "--cache", cache, "--out", str(folder), "--no-tracking"]  # fmt: skip
        for category in ("nut", "plate"):
            data = tmp_path / category
            if not data.exists():
                mvtec_folder(data, categories=(category,))
            arguments += ["--data", f"mvtec:{data}"]
        assert main(arguments) == 0
        losses.append(json.loads(capsys.readouterr().out)["losses"])
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    assert losses[2] == pytest.approx(losses[0], abs=1e-6)
    assert list((tmp_path / "kept").glob("features-*/layers"))


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ([], "Nothing to train on"),
        (["--protocol", "visa-to-mvtec"], "--protocol needs --data-root"),
        (["--protocol", "all-to-all", "--data-root", "."], "There is no protocol all-to-all"),
        (["--protocol", "visa-to-mvtec", "--data-root", "."], "It needs VisA"),
    ],
)
def test_what_is_trained_on_must_be_there(
    options: list[str],
    saying: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options, "--out", "run"]) == 2
    printed = capsys.readouterr().err
    assert saying in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        (["--cache", "ram", "--cache-limit-gb", "0"], "above --cache-limit-gb 0"),
        (["--method", "adaclip", "--cache", "ram"], "cached for headclip only"),
    ],
)
def test_a_cache_that_cannot_be_had_is_refused(
    options: list[str], saying: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = mvtec_folder(tmp_path / "data", categories=("nut",))
    place = ["--data", f"mvtec:{data}", "--out", str(tmp_path / "run")]
    assert main(["train", *place, "--no-tracking", *options]) == 2
    assert saying in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_set_without_a_healthy_pixel_is_refused_before_anything_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("images", 90), ("masks", 255)):
        (tmp_path / "all" / name).mkdir(parents=True)
        for number in range(2):
            even = np.full((32, 32), value, dtype=np.uint8)
            Image.fromarray(even).save(tmp_path / "all" / name / f"{number}.png")
    place = ["--data", f"folder:{tmp_path / 'all'}", "--out", str(tmp_path / "run")]
    assert main(["train", *place, "--no-tracking", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["code"] == "no-healthy-pixels"
    assert not (tmp_path / "run/headclip.safetensors").exists()
