"""The command line: exit codes, what goes to stdout and stderr, and help that tells the truth."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.cli import main
from headclip_med.cli.options import add_settings, field_docstrings, layers, settings_from
from headclip_med.models import loading
from headclip_med.settings import HeadClipSettings, ScoreSettings, ScreenSettings, TrainSettings
from headclip_med.settings_learned import AdaClipSettings, AnomalyClipSettings
from headclip_med.settings_training_free import AnoVlSettings, WinClipSettings
from tests.bright import BrightModel
from tests.phantoms import write_phantom

COMMANDS = (
    "demo", "screen", "batch", "train", "evaluate", "experiment", "datasets", "weights", "bundle"
)  # fmt: skip
SETTINGS = (
    HeadClipSettings, ScoreSettings, ScreenSettings, TrainSettings, AnomalyClipSettings,
    AdaClipSettings, WinClipSettings, AnoVlSettings
)  # fmt: skip


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_model", lambda name, **options: BrightModel())


@pytest.mark.parametrize("command", [(), *((one,) for one in COMMANDS)])
def test_help_is_there(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "usage: headclip" in text
    assert "``" not in text


def test_help_starts_quickly() -> None:
    started = time.process_time()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "headclip_med", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert time.process_time() - started < 1
    for heavy in ("torch", "monai", "numpy", "pydicom"):
        assert f" {heavy}\n" not in done.stderr


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_setting_is_explained_and_becomes_an_option(settings: type) -> None:
    texts = field_docstrings(settings)
    assert set(texts) == {one.name for one in fields(settings)}
    parser = argparse.ArgumentParser()
    add_settings(parser, settings)
    assert settings_from(parser.parse_args([]), settings) == settings()


def test_options_become_settings_of_their_type() -> None:
    parser = argparse.ArgumentParser()
    for settings in SETTINGS[:3]:
        add_settings(parser, settings)
    given = parser.parse_args(
        ["--local-layers", "5-7", "--no-local-residual", "--sigma-px", "2", "--window", "40,80",
         "--image-size", "518", "--threshold", "0.25", "--pooling", "max"]
    )  # fmt: skip
    assert settings_from(given, HeadClipSettings) == HeadClipSettings(
        local_layers=(5, 6, 7), local_residual=False, image_size=518
    )
    assert settings_from(given, ScoreSettings, ScoreSettings(top_percent=9.0)) == ScoreSettings(
        top_percent=9.0, sigma_px=2.0
    )
    assert settings_from(given, ScreenSettings) == ScreenSettings(
        window="40,80", threshold=0.25, pooling="max"
    )
    assert layers("4,6") == (4, 6)
    assert layers("none") == ()


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
        (["screen", "{empty}", "--out", "{out}", "--overlap", "1.5"], 2, "overlap must lie"),
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


@pytest.mark.parametrize("option", ["--window=brian", "--window=40,-80", "--local-map=patches"])
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
    def refuse(arguments: argparse.Namespace) -> int:
        raise PermissionError(13, "Permission denied", "/patients/Zyxwvut")

    monkeypatch.setattr("headclip_med.cli.weights.run", refuse)
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


def test_batch_has_the_options_of_screen(capsys: pytest.CaptureFixture[str]) -> None:
    options = []
    for command in ("screen", "batch"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        options.append(set(re.findall(r"--[a-z-]+", capsys.readouterr().out)))
    assert options[0] == options[1]


def test_the_module_of_the_parser_is_not_silent_either() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "headclip_med.cli.main", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip()
