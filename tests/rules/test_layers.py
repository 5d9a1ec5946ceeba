"""Imports point down, neighbours in a layer never meet, and each library has its own door."""

from __future__ import annotations

import pytest

from tests.source import Module, imported, modules, parsed

LAYERS = (  # top to bottom
    ("cli",),
    ("pipelines",),
    ("evaluation",),
    ("read", "write", "transforms", "models", "training", "datasets", "metrics", "paper",
     "tracking", "synthetic", "store"),
    ("atomic", "calibration", "content", "exchange", "extras", "findings", "geometry", "mapped",
     "prediction", "ranks", "reading", "settings", "volume"),
    ("errors",),
)  # fmt: skip
NOUNS = LAYERS[4]  # these may use one another
NEIGHBOURS = {  # (from, to): why these neighbours may meet
    ("datasets", "read"): "a picture of a set is read as one that is screened",
    ("datasets", "transforms"): "and gets the same window",
    ("models", "store"): "what the frozen tower gives is kept while a method learns",
    ("models", "training"): "a method brings its learner to the loop",
    ("write", "transforms"): "SimpleITK resamples a heatmap for software that knows no shear",
}
DOORS = {  # library: the modules, or folders of modules, that may import it
    "alembic": ("pipelines.service.database",),
    "dicomweb_client": ("pipelines.service",),
    "highdicom": ("read", "write"),
    "ignite": ("training", "pipelines.bundle"),
    "imagecodecs": ("read",),
    "ipyniivue": ("write.pages",),
    "jinja2": ("write.pages",),
    "matplotlib": ("write.pictures", "pipelines.experiments.report"),
    "mlflow": ("tracking",),
    "monai": ("training", "transforms", "models", "pipelines.bundle", "exchange"),
    # Its reader of Siemens' private header places the tiles of a mosaic.
    "nibabel": ("read.nifti", "read.dicom.planes.tiles", "write.nifti", "exchange"),
    "onnx": ("models.engine", "pipelines.bundle"),
    "onnxruntime": ("models.engine", "pipelines.bundle"),
    "open_clip": ("models.clip",),
    "pandas": ("paper", "pipelines.experiments"),
    "prometheus_client": ("pipelines.service.worklist",),
    "psycopg": ("pipelines.service.database",),
    "pydicom": ("read", "write", "pipelines.service"),
    "pynetdicom": ("pipelines.service",),
    "ray": ("pipelines.service.execution.ray",),
    "requests": ("pipelines.service.delivery",),
    "rich": ("cli.terminal",),
    "SimpleITK": ("read", "transforms", "exchange"),
    "skimage": ("transforms", "metrics"),
    "sklearn": ("metrics", "models.adaclip"),
    "sqlalchemy": ("tracking", "pipelines.service"),
    "starlette": ("pipelines.service",),
    "torch": ("models", "training", "transforms", "metrics", "evaluation", "pipelines", "store",
              "prediction", "exchange"),
    "tqdm": ("cli.terminal",),
    "uvicorn": ("pipelines.service",),
}  # fmt: skip
ENTRANCES = ("", "__main__")  # headclip_med itself re-exports from any layer


def layer(name: str) -> int | None:
    top = name.split(".")[0]
    return next((depth for depth, names in enumerate(LAYERS) if top in names), None)


def objections(module: Module) -> list[str]:
    """What is wrong with the imports of one module of the library."""
    found = []
    for target in imported(module.tree):
        owner, _, below = target.partition(".")
        if owner in ("research", "benchmarks", "tests"):
            found.append(f"{module.name} imports {owner}, which is no part of the library")
        if owner in DOORS and not any(_is_below(module.name, door) for door in DOORS[owner]):
            found.append(f"{module.name} imports {owner}, whose doors are {DOORS[owner]}")
        if owner == "headclip_med" and module.name not in ENTRANCES:
            found += [] if _may_meet(module.name, below) else [f"{module.name} imports {below}"]
    return found


def _is_below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}.")


def _may_meet(name: str, other: str) -> bool:
    here, there = layer(name), layer(other)
    ends = name.split(".")[0], other.split(".")[0]
    if here is None or there is None or ends[0] == ends[1]:
        return True
    return there > here or (there == here and set(ends) <= set(NOUNS)) or ends in NEIGHBOURS


def circles(found: tuple[Module, ...]) -> list[list[str]]:
    """Modules that import each other, each group once; what only type checkers see is left out."""
    names = {one.name for one in found}
    graph = {one.name: _targets(one, names) for one in found}
    groups = {frozenset(_reached(name, graph) & _reaching(name, graph)) for name in names}
    return sorted(sorted(group) for group in groups if group)


def _targets(module: Module, names: set[str]) -> set[str]:
    found = set()
    for target in imported(module.tree, for_types=False):
        name = (
            target.removeprefix("headclip_med.") if target.startswith("headclip_med.") else target
        )
        owner = name.rpartition(".")[0]
        found |= {name} & names or {owner} & names
    return found - {""}


def _reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    """All that can be reached from a module; itself only where there is a way back."""
    found: set[str] = set()
    ahead = [*graph[start]]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += graph[name]
    return found


def _reaching(goal: str, graph: dict[str, set[str]]) -> set[str]:
    return {name for name in graph if goal in _reached(name, graph)}


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name or "headclip_med")
def test_imports_respect_layers_and_doors(module: Module) -> None:
    assert objections(module) == []


def test_every_module_stands_in_a_layer() -> None:
    homeless = [one.name for one in modules() if layer(one.name) is None]
    assert homeless == ["", "__main__"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(modules()) == []


def test_research_uses_the_library_but_not_its_command_line() -> None:
    used = {name for one in modules("research") for name in imported(one.tree)}
    assert [name for name in used if _is_below(name, "headclip_med.cli")] == []
    assert any(_is_below(name, "headclip_med") for name in used)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("geometry", "from headclip_med.transforms import fuse"),
        ("transforms.slices", "import headclip_med.models.clip.towers"),
        ("read.dicom.series", "from headclip_med.write.dicom.seg import write_seg"),
        ("evaluation.measure", "from headclip_med.pipelines.screen import screen"),
        ("training.loop", "from headclip_med.models.headclip.model import HeadClip"),
        ("training.loop", "from headclip_med.datasets import Dataset"),
        ("models.winclip.model", "import open_clip"),
        ("pipelines.screen", "def f():\n    from pydicom import dcmread"),
        ("pipelines.train", "from research.mini.settings import Recipe"),
    ],
)
def test_an_import_that_is_planted_is_found(name: str, source: str) -> None:
    assert len(objections(parsed(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli", "from headclip_med.pipelines.screen import screen"),
        ("volume", "from headclip_med.geometry import Grid"),
        ("read.dicom.series", "import pydicom"),
        ("models.clip.hub", "import open_clip"),
        ("models.headclip.learning", "from headclip_med.training.loop import learn"),
    ],
)
def test_what_the_picture_allows_passes(name: str, source: str) -> None:
    assert objections(parsed(name, source)) == []


def test_a_circle_that_is_planted_is_found() -> None:
    ring = tuple(
        parsed(name, f"def late():\n    from headclip_med.{other} import thing")
        for name, other in [("a", "b"), ("b", "c.d"), ("c.d", "a"), ("e", "a")]
    )
    assert circles(ring) == [["a", "b", "c.d"]]
    for_types = parsed("a", "if TYPE_CHECKING:\n    from headclip_med.b import thing")
    assert circles((for_types, *ring[1:])) == []
