"""The whole of a reproduction on tiny sets and a tiny tower: stopped, gone on with, published."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import open_clip
import pytest
from safetensors.torch import save_file

from headclip_med import load_model
from headclip_med.cli import main
from headclip_med.models.registry import METHODS
from headclip_med.pipelines.experiments import models as experiment_models
from headclip_med.pipelines.experiments import runner
from headclip_med.pipelines.experiments.plan import replan
from headclip_med.pipelines.reproduce import run, smoke
from headclip_med.pipelines.reproduce.rates import Rates
from tests import set_copies, tiny

EXPERIMENTS = ("lhw", "modules")
STAGES = ["machine", "weights", "rates", "data", "smoke", *EXPERIMENTS, "report", "publish"]


@pytest.fixture(autouse=True)
def _tiny_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = open_clip.get_model_config
    known = {"tiny": tiny.CONFIG}
    monkeypatch.setattr(open_clip, "get_model_config", lambda n: known.get(n) or look_up(n))


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be timed, and the smoke test have no method but the one that is reproduced."""
    if "slow" in request.keywords:
        return
    monkeypatch.setattr(run, "measure_rates", lambda bench: RATES)
    plan = run.smoke_plan
    monkeypatch.setattr(run, "smoke_plan", lambda bench: replan(
        plan(bench), plan(bench).experiment, methods=("headclip",)))  # fmt: skip


RATES = Rates(
    read=0.1, trunk=1.0, predict={"headclip": 0.1}, first_epoch={"headclip": 2.0},
    later_epoch={"headclip": 0.5}, measure=0.1, image_size={"headclip": 16}, device_peak_gb=None,
    unmeasured={},
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for copy in (set_copies.MVTEC_AD, set_copies.BRAIN_MRI, set_copies.KVASIR):
        copy.write(tmp_path / "data" / copy.name)
    write_weights(tmp_path / "tiny.safetensors")
    return tmp_path


def write_weights(path: Path, **changes: Any) -> None:
    state = tiny.backbone(seed=4, **changes).clip.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path)


def reproduce(place: Path, *more: str) -> int:
    return main(
        [
            "reproduce", "--data-root", str(place / "data"), "--backbone", "tiny", "--weights",
            str(place / "tiny.safetensors"), "--activation", "gelu", "--epochs", "1",
            "--experiments", *EXPERIMENTS,
            "--device", "cpu", "--no-tracking", "--out", str(place / "out"), *more,
        ]
    )  # fmt: skip


