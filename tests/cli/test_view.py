"""``headclip view``: it opens what is there, and says what is wrong where nothing is."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest
from PIL import Image

from headclip_med.cli import main
from headclip_med.write.summary import write_summary
from tests.bright import BrightModel, stand_in


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not addresses.append(address))
    return addresses


def test_it_opens_the_page_and_prints_its_path(
    tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my results"
    page = write_summary([], [], folder)["page"]
    assert main(["view", str(folder)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert main(["view", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(page)}
    assert opened == [page.as_uri()] * 2
    page.rename(folder / "view.html")  # the folder of a result
    assert main(["view", str(folder)]) == 0
    assert opened[2].endswith("/my%20results/view.html")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "There is no such folder."),
        (".", "There is no page in this folder, neither index.html nor view.html. Name one that"),
        (None, "There is no folder to look at."),
    ],
)
def test_it_says_what_is_wrong(
    tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str], name: str | None,
    words: str,
) -> None:  # fmt: skip
    assert main(["view", *([] if name is None else [str(tmp_path / name)])]) == 2
    assert words in capsys.readouterr().err
    assert opened == []


def test_without_a_browser_it_says_where_the_page_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    page = write_summary([], [], tmp_path)["page"]
    assert main(["view", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == f"{page}\n"
    assert "No browser was found" in told.err


@pytest.mark.parametrize("command", ["screen", "batch"])
def test_a_view_that_was_asked_for_is_not_left_out_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    asked = [command, str(tmp_path), "--out", str(tmp_path / "out"), "--no-script"]
    assert main([*asked, "--outputs", "heatmap,view"]) == 2
    assert "view works by a script, which --no-script leaves out." in capsys.readouterr().err


def test_without_scripts_there_is_no_view_and_a_page_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, BrightModel)
    Image.new("L", (64, 48), 90).save(tmp_path / "photo.png")
    for options, expected in (([], True), (["--no-script"], False)):
        out = tmp_path / f"out-{expected}"
        assert main(["screen", str(tmp_path / "photo.png"), "--out", str(out), *options]) == 0
        page = (out / "index.html").read_text("utf-8")
        assert bool(list(out.glob("*/*/view.html"))) is ("view.html" in page) is expected
        assert ("<script>" in page) is expected


def test_a_report_takes_no_script_for_its_page_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "worklist.sqlite").touch()
    assert main(["report", str(tmp_path), "--no-script"]) == 2
    assert "Give --html as well." in capsys.readouterr().err
