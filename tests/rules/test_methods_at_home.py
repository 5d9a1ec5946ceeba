"""A method's names stand in its own folder, in the table of methods and in the experiments."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.source import ROOT, Module, docstrings, files, modules, parsed

HOMES = ("models.registry", "pipelines.experiments.definitions")
"""Beside ``models/<method>/``."""

PROJECT = "headclip"
"""The method that the project is named after. In a text only the bare word is taken for it: what
stands in a sentence, a prefix or a file's name is the project."""

PROJECT_WORDS = ("HeadClipError",)
"""Identifiers of the project that hold its name; ``headclip_med`` and ``headclip-mini`` beside."""

BARE_WORD: Mapping[str, str] = {
    "cli.experiment": "the program's name in a command line that is printed",
    "cli.main": "the program's name in its help",
    "read.dicom.header": "the maker of captures that are not to be screened again",
    "write.dicom.run": "the name of a model that has none",
}
"""Module: what the project's bare name stands for in it, where that is not the method."""


def methods() -> tuple[str, ...]:
    """The methods, by their folders: each has settings of its own."""
    found = (path for path in files("headclip_med/models") if path.name == "settings.py")
    return tuple(path.parent.name for path in found if path.parent.name != "models")


def classes_of(names: tuple[str, ...]) -> frozenset[str]:
    """The classes that the methods' folders define."""
    return frozenset(
        node.name
        for name in names
        for one in modules()
        if one.name.startswith(f"models.{name}.")
        for node in ast.walk(one.tree)
        if isinstance(node, ast.ClassDef)
    )


def is_home(module: Module, names: tuple[str, ...]) -> bool:
    top, _, below = module.name.partition(".")
    return module.name in HOMES or (top == "models" and below.split(".")[0] in names)


def places(module: Module, names: tuple[str, ...], classes: frozenset[str]) -> list[str]:
    """Where a module names a method, or a class of one; what documents it may."""
    documents = docstrings(module.tree)
    identifiers = [
        f"{module.path}:{node.lineno}: {text}"
        for node in ast.walk(module.tree)
        for text in _identifiers(node)
        if text in classes or _identifies(text, names)
    ]
    texts = [
        f"{module.path}:{node.lineno}: {node.value!r}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node not in documents and _mentions(module, node.value, names)
    ]
    return identifiers + texts


def _identifiers(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
            yield name
        case ast.Import(names=aliases):
            yield from (part for alias in aliases for part in alias.name.split("."))
        case ast.ImportFrom(module=str(name), names=aliases):
            yield from name.split(".")
            yield from (alias.name for alias in aliases)


def _identifies(name: str, names: tuple[str, ...]) -> bool:
    plain = name.lower().replace("headclip_med", "").replace("headclip_mini", "")
    return name not in PROJECT_WORDS and any(one in plain for one in names)


def _mentions(module: Module, text: str, names: tuple[str, ...]) -> bool:
    if text == PROJECT:
        return module.name not in BARE_WORD
    return any(one in text.lower() for one in names if one != PROJECT)


def test_methods_are_found_by_their_folders() -> None:
    assert PROJECT in methods()
    assert all((ROOT / "headclip_med/models" / name / "model.py").exists() for name in methods())


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name or "headclip_med")
def test_no_method_is_named_elsewhere(module: Module) -> None:
    names = methods()
    if not is_home(module, names):
        assert places(module, names, classes_of(names)) == []


@pytest.mark.parametrize("name", BARE_WORD)
def test_exceptions_are_in_use(name: str) -> None:
    (module,) = (one for one in modules() if one.name == name)
    bare = [node for node in ast.walk(module.tree) if isinstance(node, ast.Constant)]
    assert PROJECT in [node.value for node in bare]


@pytest.mark.parametrize(
    "source",
    [
        'if model.method == "headclip": pass',
        'scale = {"winclip": 0.25}',
        'say("Only AnomalyCLIP can do this.")',
        "isinstance(model, FoldedHeadClip)",
        "from headclip_med.models.anovl.views import turned",
        "def fit_adaclip(): ...",
        "usual = usual_headclip()",
        "build(headclip_settings=1)",
    ],
)
def test_a_name_that_is_planted_is_found(source: str) -> None:
    assert len(places(parsed("cli.train", source), methods(), frozenset({"FoldedHeadClip"}))) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""What WinCLIP does."""',
        "from headclip_med.errors import HeadClipError",
        'model = load_model("headclip-mini")',
        'say("headclip: stopped")',
    ],
)
def test_the_name_of_the_project_is_no_method(source: str) -> None:
    assert places(parsed("cli.train", source), methods(), frozenset()) == []