def states(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    found = json.loads(capsys.readouterr().out)
    return {one["name"]: one["state"] for one in found["stages"]}


class Interrupted:
    """Counts trainings and questions, and stops at one of them as a user or a system would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained = self.asked = 0
        self.stop_at_training = self.stop_at_question = 0
        learn, ask = experiment_models.train, runner.predict_dataset

        def train(*arguments: Any, **named: Any) -> Any:
            self.trained += 1
            if self.trained == self.stop_at_training:
                raise KeyboardInterrupt
            return learn(*arguments, **named)

        def asking(*arguments: Any, **named: Any) -> Any:
            self.asked += 1
            if self.asked == self.stop_at_question:
                raise KeyboardInterrupt
            return ask(*arguments, **named)

        monkeypatch.setattr(experiment_models, "train", train)
        monkeypatch.setattr(runner, "predict_dataset", asking)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    return Interrupted(monkeypatch)


def test_a_run_that_was_stopped_goes_on_behind_what_was_done(
    place: Path, work: Interrupted, capsys: pytest.CaptureFixture[str]
) -> None:
    work.stop_at_training = 2  # lhw's other training; the first was the smoke test's
    assert reproduce(place, "--go-on", "--json") == 130
    assert "what was finished is kept" in capsys.readouterr().err
    assert (work.trained, work.asked) == (2, 2)
    kept = {path.name.rpartition("-")[0] for path in (place / "out/facts").iterdir()}
    assert kept == {"weights", "rates", "data", "smoke"}
    assert not (place / "out/published").exists()

    work.stop_at_question = 4  # lhw, its second set
    assert reproduce(place, "--go-on", "--json") == 130
    assert (work.trained, work.asked) == (3, 4)
    capsys.readouterr()

    assert reproduce(place, "--go-on", "--json") == 3, "weights that tell nothing were gone on with"
    before = {"weights", "rates", "data", "smoke"}
    assert states(capsys) == {name: "known" if name in before else "done" for name in STAGES}
    counts = work.trained, work.asked
    sums = (place / "out/published/SHA256SUMS").read_bytes()

    assert reproduce(place, "--go-on", "--json") == 3
    again = states(capsys)
    assert {name for name, state in again.items() if state == "done"} == {
        "machine", "report", "publish"
    }  # fmt: skip
    assert (work.trained, work.asked) == counts
    assert (place / "out/published/SHA256SUMS").read_bytes() == sums, "to the last byte"

    (place / "out/lhw.md").write_text("changed")
    assert reproduce(place, "--go-on", "--json") == 3
    assert states(capsys)["lhw"] == "done"
    assert (work.trained, work.asked) == counts, "its tables are written anew, nothing more"


def test_what_is_published_verifies_and_loads(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(place, "--go-on") == 3
    folder = place / "out/published"
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],  # noqa: S607 - of the system
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    listed = {line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert listed == there - {"SHA256SUMS"}
    checkpoints = sorted((folder / "checkpoints").iterdir())
    assert len(checkpoints) == 2, "LHW on and off"
    for path in checkpoints:
        model = load_model(path, weights=place / "tiny.safetensors", device="cpu")
        assert model.predict(tiny.images()).map.shape == (2, 16, 16)
    card = (folder / "README.md").read_text()
    assert "These are not the paper's models" in card
    assert "- MVTecAD: CC BY-NC-SA 4.0" in card
    for path in folder.rglob("*"):
        assert not path.is_file() or str(place).encode() not in path.read_bytes(), path.name
    report = (folder / "reproduction.md").read_text()
    assert report.index("This does not reproduce the paper") < report.index("##")
    assert "Gone on against an objection (weights)" in report
    assert "## lhw: Table 5: medical sets, pixel level" in report
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == STAGES


def test_weights_that_speak_against_themselves_stop_it_before_any_data_are_read(
    place: Path, work: Interrupted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(place, "--json") == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["code"] == "weights-not-telling"
    assert "With --go-on the run goes on" in told.err
    assert [one.name.rpartition("-")[0] for one in (place / "out/facts").iterdir()] == ["weights"]
    write_weights(place / "tiny.safetensors", embed_dim=16)
    assert reproduce(place, "--go-on", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "weights-mismatch"
    (place / "tiny.safetensors").unlink()
    assert reproduce(place, "--go-on", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "weights-missing"
    assert (work.trained, work.asked) == (0, 0)


def known_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing speak against the weights, and let them be the paper's."""
    verify = run.verify_weights

    class Right:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self._found = verify(*arguments, **named).to_json()

        def to_json(self) -> dict[str, Any]:
            return {**self._found, "code": None, "reason": None, "advice": None}

    monkeypatch.setattr(run, "verify_weights", Right)
    monkeypatch.setattr(smoke, "PAPER_BACKBONE", "tiny")


def test_a_number_outside_the_band_stops_it_and_says_which(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known_weights(monkeypatch)
    monkeypatch.setattr(smoke, "causes_of", lambda bench: ())
    monkeypatch.setattr(run, "causes_of", lambda bench: ())
    monkeypatch.setattr("headclip_med.pipelines.experiments.results.has_other_images",
                        lambda name, counts: False)  # fmt: skip
    assert reproduce(place, "--json") == 1
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert error["code"] == "smoke-outside-band"
    assert "HeadCLIP on BrainMRI" in error["reason"]
    assert "the paper's 95.5" in error["reason"]
    assert not (place / "out/lhw.md").exists()
    assert (place / "out/smoke.md").exists(), "what was measured can be looked at"

    assert reproduce(place, "--go-on", "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert [one["code"] for one in found["objections"]] == ["smoke-outside-band"]
    assert {one["state"] for one in found["smoke"]} >= {"outside"}
    assert "| BrainMRI | HeadCLIP | OUTSIDE |" in (place / "out/reproduction.md").read_text()


def test_a_broken_set_stops_it_until_it_is_repaired(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known_weights(monkeypatch)
    image = place / "data/BrainMRI" / set_copies.BRAIN_MRI.lines[0].image
    content = image.read_bytes()
    image.write_bytes(b"no picture")
    assert reproduce(place, "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "data-unusable"
    assert "1 of 3 sets" in error["reason"]
    assert "BrainMRI" in error["reason"]
    assert not (place / "out/trainings").exists()
    image.write_bytes(content)
    assert reproduce(place, "--json") == 0, "of the tiny copies no band says anything"
    found = json.loads(capsys.readouterr().out)
    assert {one["state"] for one in found["smoke"]} == {"not-judged"}
    assert found["objections"] == []


def test_one_experiment_that_fails_costs_its_tables_alone(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known_weights(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "tables_of", refusing(runner.tables_of))
        assert reproduce(place, "--json") == 3
    assert states(capsys)["modules"] == "failed"
    assert "Without modules: It is full." in (place / "out/reproduction.md").read_text()
    assert reproduce(place, "--json") == 0
    assert states(capsys)["modules"] == "done"


def refusing(tables_of: Any) -> Any:
    from headclip_med.errors import HeadClipError

    def refuse(results: Any) -> Any:
        if results.plan.experiment.name == "modules":
            raise HeadClipError("It is full.")
        return tables_of(results)

    return refuse


def test_a_plan_shows_stages_and_writes_nothing(
    place: Path, work: Interrupted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(place, "--plan", "--json") == 0
    stages = {one["name"]: one for one in json.loads(capsys.readouterr().out)["stages"]}
    assert list(stages) == STAGES
    assert {one["state"] for one in stages.values()} == {"open"}
    assert stages["smoke"]["work"]["trainings"] == 1
    assert stages["lhw"]["work"]["trainings"] == 1, "the other one is the smoke test's"
    assert stages["lhw"]["work"]["seconds"] > 0
    assert not (place / "out").exists()
    assert (work.trained, work.asked) == (0, 0)
    assert reproduce(place, "--go-on") == 3
    capsys.readouterr()
    assert reproduce(place, "--plan") == 0
    assert capsys.readouterr().out.count("done before") == 5


@pytest.mark.slow
def test_every_kind_of_work_is_timed(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headclip_med.pipelines.reproduce.rates.BUDGET_S", 0.0)
    known_weights(monkeypatch)
    assert reproduce(place, "--experiments", "modules", "--json") == 0
    rates = json.loads((place / "out/reproduction.json").read_text())["rates"]
    assert set(rates["predict"]) == set(rates["image_size"]) == set(METHODS)
    assert set(rates["first_epoch"]) == set(rates["later_epoch"])
    assert all(METHODS[name].needs_training for name in rates["first_epoch"])
    assert rates["unmeasured"] == {}
    times = (rates["read"], rates["measure"], *rates["first_epoch"].values())
    assert min(times) > 0
    assert {one["variant"] for one in json.loads(capsys.readouterr().out)["smoke"]} == {
        "AnoVL", "HeadCLIP"
    }  # fmt: skip
