"""What the pages about the service tell people to write and to type, as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from headclip_med.cli import main
from tests.service.programs import free_port, listens, program, wait_until

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PORTS = "4242", "8042", "8080"
"""Of the tutorial; a test takes others."""


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_configuration_of_the_service_page_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "service.toml"
    config.write_text("\n".join(blocks("service.md", "toml")))
    assert main(["serve", "--config", str(config), "--check"]) == 0
    assert capsys.readouterr().out == (
        "receives at 127.0.0.1:11112 as HEADCLIP; 1 rule; 2 destinations; page at 127.0.0.1:8080\n"
    )


@contextmanager
def typing(folder: Path, moved: Callable[[str], str]) -> Iterator[Callable[[str], None]]:
    """Run what somebody types in a folder; what goes on in the background ends with the block."""
    programs = {
        "python": [sys.executable], "headclip": [sys.executable, "-m", "headclip_med"],
        "Orthanc": [program("Orthanc", "orthanc")], "dcmsend": [program("dcmsend", "dcmtk")],
    }  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(line: str) -> None:
        for command in moved(line).removesuffix("&").split("&&"):
            name, *arguments = shlex.split(command)
            with (folder / "log").open("ab") as log:
                process = subprocess.Popen(
                    [*programs[name], *arguments], cwd=folder, env=env, stdout=log, stderr=log
                )
            if line.endswith("&"):
                running.callback(_end, process)
            else:
                assert process.wait(600) == 0, f"{command}\n{(folder / 'log').read_text()[-2000:]}"

    with ExitStack() as running:
        yield run


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.mark.slow  # twenty studies are calibrated on
def test_the_tutorial_of_the_service_runs_as_it_stands(tmp_path: Path) -> None:
    others = {usual: str(free_port()) for usual in PORTS}

    def moved(text: str) -> str:
        return re.sub("|".join(PORTS), lambda found: others[found.group()], text)

    page = "tutorials/pacs.md"
    for name, language in (("orthanc.json", "json"), ("service.toml", "toml"),
                           ("heads.py", "python")):  # fmt: skip
        (content,) = blocks(page, language)
        (tmp_path / name).write_text(moved(content))
    typed = "".join(blocks(page, "sh")).splitlines()
    install, *lines = [one for one in typed if not one.startswith(("curl", "make"))]
    assert install.startswith("sudo apt-get install")
    with typing(tmp_path, moved) as run:
        assert len(lines) == 4
        for line in lines[:-1]:
            run(line)
        wait_until(lambda: all(listens(int(one)) for one in others.values()), "all runs", 120)
        run(lines[-1])
        (asked,) = [one for one in typed if one.startswith("curl")]
        address = moved(asked.split()[-1])

        def kinds() -> list[str]:
            found = requests.get(address, timeout=30).json()
            return sorted(one["00080060"]["Value"][0] for one in found)

        wait_until(lambda: kinds() == ["CT", "OT", "SEG", "SR"], "all is back", 300)
        worklist = f"http://127.0.0.1:{others['8080']}/"

        def shown() -> str:
            text = re.sub(r"<[^>]*>", "", requests.get(worklist, timeout=30).text)
            return " ".join(text.split())

        wait_until(lambda: "orthanc: there: verified" in shown(), "the page says so", 60)
        text = (DOCS / page).read_text("utf-8")
        (promised,) = re.findall(r"\*(p = [^*]*)\*", text)
        assert " ".join(promised.split()) in shown()
        picture = requests.get(f"{worklist}results/1/thumbnail.jpg", timeout=30)
        assert picture.headers["Content-Type"] == "image/jpeg"
