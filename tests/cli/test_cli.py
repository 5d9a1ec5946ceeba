"""The command line: exit codes, what goes to stdout and stderr, and help that tells the truth."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.cli import main
from headclip_med.cli.groups import DataOptions, TrackingGroup
from headclip_med.cli.main import COMMANDS
from headclip_med.cli.options import Command, form_of, parse
from headclip_med.cli.screen import Screen
from headclip_med.cli.train import Train
from headclip_med.cli.values import field_docstrings, settings_text, value_of
from headclip_med.cli.weights import Weights
from headclip_med.errors import InvalidSettings
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.anovl.settings import AnoVlSettings
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.winclip.settings import WinClipSettings
from headclip_med.settings import ScoreSettings, ScreenSettings, TrainSettings
from tests.bright import BrightModel, stand_in
from tests.phantoms import write_phantom

SETTINGS = (
    HeadClipSettings, ScoreSettings, ScreenSettings, TrainSettings, AnomalyClipSettings,
    AdaClipSettings, WinClipSettings, AnoVlSettings
)  # fmt: skip


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, BrightModel)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Give what help prints."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert not stopped.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [(), *((one,) for one in COMMANDS)])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_a_page_of_forty_lines(
    command: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, *command, option)
    assert text.startswith("usage: headclip")
    assert "``" not in text
    assert sum(max(1, math.ceil(len(line) / 80)) for line in text.splitlines()) <= 40


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_are_commands(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = shown(capsys, command, "--help")
    (_, below) = text.split("Examples:\n")
    examples = below.partition("\n\n")[0].splitlines()
    assert examples
    for example in examples:
        program, name, *arguments = example.split()
        assert (program, name) == ("headclip", command)
        if "METHOD" not in arguments and not any(one.startswith("runs/") for one in arguments):
            assert isinstance(parse(COMMANDS[command], arguments, prog=command), COMMANDS[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_all_help_shows_every_option_and_setting(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, command, "--help-all")
    form = form_of(COMMANDS[command])
    options = {one.name: one.name.replace("_", "-") for one in fields(form)}
    hidden = [name for name in options.values() if name not in text and f"--no-{name}" not in text]
    positional, renamed = {"input", "data", "action", "folder", "name"}, {"only-check"}
    assert set(hidden) <= positional | renamed
    for settings in COMMANDS[command].takes:
        for one in fields(settings.settings):
            assert one.name in options or f"  {one.name}=" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_at_most_twenty_options_of_its_own(command: str) -> None:
    kind = COMMANDS[command]
    shared = {one.name for group in (Command, DataOptions, TrackingGroup) for one in fields(group)}
    assert len([one for one in fields(form_of(kind)) if one.name not in shared]) <= 20
    assert len(kind.common) <= 12
    assert set(kind.common) <= {one.name for one in fields(form_of(kind))}


def test_help_tells_the_defaults_of_the_model_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    def default(option: str, *arguments: str) -> str:
        text = " ".join(shown(capsys, "screen", "--help-all", *arguments).split())
        after = text.replace("\u2502 ", "").partition(f"--{option} FLOAT")[2]
        return after.partition("(default: ")[2].partition(")")[0]

    assert default("sigma-px") == "6.94"
    assert default("joint-weight") == "0.1"
    assert float(default("threshold")) == pytest.approx(0.5217, abs=1e-4)
    assert default("joint-weight", "--method", "anomalyclip") == "0.5"
    assert default("sigma-px", "--method", "winclip", "--model", "ViT-B-16") == "0.0"
    assert "scales=INT,..." in shown(capsys, "screen", "--help-all", "--method", "winclip")
    assert "scales=" not in shown(capsys, "screen", "--help-all")


def test_help_and_wrong_usage_start_quickly_and_without_heavy_libraries(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    out = str(tmp_path / "out")
    cases = {
        ("--help",): 0,
        ("screen", "--help-all"): 0,
        ("datasets",): 0,
        ("weights",): 0,
        ("screen", "--out", out): 2,
        ("screen", str(tmp_path / "none"), "--out", out): 1,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--model", "ViT-L-14-999"): 2,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--model", "none.safetensors"): 1,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--method", "nonsense"): 2,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--set", "overlap=2"): 2,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--treshold", "0.3"): 2,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--window", "brian"): 2,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--outputs", "pdf"): 2,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--device", "gpu"): 2,
        ("screen", str(tmp_path / "a.png"), "--out", str(tmp_path / "a.png")): 1,
        ("screen", str(tmp_path / "a.png"), "--out", out, "--calibration", out): 1,
        ("calibrate", str(tmp_path / "a.png"), "--out", out, "--alpha", "2"): 2,
        ("calibrate", str(tmp_path / "a.png"), "--out", out): 2,
        ("train", "--out", out, "--data", f"mvtec:{tmp_path}/none"): 1,
        ("train", "--out", out, "--data", "nonsense"): 2,
        ("train", "--out", out, "--method", "winclip"): 2,
        ("train", "--out", out): 2,
        ("evaluate",): 2,
        ("nonsense",): 2,
    }
    for arguments, code in cases.items():
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "headclip_med", *arguments],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stderr[-500:]
        for heavy in ("torch", "monai", "open_clip", "mlflow", "pandas"):
            assert f" {heavy}\n" not in done.stderr, arguments
        if code == 0 and arguments == ("--help",):
            assert " numpy\n" not in done.stderr


def test_help_takes_less_than_a_second() -> None:
    started = os.times()
    subprocess.run(
        [sys.executable, "-m", "headclip_med", "--help"], capture_output=True, check=True
    )
    ended = os.times()
    assert ended.children_user + ended.children_system < (
        started.children_user + started.children_system + 1
    )


def test_a_shell_can_complete_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    script = shown(capsys, "--tyro-print-completion", "bash")
    assert "headclip" in script
    for word in (*COMMANDS, "--window", "--help-all", "coronal"):
        assert word in script


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_setting_is_explained_and_can_be_set(settings: type) -> None:
    texts = field_docstrings(settings)
    assert set(texts) == {one.name for one in fields(settings)}
    text = settings_text([settings()], ())
    for one in fields(settings):
        assert f"  {one.name}=" in text
    assert Screen(out=Path()).settings(settings) == settings()


def test_options_and_settings_become_values_of_their_type() -> None:
    given = parse(
        Train,
        ["--out", "x", "--epochs", "2", "--set", "local_layers=5-7", "--set", "local-residual=no",
         "--set", "sigma_px=2", "--set", "image_size=518", "--set", "betas=0.4,0.9"],
        prog="headclip train",
    )  # fmt: skip
    assert given.settings(HeadClipSettings) == HeadClipSettings(
        local_layers=(5, 6, 7), local_residual=False, image_size=518
    )
    assert given.settings(ScoreSettings, ScoreSettings(top_percent=9.0)) == ScoreSettings(
        top_percent=9.0, sigma_px=2.0
    )
    assert given.settings(TrainSettings) == TrainSettings(epochs=2, betas=(0.4, 0.9))
    given = parse(
        Screen,
        ["a", "b", "--out", "x", "--window", "40,80", "--threshold", "0.25", "--planes", "all",
         "--set", "pooling=max"],
        prog="headclip screen",
    )  # fmt: skip
    assert given.input == (Path("a"), Path("b"))
    assert given.settings(ScreenSettings) == ScreenSettings(
        window="40,80", threshold=0.25, planes="all", pooling="max"
    )
    assert given.changes(ScoreSettings) == {}
    assert value_of("4,6", tuple[int, ...]) == (4, 6)
    assert value_of("none", tuple[int, ...]) == ()
    assert value_of("none", int | None) is None
    assert value_of("many", int | None) == "many"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ovrlap=0.5", "There is no setting 'ovrlap' here. Did you mean overlap? Choose one of"),
        ("overlap", "has no '='"),
        ("scales=2", "It is winclip's, and what was named has none like it"),
        ("overlap=1.5", "overlap"),
    ],
)
def test_settings_that_are_none_are_refused(
    setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["screen", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*place, "--set", setting]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_file_gives_options_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(
        "out: results\nwindow: brain\ninput: [a, b]\noutputs: heatmap\nthreshold: 0.25\n"
        "set: {overlap: 0.25, pooled_slices: 5}\n"
    )
    given = parse(Screen, ["--config", str(file)], prog="headclip screen")
    assert (given.input, given.out, given.outputs) == (
        (Path("a"), Path("b")),
        Path("results"),
        "heatmap",
    )
    assert given.settings(ScreenSettings) == ScreenSettings(
        window="brain", threshold=0.25, overlap=0.25, pooled_slices=5
    )
    given = parse(
        Screen, ["c", "--config", str(file), "--window", "bone", "--set", "overlap=0.75"],
        prog="headclip screen",
    )  # fmt: skip
    assert given.input == (Path("c"),)
    assert given.settings(ScreenSettings) == ScreenSettings(
        window="bone", threshold=0.25, overlap=0.75, pooled_slices=5
    )
    file.write_text(json.dumps({"out": "elsewhere", "minimum-size": 3}))
    with pytest.raises(InvalidSettings, match="'minimum_size', which is no option"):
        parse(Screen, ["--config", str(file)], prog="headclip screen")


@pytest.mark.parametrize(
    "text", ["threshold: much\n", "json: 3\n", "- a list\n", "{", "out: x\nout:\n  - 1\n", ""]
)
def test_a_file_of_no_use_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text)
    assert main(["screen", str(tmp_path), "--config", str(file)]) == 2
    assert "The file of --config" in capsys.readouterr().err
    assert main(["screen", str(tmp_path), "--config", str(tmp_path / "none.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_screening_prints_results_on_stdout_only(
    bright: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "in")
    assert main(["screen", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    score, *_ = printed.out.split()
    assert 0 <= float(score) <= 1
    assert "index.html" in printed.out
    assert "headclip:" not in printed.err


def test_json_is_for_machines(
    bright: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "in")
    code = main(["screen", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"])
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out/summary.json").read_text())


def test_some_failures_are_3_and_all_are_1(
    bright: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "empty.png").touch()
    assert main(["screen", str(folder), "--out", str(tmp_path / "a")]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("headclip: empty.png: ")
    assert (tmp_path / "a/index.html").exists()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "good.png")
    assert main(["screen", str(folder), "--out", str(tmp_path / "b")]) == 3
    assert "good.png" in (tmp_path / "b/summary.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["screen", "{empty}", "--out", "{out}"], 1, "No images were found"),
        (
            ["screen", "{empty}", "--out", "{out}", "--set", "overlap=1.5"],
            2,
            "overlap must be a number",
        ),
        (["train", "--data", "nonsense:{empty}", "--out", "{out}"], 2, "given as LAYOUT:FOLDER"),
        (["train", "--data", "mvtec:{empty}/none", "--out", "{out}"], 1, "no folder"),
        (["evaluate"], 2, "Nothing to evaluate on"),
        (["weights", "fetch"], 2, "Name the model"),
    ],
)
def test_bad_usage_is_one_line_with_its_code(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"empty": tmp_path, "out": tmp_path / "out"}
    assert main([one.format(**places) for one in arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not (tmp_path / "out").exists()


def test_unknown_models_and_missing_weights_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "in")
    place = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"]
    assert main(["screen", *place, "--model", "ViT-L-14-999"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "unknown-model"
    assert main(["screen", *place, "--model", "ViT-L-14-336"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "weights-missing"
    assert "headclip weights fetch ViT-L-14-336" in error["advice"]
    assert not (tmp_path / "out").exists()


def test_names_cannot_command_the_terminal_nor_break_the_run(
    bright: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = (b"\x1b[2Jclear.png", b"two\nlines.png", b"\xff\xfe.png")
    for grey, name in enumerate(names):
        Image.new("L", (8, 8), grey).save(os.fsdecode(bytes(folder) + b"/" + name))
    (folder / "\x1b[31mempty.png").touch()
    assert main(["screen", str(folder), "--out", str(tmp_path / "out")]) == 3
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert len(printed.out.splitlines()) == 4  # three rows, and where the page is
    printed.out.encode()
    assert main(["screen", str(folder), "--out", str(tmp_path / "out"), "--json"]) == 3
    assert len(json.loads(capsys.readouterr().out)["series"]) == 3


@pytest.mark.parametrize("option", ["--window=brian", "--window=40,-80", "--set=local_map=patches"])
def test_an_option_that_no_input_could_use_is_wrong_usage(
    bright: None, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "in")
    code = main(["screen", str(tmp_path / "in"), "--out", str(tmp_path / "out"), option])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert printed.err.startswith("headclip: The ")
    assert printed.err.count("\n") == 1


def test_results_that_cannot_be_written_are_one_line_before_any_work(
    bright: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "in")
    (tmp_path / "taken").touch()
    code = main(["screen", str(tmp_path / "in"), "--out", str(tmp_path / "taken"), "--json"])
    printed = capsys.readouterr()
    assert code == 1
    assert json.loads(printed.out)["error"]["code"] == "unwritable-output"
    assert printed.err.count("\n") == 1
    assert "choose another folder" in printed.err


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(command: Weights) -> int:
        raise PermissionError(13, "Permission denied", "/patients/Zyxwvut")

    monkeypatch.setattr(Weights, "run", refuse)
    assert main(["weights"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("headclip: A file or folder cannot be used")
    assert "Permission denied" in printed.err
    assert "Zyxwvut" not in printed.err


def test_weights_lists_models_and_tags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert names[0] == "headclip-mini"
    assert "ViT-L-14-336" in names
    assert main(["weights", "list", "ViT-L-14-336"]) == 0
    assert capsys.readouterr().out.startswith("openai")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "headclip_med", "datasets"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None
        listing.stdout.close()
        listing.stdout = None
        _, said = listing.communicate(timeout=60)
    assert b"Traceback" not in said
    assert listing.returncode == 1


def test_batch_has_the_options_of_screen() -> None:
    screen, batch = (
        {one.name for one in fields(form_of(COMMANDS[name]))} for name in ("screen", "batch")
    )
    # These are settings there, so that there is room for what only a batch has.
    assert screen - batch == {"joint_weight", "top_percent", "sigma_px", "planes"}
    assert batch - screen == {"workers", "ray", "retry", "verify"}


def test_the_module_of_the_parser_is_not_silent_either() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "headclip_med.cli.main", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["screeen", "x"], "screen"),
        (["screen", "x.png", "--out", "o", "--method", "headclp"], "headclip"),
        (["screen", "x.png", "--out", "o", "--model", "headclip-mni"], "headclip-mini"),
        (["screen", "x.png", "--out", "o", "--model", "vit-l-14-33"], "ViT-L-14-336"),
        (["screen", "x.png", "--out", "o", "--set", "overlapp=3"], "overlap"),
        (["screen", "x.png", "--out", "o", "--window", "brian"], "brain"),
        (["screen", "x.png", "--out", "o", "--outputs", "heatmp"], "heatmap"),
        (["evaluate", "BrainMIR:somewhere"], "BrainMRI"),
        (["experiment", "lhww", "--data-root", "."], "lhw"),
        (["experiment", "main", "--data-root", ".", "--methods", "winclp"], "winclip"),
        (["experiment", "lhw", "--datasets", "BrainMRY", "--data-root", "."], "BrainMRI"),
        (["reproduce", "--experiments", "lhw", "mian"], "main"),
        (["screen", "x.png", "--out", "o", "--symmetry", "onn"], "on"),
        (["screen", "x.png", "--out", "o", "--set", "crop=bodi"], "body"),
        (["report", ".", "--state", "quarantned"], "quarantined"),
        (["datasets", "chek", "VisA", "."], "check"),
        (["weights", "fetch", "ViT-L-14-336", "--tag", "opnai"], "openai"),
        (["train", "--data", "MVTecADD:.", "--out", "o"], "MVTecAD"),
        (["evaluate", "--protocol", "visa-to-mvtc", "--data-root", "."], "visa-to-mvtec"),
    ],
)
def test_a_name_that_is_nearly_right_is_answered_with_the_nearest(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (1, 2)
    told = capsys.readouterr().err
    assert f"Did you mean {meant}" in told
    assert not list(tmp_path.iterdir())


def test_a_name_like_no_other_is_answered_with_all_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["quux"]) == 2
    told = capsys.readouterr().err
    assert "Did you mean" not in told
    assert all(name in told for name in COMMANDS)


def test_quiet_says_only_results_and_errors(
    bright: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "in")
    (tmp_path / "in/cut.png").touch()
    arguments = ["batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers", "0"]
    for quiet in ([], ["--quiet"]):
        assert main([*arguments, *quiet]) == 3
    assert main(arguments) == 3
    loud = capsys.readouterr()
    assert "left alone" in loud.err
    assert main([*arguments, "--quiet"]) == 3
    silent = capsys.readouterr()
    assert "left alone" not in silent.err
    assert "cut.png" in silent.err
    assert silent.out.count("open ") == 1


def test_a_finished_training_is_told_before_anything_is_loaded_or_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/headclip.safetensors").touch()
    assert main(["train", "--data", "folder:nowhere", "--out", "runs"]) == 2
    assert "already holds a checkpoint" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["runs"]
