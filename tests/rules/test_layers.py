"""Imports point down, neighbours in a layer never meet, and each big library has its own door."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = (  # top to bottom
    {"cli"},
    {"pipelines"},
    {"evaluation"},
    {
        "read",
        "write",
        "transforms",
        "models",
        "datasets",
        "metrics",
        "paper",
        "training",
        "tracking",
        "synthetic",
        "store",
    },
    {
        "geometry",
        "mapped",
        "reading",
        "atomic",
        "content",
        "volume",
        "findings",
        "prediction",
        "ranks",
        "settings",
        "settings_learned",
        "settings_training_free",
    },
    {"errors"},
)
NOUNS = LAYERS[4]  # these may use one another
EXCEPTIONS = {  # (from, to): why these neighbours may meet
    ("training", "models"): "training fits the learnable part of a model",
    ("models", "store"): "what the frozen trunk gives is kept while a method learns",
    ("models", "training"): "a method brings its learner to the loop",
    ("models", "tracking"): "load_model takes the names of a registry",
}
DOORS = {  # library: the modules, or folders of modules, that may import it
    "pydicom": ("read", "write"),
    "highdicom": ("read", "write"),
    "nibabel": ("read.nifti", "write.nifti"),
    "open_clip": ("models.clip",),
    "mlflow": ("tracking",),
    "pynetdicom": ("pipelines.service",),
    "dicomweb_client": ("pipelines.service",),
}
PUBLIC = "headclip_med"  # __init__.py re-exports from any layer


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours as its name below headclip_med, and its file; links not followed."""
    for top in ("headclip_med", "transforms", "pipelines"):
        for folder, _, files in os.walk(ROOT / top):
            for path in (Path(folder) / file for file in sorted(files) if file.endswith(".py")):
                parts = path.relative_to(ROOT).with_suffix("").parts
                name = ".".join(parts).removeprefix("headclip_med.").removesuffix(".__init__")
                yield (PUBLIC if name == "__init__" else name), path


def imported(source: str) -> Iterator[str]:
    """Dotted names of all that a module imports, inside functions and for types as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> int | None:
    top = name.split(".")[0]
    return next((i for i, names in enumerate(LAYERS) if top in names), None)


def objections(name: str, source: str) -> list[str]:
    """What is wrong with the imports of one module."""
    found = []
    for target in imported(source):
        owner, _, below = target.partition(".")
        doors = DOORS.get(owner)
        if doors and not any(name == door or name.startswith(f"{door}.") for door in doors):
            found.append(f"{name} imports {owner}, which has its door in {' and '.join(doors)}")
        if owner == "headclip_med" and name != PUBLIC and not _may_meet(name, below):
            found.append(f"{name} may not import {below}")
    return found


def _may_meet(name: str, other: str) -> bool:
    here, there = layer(name), layer(other)
    ends = name.split(".")[0], other.split(".")[0]
    if here is None or there is None or ends[0] == ends[1]:
        return True
    return there > here or (there == here and set(ends) <= NOUNS) or ends in EXCEPTIONS


@pytest.mark.parametrize(("name", "path"), [pytest.param(n, p, id=n) for n, p in modules()])
def test_imports_respect_layers_and_doors(name: str, path: Path) -> None:
    assert objections(name, path.read_text()) == []


def test_every_module_stands_in_a_layer() -> None:
    homeless = [n for n, _ in modules() if layer(n) is None and n not in (PUBLIC, "__main__")]
    assert homeless == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("geometry", "from headclip_med.transforms import fuse"),
        ("transforms.slices", "import headclip_med.models.clip.towers"),
        ("read.dicom", "from headclip_med.write.dicom.seg import write_seg"),
        ("models.headclip", "import open_clip"),
        ("pipelines.screen", "def f():\n    from pydicom import dcmread"),
        ("training.loop", "from headclip_med.datasets import Dataset"),
    ],
)
def test_the_checks_above_can_fail(name: str, source: str) -> None:
    assert len(objections(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli", "from headclip_med.pipelines.screen import screen"),
        ("volume", "from headclip_med.geometry import Grid"),
        ("read.dicom", "import pydicom"),
        ("models.clip", "import open_clip"),
        ("models.headclip.learning", "from headclip_med.training.loop import learn"),
    ],
)
def test_what_the_picture_allows_passes(name: str, source: str) -> None:
    assert objections(name, source) == []
