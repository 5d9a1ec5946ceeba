"""Experiments on tiny sets and a tiny tower: done once, resumed where they stopped, never twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest

from headclip_med.cli import main
from headclip_med.cli.experiment import shown_command
from headclip_med.errors import HeadClipError
from headclip_med.evaluation.measure import ModelMaps, measure
from headclip_med.evaluation.predictions import predict_dataset
from headclip_med.models.clip import loading
from headclip_med.pipelines.experiments import models as experiment_models
from headclip_med.pipelines.experiments import runner
from headclip_med.pipelines.experiments.definitions import EXPERIMENTS
from headclip_med.pipelines.experiments.models import Setup
from headclip_med.pipelines.experiments.plan import Request, plan_experiment
from headclip_med.pipelines.experiments.results import MEASURES, sweep_joint
from headclip_med.pipelines.experiments.runner import Outcome, run_experiment
from headclip_med.tracking import Run
from headclip_med.training.handlers import StepReport
from tests import set_copies, tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for copy in (set_copies.MVTEC_AD, set_copies.BRAIN_MRI, set_copies.DDTI):
        copy.write(root / copy.name)
    return root


def setup(out: Path, **changes: Any) -> Setup:
    changes.setdefault("training", {"epochs": 1})
    return Setup(backbone=tiny.backbone(), out=out, **changes)


def request(data: Path, **changes: Any) -> Request:
    sets = {"datasets": ("BrainMRI", "DDTI"), "train": (f"MVTecAD:{data / 'MVTecAD'}",)}
    return Request(data, **{**sets, **changes})


def run(name: str, bench: Setup, asked: Request, **named: Any) -> Outcome:
    return run_experiment(plan_experiment(EXPERIMENTS[name], asked), bench, **named)


class Calls:
    """Counts what is computed, and may interrupt it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[str] = []
        self.asked: list[tuple[str, int]] = []
        self.interrupt_at = ""
        learn, ask = experiment_models.train, runner.predict_dataset

        def train(*arguments: Any, **named: Any) -> Any:
            self.trained.append(named["out"].name)
            return learn(*arguments, **named)

        def asking(dataset: Any, models: Any, **named: Any) -> Any:
            if dataset.name == self.interrupt_at:
                raise KeyboardInterrupt
            self.asked.append((dataset.name, len(models)))
            return ask(dataset, models, **named)

        monkeypatch.setattr(experiment_models, "train", train)
        monkeypatch.setattr(runner, "predict_dataset", asking)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def test_what_was_interrupted_goes_on_and_nothing_is_done_twice(
    data: Path, tmp_path: Path, calls: Calls
) -> None:
    calls.interrupt_at = "DDTI"
    with pytest.raises(KeyboardInterrupt):
        run("lhw", setup(tmp_path), request(data))
    assert len(calls.trained) == 2
    assert calls.asked == [("BrainMRI", 2)]
    assert not (tmp_path / "lhw.md").exists()

    calls.interrupt_at = ""
    outcome = run("lhw", setup(tmp_path), request(data), command="headclip experiment lhw")
    assert len(calls.trained) == 2, "both trainings were done"
    assert calls.asked == [("BrainMRI", 2), ("DDTI", 2)]
    assert set(outcome.paths) == {"md", "csv", "html", "json", "heads"}
    assert not list(tmp_path.glob("*unfinished*"))
    assert not (tmp_path / "features").exists()

    first = (tmp_path / "lhw.json").read_bytes()
    run("lhw", setup(tmp_path), request(data), command="headclip experiment lhw")
    assert len(calls.trained) == 2
    assert len(calls.asked) == 2
    assert (tmp_path / "lhw.json").read_bytes() == first

    run("modules", setup(tmp_path), request(data))
    assert len(calls.trained) == 2, "the same two trainings serve this experiment"
    assert len(calls.asked) == 2, "and the same answers"


