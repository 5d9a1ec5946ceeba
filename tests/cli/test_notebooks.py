"""The notebooks run as they are committed, with what they showed kept small."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
LARGEST_BYTES = 200_000


def shown(notebook: nbformat.NotebookNode) -> list[set[str]]:
    """The kinds of what each cell of code showed: text, a picture, ..."""
    return [
        {kind for one in cell.outputs for kind in one.get("data", {one.get("name"): ""})}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_what_it_showed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST_BYTES
    numbers = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert any(shown(notebook))
    text = path.read_text()
    assert "Traceback" not in text
    assert str(ROOT) not in text


@pytest.mark.slow  # each starts a kernel, loads the model, and one trains
@pytest.mark.filterwarnings("ignore")  # of Jupyter, which talks to itself over sockets
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    committed = nbformat.read(path, as_version=4)
    again = nbformat.read(path, as_version=4)
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(again, timeout=600, kernel_name="python3", resources=here).execute()
    assert shown(again) == shown(committed)


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3
