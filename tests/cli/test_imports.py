"""Starting up is light: no heavy library is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "monai", "mlflow", "highdicom", "open_clip", "matplotlib")


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_line_starts_without_heavy_libraries() -> None:
    assert loaded_by("import headclip_med, headclip_med.cli") == set()


def test_the_check_above_can_fail() -> None:
    assert "torch" in loaded_by("import torch")