def test_a_training_that_was_killed_ends_as_if_it_had_not_been(data: Path, tmp_path: Path) -> None:
    asked = request(data, datasets=("BrainMRI",))

    begun: list[tuple[int, str]] = []

    def begin(total: int, unit: str) -> None:
        begun.append((total, unit))

    def stop(report: StepReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    two = {"epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        run("init", setup(tmp_path / "killed", training=two, step=stop, begin=begin), asked)
    assert begun == [(2, "step")]
    run("init", setup(tmp_path / "killed", training=two), asked)
    run("init", setup(tmp_path / "whole", training=two), asked)
    killed, whole = (
        {path.parent.name: path.read_bytes() for path in folder.glob("trainings/*/*.safetensors")}
        for folder in (tmp_path / "killed", tmp_path / "whole")
    )
    assert len(whole) == 4
    assert killed == whole


def test_every_r_is_scored_from_what_was_said_once(
    data: Path, tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(data, methods=("winclip",))
    first = run("jas", setup(tmp_path), asked)
    assert calls.asked == [("BrainMRI", 1), ("DDTI", 1)]
    rmtree(tmp_path / "measured")

    def nobody_is_asked(*_: object) -> None:
        raise AssertionError("a model was shown an image again")

    monkeypatch.setattr("headclip_med.evaluation.predictions.predict_together", nobody_is_asked)
    again = run("jas", setup(tmp_path), asked)
    assert again.document.tables == first.document.tables
    other_k = run("jas", setup(tmp_path, scores={"top_percent": 50.0}), asked)
    assert other_k.results.found.keys() == first.results.found.keys()


def test_the_sweep_ends_in_the_scores_it_is_made_of(data: Path, tmp_path: Path) -> None:
    from headclip_med.datasets import open_dataset

    model = tiny.model().fold()
    dataset = open_dataset(f"MVTecAD:{data / 'MVTecAD'}")
    (answers,) = predict_dataset(dataset, [model])
    measured = measure(answers, model.scores, MEASURES)
    local, half, whole = sweep_joint(answers, model.scores, (0.0, 0.5, 1.0))
    assert whole == pytest.approx(measured.metrics("images", "global")["mAD"])
    assert local == pytest.approx(measured.metrics("images", "local")["mAD"])
    assert half == pytest.approx(measured.metrics("images", "joint")["mAD"])
    assert sweep_joint(answers, model.scores, ()) == ()
    only_lesions = open_dataset(f"DDTI:{data / 'DDTI'}")
    (answers,) = predict_dataset(only_lesions, [model])
    assert np.isnan(sweep_joint(answers, model.scores, (0.5,))).all()
    assert ModelMaps(answers, model.scores).local_scores().shape == (2,)


def test_jas_changes_image_scores_and_no_pixel(data: Path, tmp_path: Path) -> None:
    asked = request(data, datasets=("BrainMRI", "DDTI"))
    found = run("modules", setup(tmp_path), asked).results
    learned, joint = (
        next(one for one in found.plan.variants if one.name == name)
        for name in ("LHW", "LHW and JAS")
    )
    pixels = [
        [value for value in result.values if value.level == "pixel"]
        for result in (found.of(learned, "DDTI"), found.of(joint, "DDTI"))
        if result
    ]
    assert pixels[0] == pixels[1] != []
    model = found.of(joint, "BrainMRI")
    assert model is not None
    assert {value.level for value in model.values} == {"image"}
    assert (model.normal, model.abnormal) == (2, 1)


def test_values_are_what_measuring_gives(data: Path, tmp_path: Path) -> None:
    outcome = run("main", setup(tmp_path), request(data, datasets=("DDTI",), methods=("winclip",)))
    (variant,) = outcome.results.plan.variants
    from headclip_med.datasets import open_dataset
    from headclip_med.models.loading import on_backbone

    model = on_backbone("winclip", tiny.backbone(), None)
    (answers,) = predict_dataset(open_dataset(f"DDTI:{data / 'DDTI'}"), [model])
    measured = measure(answers, model.scores, MEASURES)
    numbers = outcome.results.numbers.set_index(["variant", "dataset", "category", "metric"])
    for column, protocol in (("exact", "exact"), ("ours", "paper")):
        for metric, value in measured.metrics("pixels", "map", protocol).items():
            found = numbers.loc[(variant.name, "DDTI", "", metric), column]
            assert found == pytest.approx(100 * value, nan_ok=True)


def test_a_method_that_cannot_be_had_costs_its_rows_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise HeadClipError("There is no room.")

    monkeypatch.setattr(experiment_models, "train", fail)
    asked = request(data, methods=("headclip", "winclip"))
    outcome = run("main", setup(tmp_path), asked)
    marked = [
        line
        for table in outcome.document.tables
        for line in table.lines
        if "no room" in line.reason
    ]
    assert {line.heads for line in marked} == {("BrainMRI", "HeadCLIP"), ("DDTI", "HeadCLIP")}
    assert ("WinCLIP", "BrainMRI") in outcome.results.found
    with pytest.raises(HeadClipError, match="There is no room"):
        run("lhw", setup(tmp_path), asked.__class__(data, asked.datasets, asked.train))


def test_a_file_that_is_changed_or_damaged_is_measured_anew(
    data: Path, tmp_path: Path, calls: Calls
) -> None:
    asked = request(data, datasets=("DDTI",), methods=("winclip",))
    first = run("main", setup(tmp_path), asked)
    (path,) = (tmp_path / "measured").glob("*/about.json")
    path.write_text(path.read_text()[:50])
    again = run("main", setup(tmp_path), asked)
    assert again.document.tables == first.document.tables
    run("main", setup(tmp_path), replace(asked, limit=1))
    assert len(list((tmp_path / "measured").iterdir())) == 2


class Kept(Run):
    """Remembers what a tracker would record."""

    is_recording = True

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}
        self.values: dict[tuple[str, int], float] = {}
        self.files: list[str] = []
        self.children: dict[str, Kept] = {}
        self.sets: list[tuple[str, str]] = []

    def parameters(self, values: Mapping[str, object]) -> None:
        self.kept |= values

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        self.values |= {(name, step): value for name, value in values.items()}

    def dataset(self, name: str, digest: str | None, *, use: str) -> None:
        self.sets.append((name, use))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        self.files.append(path.name)

    def figure(self, figure: object, name: str) -> None:
        self.files.append(name)

    def image(self, pixels: np.ndarray, name: str) -> None:
        self.files.append(f"{name} {pixels.shape[1]} x {pixels.shape[0]}")

    @contextmanager
    def child(self, name: str, parameters: Mapping[str, object] | None = None) -> Iterator[Run]:
        self.children[name] = Kept()
        self.children[name].parameters(parameters or {})
        yield self.children[name]


def test_runs_are_recorded_with_one_below_for_each_variant(data: Path, tmp_path: Path) -> None:
    kept = Kept()
    outcome = run("lhw", setup(tmp_path), request(data), run=kept)
    assert kept.sets == [
        ("MVTecAD", "training"), ("BrainMRI", "evaluation"), ("DDTI", "evaluation")
    ]  # fmt: skip
    assert set(kept.files) == {"lhw.md", "lhw.csv", "lhw.html", "lhw.json", "heads.png"}
    assert set(kept.children) == {"no LHW", "LHW"}
    below = kept.children["no LHW"]
    assert below.kept["settings"]["head_weights"] == "ones"
    assert below.files == [
        "headclip.safetensors",
        "samples/BrainMRI.png 644 x 342",  # an image and its map; one is abnormal
        "samples/DDTI.png 968 x 684",  # two of them, with the truth
    ]
    assert ("MVTecAD/epoch/loss", 1) in below.values
    steps = [step for name, step in below.values if name == "MVTecAD/step/focal"]
    assert steps == list(range(1, len(steps) + 1))
    variant = outcome.results.plan.variants[0]
    result = outcome.results.of(variant, "BrainMRI")
    assert result
    (auroc,) = (v.exact for v in result.values if (v.category, v.metric) == ("", "AUROC"))
    assert below.values["BrainMRI/images global exact/AUROC", 0] == auroc
    assert ("DDTI/thyroid/pixels map paper/AP", 0) in below.values
    assert str(tmp_path) not in json.dumps([kept.kept, below.kept])


def test_a_sweep_is_recorded_as_a_curve(data: Path, tmp_path: Path) -> None:
    kept = Kept()
    asked = request(data, datasets=("BrainMRI",), methods=("winclip",))
    run("jas", setup(tmp_path), asked, run=kept)
    steps = [step for name, step in kept.children["WinCLIP"].values if "over 100 r" in name]
    assert sorted(steps) == list(range(0, 101, 10))
    assert "curve.png" in kept.files


@pytest.fixture
def tiny_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_backbone", lambda *_, **__: tiny.backbone())


@pytest.mark.usefixtures("tiny_command")
def test_the_command_writes_tables_and_names_itself(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "experiment", "lhw", "--data-root", str(data), "--datasets", "BrainMRI", "HeadCT",
        "--train", f"mvtec:{data / 'MVTecAD'}", "--epochs", "1", "--device", "cpu",
        "--out", str(tmp_path / "out"), "--no-tracking",
    ]  # fmt: skip
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "| HeadCT |  | absent |" in printed.out
    assert "HeadCT: absent" in printed.err
    text = (tmp_path / "out/lhw.md").read_text()
    assert "--data-root DATA --datasets BrainMRI HeadCT --train mvtec:DATA/MVTecAD" in text
    for kind in ("md", "csv", "html", "json"):
        assert str(tmp_path) not in (tmp_path / f"out/lhw.{kind}").read_text()
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sets"]["BrainMRI"]["counts"] == {"normal": 2, "abnormal": 1}
    assert set(found["files"]) == {"md", "csv", "html", "json", "heads"}


@pytest.mark.usefixtures("tiny_command")
@pytest.mark.parametrize(
    ("options", "saying"),
    [
        (["lhw"], "Say where the data are"),
        (["lhw", "--data-root", ".", "--datasets", "COCO"], "no layout that is known"),
        (["lhw", "--data-root", ".", "--methods", "winclip"], "has no method 'winclip'"),
        (["lhw", "--data-root", "."], "Nothing can be tested"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    options: list[str],
    saying: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", *options, "--no-tracking"]) == 2
    error = capsys.readouterr().err
    assert saying in error
    assert error.strip().count("\n") == 0
    assert not (tmp_path / "experiments").exists()


def test_commands_are_shown_without_anyone_s_folders() -> None:
    arguments = (
        "experiment", "lhw", "--data-root=/home/x/data", "--train", "mvtec:/home/x/data/industrial",
        "--weights", "/home/x/w.pt", "--out", "runs", "--datasets", "ISIC",
    )  # fmt: skip
    assert shown_command(arguments, Path("/home/x/data")) == (
        "headclip experiment lhw --data-root=DATA --train mvtec:DATA/industrial --weights w.pt "
        "--out runs --datasets ISIC"
    )
