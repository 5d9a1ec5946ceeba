"""Every command of the tutorials, as it stands there, one after the other in one folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
OF_OTHERS = {"make demo": "headclip demo --out out/demo"}
"""What a command of the Makefile comes to once the environment is there."""


def commands(page: str) -> Iterator[str]:
    """The commands of a page's blocks, with lines that go on put together."""
    for block in BLOCK.findall((ROOT / "docs" / page).read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            yield OF_OTHERS.get(line.split("  #")[0].strip(), line)


@pytest.mark.slow  # each command starts Python, and two load the model
def test_the_first_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    ran = 0
    for command in commands("tutorials/first-ct.md"):
        program, *arguments = shlex.split(command, comments=True)
        assert program == "headclip"
        done = subprocess.run(
            [sys.executable, "-m", "headclip_med", *arguments], cwd=tmp_path, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        ran += 1
    assert ran == 3
    for name in ("index.html", "*/*/overlay.png", "*/*/heatmap.nii.gz", "*/*/result.json"):
        assert list((tmp_path / "results").glob(name)), name
