"""A public name is there to be used: by the library, the bundle or its documentation."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.source import LIBRARY, ROOT, Module, files, modules, parsed

READERS = ("bundles", "docs", "README.md", "CONTRIBUTING.md")
"""Where names are used outside Python: configurations, a deployment, pages."""

CALLED_FROM_OUTSIDE = {
    "attach": "an engine, of its handlers",
    "collect": "prometheus_client, of its collectors",
    "down_revision": "alembic, of its steps",
    "forward": "torch, of every module",
    "inverse": "MONAI, of transforms that can be undone",
    "type_annotation_map": "SQLAlchemy, of its tables",
    "verify_suffix": "MONAI, of its readers of images",
}
"""Method: who calls it without its name being written here."""


@dataclass(frozen=True)
class Definition:
    """A public name: of a module's top level, or of a class there (``Class.name``)."""

    name: str
    where: str

    @property
    def word(self) -> str:
        return self.name.rpartition(".")[2]


def definitions(module: Module) -> Iterator[Definition]:
    """The public names that a module defines."""
    for node in module.tree.body:
        for name in _names(node):
            yield Definition(name, f"{module.path}:{node.lineno}")
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                for name in _names(inner):
                    yield Definition(f"{node.name}.{name}", f"{module.path}:{inner.lineno}")


def _names(node: ast.stmt) -> list[str]:
    found = []
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            overrides = any("override" in ast.unparse(one) for one in node.decorator_list)
            found = [] if overrides else [name]
        case ast.Assign(targets=targets):
            found = [one.id for one in targets if isinstance(one, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            found = [name]
    return [name for name in found if not name.startswith("_")]


def uses(module: Module) -> Counter[str]:
    """How often a module uses each word, beside defining it or passing it on."""
    return Counter(word for node in module.tree.body for word in _used(node, module))


def _used(node: ast.AST, module: Module) -> Iterator[str]:
    own = getattr(node, "name", None)
    for child in ast.iter_child_nodes(node):
        for word in _used(child, module):
            if word != own:  # a function that calls itself
                yield word
    match node:
        case ast.Name(id=word, ctx=ast.Load()) | ast.Attribute(attr=word, ctx=ast.Load()):
            yield word
        case ast.ImportFrom(names=aliases) if module.path.name != "__init__.py":
            yield from (alias.name for alias in aliases)
        case ast.keyword(arg=str(word)):
            yield word
        case ast.Constant(value=str(text)) if text.isidentifier():
            yield text  # getattr, replace(**...), a field by its name
        case ast.MatchClass(kwd_attrs=words):
            yield from words


def unused(found: tuple[Module, ...], read: str) -> list[str]:
    """Public names that neither the modules nor the text that is read use."""
    used: Counter[str] = Counter()
    for module in found:
        used.update(uses(module))
    words = set(re.findall(r"\w+", read))
    return [
        f"{one.where}: {one.name}"
        for module in found
        for one in definitions(module)
        if not used[one.word] and one.word not in words and one.word not in CALLED_FROM_OUTSIDE
    ]


def repeated_classes(found: tuple[Module, ...]) -> dict[str, list[str]]:
    """Class names that stand for more than one thing."""
    where: dict[str, list[str]] = {}
    for module in found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(module.name)
    return {name: places for name, places in where.items() if len(places) > 1}


@cache
def pages() -> str:
    """All that is read besides Python, and the deployment."""
    folders = [top for top in READERS if (ROOT / top).is_dir()]
    paths = [path for top in folders for path in files(top)]
    paths += [Path(top) for top in READERS if top not in folders]
    return "\n".join(_code(ROOT / path) for path in paths)


def _code(path: Path) -> str:
    """What a file says in code: of a page what stands in backticks, of a model nothing."""
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```.*?```|`[^`]+`", path.read_text(), re.DOTALL))
    return path.read_text() if path.suffix in (".json", ".py", ".toml") else ""


def test_every_public_name_is_used_by_more_than_tests() -> None:
    assert unused(modules(), pages()) == []


def test_no_two_classes_share_a_name() -> None:
    assert repeated_classes(modules(*LIBRARY, "research")) == {}


@pytest.mark.parametrize("word", CALLED_FROM_OUTSIDE)
def test_exceptions_are_in_use(word: str) -> None:
    assert word in {one.word for module in modules() for one in definitions(module)}


@pytest.mark.parametrize(
    "source",
    [
        "def planted(): ...",
        "PLANTED = 1",
        "planted: int = 1",
        "class Planted: ...",
        "def planted():\n    return planted()",
        "class A:\n    def planted(self): ...\nA()",
        "class A:\n    planted: int\nA()",
    ],
)
def test_a_name_that_nothing_uses_is_found(source: str) -> None:
    assert len(unused((parsed("m", source), parsed("other", "import m")), "")) == 1


@pytest.mark.parametrize(
    ("source", "user", "page"),
    [
        ("def planted(): ...", "from m import planted", ""),
        ("def planted(): ...", "", "Call `planted`."),
        ("class A:\n    def planted(self): ...", "A().planted()", ""),
        ("class A:\n    planted: int", "A(planted=1)", ""),
        ("def _own(): ...", "", ""),
    ],
)
def test_a_name_that_is_used_passes(source: str, user: str, page: str) -> None:
    assert unused((parsed("m", source), parsed("other", user)), page) == []


def test_a_class_of_the_same_name_is_found() -> None:
    twins = (parsed("a", "class Row: ..."), parsed("b", "class Row: ...\nclass Column: ..."))
    assert repeated_classes(twins) == {"Row": ["a", "b"]}
