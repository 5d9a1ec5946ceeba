"""Whoever waits sees how far it is: a bar on a terminal, lines elsewhere, nothing where quiet."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from headclip_med.cli import main
from headclip_med.cli.groups import count_step
from headclip_med.cli.main import COMMANDS
from headclip_med.cli.terminal import progress as module
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.training.handlers import StepReport
from tests.bright import BrightModel, stand_in
from tests.cli.terminal import on_terminal
from tests.phantoms import write_phantom
from tests.set_copies import write_image, write_mask


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test moves."""
    found = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(VOICE, "is_quiet", False)
    monkeypatch.setattr(module.time, "monotonic", lambda: found.now_s)
    return found


def test_lines_come_after_some_seconds_and_then_once_a_minute(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(100, "slice") as bar:
        clock.now_s += 20  # loading, which tells nothing of the slices
        bar.add(10)
        for _ in range(8):
            clock.now_s += 10
            bar.add(2)
        clock.now_s += 3600
        bar.add(74)
    assert capsys.readouterr().err.splitlines() == [
        "headclip: 10 of 100 slices",  # at 20 s: how fast it is, is not known
        "headclip: 22 of 100 slices, about 6 min left",  # at 80 s: 12 in 60 s
        "headclip: 100 of 100 slices, about 0 s left",
    ]


def test_what_is_over_soon_needs_no_line(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(None, "image") as bar:
        for _ in range(4):
            clock.now_s += 1
            bar.seen(1, 4)
    assert capsys.readouterr().err == ""


def test_every_kind_of_work_is_counted_for_itself(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(None, "step") as bar:
        clock.now_s += 10
        bar.add()
        bar.begin(5, "image")
        clock.now_s += 100
        bar.add(2)
    assert capsys.readouterr().err.splitlines() == [
        "headclip: 1 steps", "headclip: 2 of 5 images",
    ]  # fmt: skip


def test_steps_of_an_earlier_run_tell_nothing_of_time(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(40, "step") as bar:
        for step in (1, 2, 3):
            clock.now_s += 30
            count_step(bar, StepReport(epoch=3, step=step, steps=10, loss=0.5, terms={}))
    assert capsys.readouterr().err.splitlines() == [
        "headclip: 21 of 40 steps (epoch 3, loss 0.500)",
        "headclip: 23 of 40 steps (epoch 3, loss 0.500), about 8 min left",
    ]


def test_nothing_is_counted_aloud_where_quiet_and_in_other_processes(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def count() -> None:
        with progress(2, "slice") as bar:
            clock.now_s += 100
            bar.add()
            VOICE.say("headclip: a sentence")

    monkeypatch.setattr(VOICE, "is_quiet", True)
    count()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(VOICE, "is_quiet", False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    count()
    assert capsys.readouterr().err == "headclip: a sentence\n"


def write_set(root: Path) -> Path:
    """Two good pictures and two with a mask, as MVTec AD has them."""
    for number in range(2):
        write_image(root / f"train/good/{number}.png")
        write_image(root / f"test/good/{number}.png")
        write_image(root / f"test/dent/{number}.png")
        write_mask(root / f"ground_truth/dent/{number}_mask.png")
    return root


LOUD = {
    "screen": (["study", "--out", "out"], {"slice", "file"}),
    "batch": (["study", "--out", "out", "--workers", "0"], {"slice"}),
    "calibrate": (["study", "--out", "c.json", "--alpha", "0.5"], {"slice"}),
    "report": (["out", "--html"], {"result"}),
    "datasets": (["check", "mvtec", "set"], {"image"}),
}
"""What each command is given with the bright model, and what it counts."""

SLOW = {
    "compare": (["mvtec:set", "--method", "headclip", "--out", "out"], "image"),
    "evaluate": (["mvtec:set", "--no-tracking"], "image"),
    "demo": (["--out", "out"], "slice"),
    "train": (["--data", "mvtec:set", "--out", "run", "--epochs", "1", "--no-tracking"], "step"),
    "weights": (["verify", "headclip-mini"], "way to run"),
    "experiment": (
        ["lhw", "--datasets", "folder:set/test", "--train", "mvtec:other", "--epochs", "1",
         "--no-tracking"], "image",
    ),
    "bundle": (["verify", "bundle"], "check"),
}  # fmt: skip
UNTRIED = {
    "serve": "it goes on until it is asked to end",
    "view": "it opens a page that is there",
    "reproduce": "what takes long there are experiments",
}


def test_every_command_is_tried_or_said_why_not() -> None:
    assert {*LOUD, *SLOW, *UNTRIED} == set(COMMANDS)


def counted(name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command counts, once nothing has to be waited for."""
    capsys.readouterr()
    assert main([name, *arguments]) in (0, 3)
    said = capsys.readouterr().err
    return re.findall(r"^headclip: \d+(?: of \d+)? (.+?)s(?: \(|,|$)", said, re.MULTILINE)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands above are given, and every line told."""
    monkeypatch.setattr(module, "FIRST_AFTER_S", 0.0)
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    monkeypatch.chdir(tmp_path)
    for name in ("set", "other"):
        write_set(tmp_path / name)
    for number in range(3):
        write_phantom(tmp_path / f"study/{number}", study_seed=str(number))
    return tmp_path


@pytest.mark.parametrize("name", LOUD)
def test_a_command_counts_what_takes_long(
    name: str, inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, BrightModel)
    if name == "report":
        assert main(["batch", *LOUD["batch"][0]]) == 0
    arguments, units = LOUD[name]
    assert units <= set(counted(name, arguments, capsys))
    assert counted(name, [*arguments, "--quiet"], capsys) == []


@pytest.mark.slow  # each loads the model, and most do much with it
@pytest.mark.parametrize("name", SLOW)
def test_a_command_of_long_work_counts_it(
    name: str, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "bundle":
        assert main(["bundle", "init", "bundle"]) == 0
    arguments, unit = SLOW[name]
    assert unit in counted(name, arguments, capsys)


@pytest.mark.slow  # it loads the model
def test_a_bar_is_shown_on_a_terminal(inputs: Path) -> None:
    shown, code = on_terminal(["screen", "study", "--out", "out"], folder=inputs)
    assert code == 0
    assert re.search(r"\d+/\d+ \[\d\d:\d\d<\d\d:\d\d", shown)  # done, in all, time taken and left
    assert "╭" in shown
    shown, code = on_terminal(["screen", "study", "--out", "again", "--quiet"], folder=inputs)
    assert code == 0
    assert "<0" not in shown
    assert "╭" not in shown
