"""All methods behind one door: loading, what each lacks, one table, and what they are told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from headclip_med import load_model
from headclip_med.cli import main
from headclip_med.content import ORGANS, ImageContent, content_of_volume
from headclip_med.datasets import Dataset, Sample
from headclip_med.datasets.known import content_of_category
from headclip_med.errors import HeadClipError, InvalidSettings, UnusableWeights
from headclip_med.evaluation.models import evaluate_models
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.evaluation.results import side_by_side, to_markdown
from headclip_med.metrics import ranking
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.checkpoint import write_checkpoint
from headclip_med.models.inference import InferenceModel
from headclip_med.models.loading import LoadedMethods, load_models, move_together
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.models.registry import METHODS
from headclip_med.models.request import ModelRequest
from headclip_med.models.winclip.model import WinClip
from headclip_med.models.winclip.settings import WinClipSettings
from headclip_med.pipelines.evaluate import join_methods
from headclip_med.pipelines.screen import screen
from headclip_med.read.dicom.vocabulary import BODY_PARTS
from headclip_med.settings import ScoreSettings
from headclip_med.volume import SliceSource, Volume
from tests import tiny
from tests.bright import BrightModel
from tests.evaluating import evaluate_dataset
from tests.phantoms import make_grid, make_voxels


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip's registry hold the tiny model, and intervals rest on few draws."""
    look_up = open_clip.get_model_config
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda n: tiny.CONFIG if n == "tiny" else look_up(n)
    )
    monkeypatch.setattr(ranking, "IMAGE_REPEATS", 20)
    monkeypatch.setattr(ranking, "PIXEL_REPEATS", 5)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An AnomalyCLIP on the tiny model."""
    path = tmp_path / "mine.safetensors"
    model = AnomalyClip(tiny.backbone(), AnomalyClipSettings(deep_layers=3))
    write_checkpoint(path, model, scores=ScoreSettings(), threshold=0.5, training={})
    return path


def volume(**known: str) -> Volume:
    sources = (SliceSource(Path("nowhere")),) * 5
    return Volume(make_voxels().astype(np.float32), make_grid(), sources, "dicom", **known)


def pictures(root: Path, *, categories: tuple[str, ...] = ("wood",)) -> Dataset:
    """Two dark and two half bright pictures of each category; the bright half is abnormal."""
    samples = []
    for category in categories:
        for number in range(4):
            pixels = np.full((16, 16), 30 + number, np.uint8)
            mask = np.zeros((16, 16), np.uint8)
            if number % 2:
                pixels[:8] = 200 + number
                mask[:8] = 255
            path = root / f"{category}-{number}.png"
            Image.fromarray(pixels).save(path)
            Image.fromarray(mask).save(path.with_suffix(".mask.png"))
            marked = path.with_suffix(".mask.png") if number % 2 else None
            samples.append(Sample(path, marked, 1 if number % 2 else 0, category))
    return Dataset("mine", tuple(samples), "pixel")


# --- the table of methods --------------------------------------------------------------------


def test_a_method_that_is_trained_says_how_and_the_others_are_built_at_once() -> None:
    assert tuple(METHODS) == ("headclip", "anomalyclip", "adaclip", "winclip", "anovl")
    trained = {name for name, method in METHODS.items() if method.needs_training}
    assert trained == {"headclip", "anomalyclip", "adaclip"}
    for name, method in METHODS.items():
        assert method.name == name
        assert method.needs_training == (method.learning is not None)
        assert all((method.title, method.reference, method.adapts))
        assert method.settings.from_json(method.settings.to_json()) == method.settings


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_loaded_on_any_backbone_for_tests(method: str) -> None:
    model = load_model("tiny", method=method, weights="random", device="cpu")
    assert isinstance(model, AnomalyModel)
    described = model.describe()
    assert (described["method"], described["calibrated"]) == (method, False)
    assert described["backbone"]["digest"] == tiny.backbone().digest  # type: ignore[index]
    assert model.predict(tiny.images()).map.shape == (2, 16, 16)


@pytest.mark.usefixtures("quick_bf16")
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_close(method: str) -> None:
    full, half = (
        load_model("tiny", method=method, weights="random", device="cpu", precision=precision)
        for precision in ("fp32", "bf16")
    )
    images = tiny.images()
    mine, theirs = half.predict(images), full.predict(images)
    assert mine.map.dtype == mine.global_score.dtype == torch.float32
    torch.testing.assert_close(mine.map, theirs.map, atol=0.05, rtol=0)
    torch.testing.assert_close(mine.global_score, theirs.global_score, atol=0.05, rtol=0)


@pytest.mark.parametrize("method", [name for name in METHODS if not METHODS[name].learning])
def test_the_embedded_backbone_serves_methods_without_training(method: str) -> None:
    model = load_model(method=method, device="cpu")
    described = model.describe()
    assert described["name"] == f"{method} on headclip-mini"
    size = model.image_size
    found = model.predict(tiny.images(count=1, size=size))
    assert found.map.shape == (1, size, size)


def test_settings_reach_their_method_only() -> None:
    chosen = WinClipSettings(scales=(2,), class_name="skull")
    model = load_model("tiny", method="winclip", settings=chosen, weights="random", device="cpu")
    assert model.describe()["settings"] == chosen.to_json()
    for method in ("anovl", "headclip", None):
        with pytest.raises(InvalidSettings, match="are not those of"):
            load_model("tiny", method=method, settings=chosen, weights="random", device="cpu")


def test_a_checkpoint_names_its_method_and_no_other_takes_it(checkpoint: Path) -> None:
    for method in (None, "anomalyclip"):
        loaded = load_model(checkpoint, method=method, weights="random", device="cpu")
        assert loaded.describe()["method"] == "anomalyclip"
    with pytest.raises(UnusableWeights, match="a checkpoint of anomalyclip, not of headclip"):
        load_model(checkpoint, method="headclip", weights="random", device="cpu")
    with pytest.raises(UnusableWeights, match=r"winclip needs none. Name the backbone .* tiny"):
        load_model(checkpoint, method="winclip", weights="random", device="cpu")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "tiny", "method": "nearest"}, InvalidSettings, "Choose one of headclip, anomaly"),
        (
            {"name": "headclip-mini", "method": "adaclip"},
            UnusableWeights,
            "AdaCLIP must be trained",
        ),
        ({"name": "RN50", "method": "winclip"}, InvalidSettings, "Choose a native ViT"),
        ({"name": "RN50", "method": "adaclip"}, InvalidSettings, "Choose a native ViT"),
        ({"name": "ViT-L-14-336", "method": "winclip"}, UnusableWeights, "headclip weights fetch"),
    ],
)
def test_what_a_method_lacks_is_said_in_one_line(
    arguments: dict[str, str],
    error: type[HeadClipError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("headclip_med.models.clip.hub.cached_weights", lambda name, tag: None)
    monkeypatch.setattr(
        "headclip_med.models.header.checkpoint_of", lambda name, method: tmp_path / "none"
    )
    with pytest.raises(error, match=message) as raised:
        load_model(**arguments, device="cpu")  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def all_on(name: str, **named: Any) -> LoadedMethods:
    return load_models(ModelRequest(name=name, method="all", device="cpu", **named))


# --- all methods on one backbone -------------------------------------------------------------


def test_all_methods_share_one_backbone_and_judge_as_they_would_alone() -> None:
    loaded = all_on("tiny", weights="random")
    assert tuple(loaded.models) == tuple(METHODS)
    assert loaded.missing == {}
    images, parameters = tiny.images(), []
    for method, model in loaded.models.items():
        alone = load_model("tiny", method=method, weights="random", device="cpu")
        torch.testing.assert_close(model.predict(images).map, alone.predict(images).map)
        assert isinstance(model, InferenceModel)
        parameters.append({id(one) for one in model.vision.parameters()})
    assert all(one == parameters[0] for one in parameters), "weights are there once"


def test_methods_without_a_checkpoint_are_named_with_a_reason(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = all_on(str(checkpoint), weights="random")
    # The backbone's weights are random, so that fresh models stand in for what is not trained.
    assert loaded.models["anomalyclip"].describe()["name"] == "mine"
    nowhere = checkpoint.with_name("none")
    monkeypatch.setattr("headclip_med.models.header.checkpoint_of", lambda name, method: nowhere)
    loaded = all_on("headclip-mini")
    assert set(loaded.models) == {"winclip", "anovl"}
    assert set(loaded.missing) == {"headclip", "anomalyclip", "adaclip"}
    for method, reason in loaded.missing.items():
        assert f"headclip train --method {method} --backbone headclip-mini" in reason
        assert "\n" not in reason


def test_the_embedded_backbone_comes_with_all_methods() -> None:
    loaded = all_on("headclip-mini")
    assert list(loaded.models) == list(METHODS)
    assert not loaded.missing
    for method, model in loaded.models.items():
        assert model.describe()["method"] == method


def test_a_checkpoint_of_another_backbone_is_missing_and_two_of_a_kind_are_refused(
    checkpoint: Path,
) -> None:
    loaded = all_on("tiny", weights="random", seed=1, checkpoints=(checkpoint,))
    assert "trained on tiny" in loaded.missing["anomalyclip"]
    assert "anomalyclip" not in loaded.models
    other = checkpoint.with_name("other.safetensors")
    other.write_bytes(checkpoint.read_bytes())
    with pytest.raises(InvalidSettings, match="two checkpoints of anomalyclip"):
        all_on("tiny", weights="random", checkpoints=(checkpoint, other))


def test_moving_to_another_device_keeps_weights_shared() -> None:
    towers = tiny.backbone()
    models = [WinClip(towers), WinClip(towers, WinClipSettings(implementation="caoyunkang"))]
    move_together(models, torch.device("meta"))
    first, second = (list(model.vision.parameters()) for model in models)
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert {one.device.type for one in first} == {"meta"}


# --- one table -------------------------------------------------------------------------------


def test_models_evaluated_together_are_those_evaluated_alone(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, categories=("wood", "nut"))
    models = list(all_on("tiny", weights="random").models.values())
    together = evaluate_models(dataset, models, EvaluationSettings(batch_size=3))
    for model, found in zip(models, together, strict=True):
        alone = evaluate_dataset(dataset, model, batch_size=3)
        assert [(r.level, r.method, r.score) for r in found.rows] == [
            (r.level, r.method, r.score) for r in alone.rows
        ]
        assert found.to_json() == alone.to_json()


def test_models_of_different_sizes_keep_them(tmp_path: Path) -> None:
    small, large = BrightModel(image_size=8), BrightModel(image_size=16)
    found = evaluate_models(pictures(tmp_path), [large, small, large])
    assert [one.image_size for one in found] == [16, 8, 16]


def test_the_switch_puts_jas_on_every_method(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    models = all_on("tiny", weights="random").models
    for kind in (None, "joint", "global"):
        chosen = {
            name: model
            if kind is None
            else model.with_scores(replace(model.scores, image_score=kind))
            for name, model in models.items()
        }
        found = evaluate_models(dataset, list(chosen.values()))
        table = side_by_side(dict(zip(chosen, found, strict=True)))
        scores = {row.judge: row.score for row in table.rows if row.level == "images"}
        own = {METHODS[name].title: kind or models[name].scores.image_score for name in models}
        assert {judge: scores[judge] for judge in own} == own
        if kind is None:
            assert own["HeadCLIP"] == "joint"
            assert {own[METHODS[name].title] for name in METHODS if name != "headclip"} == {
                "global"
            }
    pixels = [row.judge for row in table.rows if row.level == "pixels"]
    titles = [method.title for method in METHODS.values()]
    assert pixels[:5] == titles
    assert pixels[5:10] == [f"{title} x centre" for title in titles]
    assert pixels[10:] == ["distance to the median", "centre prior"]


def test_a_screening_scores_with_or_without_jas() -> None:
    head = volume()
    joint = screen(head, BrightModel(image_size=7))
    own = screen(head, BrightModel(image_size=7, scores=ScoreSettings(image_score="global")))
    only_global = BrightModel(image_size=7, scores=ScoreSettings(joint_weight=1.0))
    np.testing.assert_allclose(own.slice_scores, screen(head, only_global).slice_scores)
    assert not np.allclose(own.slice_scores, joint.slice_scores)
    assert own.settings["scores"]["image_score"] == "global"  # type: ignore[index]


def test_a_missing_method_stands_below_the_table(tmp_path: Path) -> None:
    found = evaluate_dataset(pictures(tmp_path), BrightModel())
    table = to_markdown([join_methods({"headclip": found}, {"adaclip": "It must be trained."})])
    assert "| HeadCLIP |" in table
    assert "AdaCLIP is not in the table: It must be trained." in table


# --- what they are told ----------------------------------------------------------------------


@pytest.mark.parametrize("part", sorted(BODY_PARTS))
def test_every_body_part_becomes_words(part: str) -> None:
    name = content_of_volume(volume(body_part=part)).name
    assert name is not None
    assert re.fullmatch(r"[A-Za-z]+(,? [A-Za-z]+)*", name)
    assert set(ORGANS) <= BODY_PARTS


def test_sentences_name_the_organ_and_the_scan() -> None:
    model = load_model(
        "tiny", method="winclip", settings=WinClipSettings(wording="medical"),
        weights="random", device="cpu",
    )  # fmt: skip
    spine = volume(body_part="LSPINE", modality="MR")
    prompts = screen(spine, model).model["prompts"]
    assert isinstance(prompts, dict)
    assert prompts["class_name"] == "lumbar spine"
    assert prompts["examples"][0] == "a cropped MRI scan of the lumbar spine"
    prompts = screen(volume(), model).model["prompts"]
    assert isinstance(prompts, dict)
    assert prompts["class_name"] == "object"


def test_sentences_name_the_category_that_is_evaluated(tmp_path: Path) -> None:
    assert content_of_category("BrainMRI", "brain") == ImageContent("brain", "MR")
    assert content_of_category("mvtec_ad", "zipper") == ImageContent("zipper")
    for method in ("winclip", "anovl"):
        model = load_model("tiny", method=method, weights="random", device="cpu")
        found = evaluate_dataset(pictures(tmp_path), model)
        assert found.model["prompts"]["class_name"] == "wood"  # type: ignore[index]
    named = load_model("tiny", method="adaclip", weights="random", device="cpu")
    assert evaluate_dataset(pictures(tmp_path), named).model["class_name"] == "wood"
    bright = BrightModel()
    assert name_content(bright, ImageContent("wood")) is bright


# --- the command line ------------------------------------------------------------------------


def test_screening_with_winclip_records_what_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.eye(20, dtype=np.uint8) * 200).save(tmp_path / "in.png")
    out = tmp_path / "out"
    place = ["screen", str(tmp_path / "in.png"), "--out", str(out), "--device", "cpu"]
    model = ["--model", "tiny", "--weights", "random", "--method", "winclip"]
    assert main([*place, *model, "--set", "wording=medical", "--set", "class_name=knee"]) == 0
    capsys.readouterr()
    (result,) = out.glob("*/*/result.json")
    about = json.loads(result.read_text())["model"]
    assert (about["method"], about["backbone"]["name"]) == ("winclip", "tiny")
    assert about["prompts"]["wording"] == "winclip-medical"
    assert about["prompts"]["class_name"] == "knee"


def test_all_methods_are_evaluated_into_one_table(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        folder = tmp_path / "BrainMRI" / ("yes" if number % 2 else "no")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 40 * number, np.uint8)).save(folder / f"{number}.png")
    arguments = [
        "evaluate", f"BrainMRI:{tmp_path / 'BrainMRI'}", "--method", "all", "--model", "tiny",
        "--weights", "random", "--device", "cpu", "--checkpoint", str(checkpoint),
        "--no-tracking",
    ]  # fmt: skip
    assert main(arguments) == 0
    table = re.sub(r" +\|", " |", capsys.readouterr().out)  # a terminal's columns are aligned
    assert table.count("## ") == 1
    for method in METHODS.values():
        assert f"| images | {method.title} |" in table
    assert main([*arguments, "--set", "image_score=joint", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert set(found["model"]) == set(METHODS)
    judged = [row for row in found["rows"] if row["judge"] in {m.title for m in METHODS.values()}]
    assert {row["score"] for row in judged} == {"joint"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "nearest"], "There is no method 'nearest'"),
        (["--method", "all"], "There is no method 'all'"),
        (
            ["--method", "winclip", "--set", "adaptation=published"],
            "It is anovl's, and winclip has none like it",
        ),
        (["--set", "wording=medical"], "It is winclip and anovl's"),
    ],
)
def test_wrong_options_are_told_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.eye(20, dtype=np.uint8) * 200).save(tmp_path / "in.png")
    place = ["screen", str(tmp_path / "in.png"), "--out", str(tmp_path / "out")]
    assert main([*place, *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_checkpoints_beside_one_method_are_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--acceptance", "--checkpoint", str(checkpoint)]) == 2
    assert "--checkpoint goes with --method all" in capsys.readouterr().err
