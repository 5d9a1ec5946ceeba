"""The project's own files, parsed once, for the tests that hold its rules."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ("headclip_med", "transforms", "pipelines")
"""Folders that make up ``headclip_med``; the links inside it are not followed."""


@dataclass(frozen=True, eq=False)
class Module:
    """One file of Python.

    Attributes:
        name: As it is imported, ``headclip_med.`` left out: ``read.dicom.series``. A package bears
            its folder's name, and ``headclip_med`` itself the empty one.
        path: From the repository's root.
        tree: Its syntax tree.
    """

    name: str
    path: Path
    tree: ast.Module


def parsed(name: str, text: str) -> Module:
    """Take a text for a module, as tests of a check do that plant what it shall find."""
    return Module(name, Path(*name.split(".")).with_suffix(".py"), ast.parse(text))


def modules(*tops: str) -> tuple[Module, ...]:
    """Every module below folders of the repository; by default those of the library."""
    return tuple(one for top in tops or LIBRARY for one in _below(top))


def files(top: str) -> Iterator[Path]:
    """Files below a folder, from the root; links and what can be made again left out."""
    for folder, folders, names in os.walk(ROOT / top):
        folders[:] = sorted(one for one in folders if one not in ("__pycache__", "node_modules"))
        yield from (Path(folder, name).relative_to(ROOT) for name in sorted(names))


@cache
def _below(top: str) -> tuple[Module, ...]:
    found = (path for path in files(top) if path.suffix == ".py")
    return tuple(Module(_name(p), p, ast.parse((ROOT / p).read_text())) for p in found)


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    inside = parts[1:] if parts[0] == "headclip_med" else parts
    return ".".join(inside[:-1] if inside[-1] == "__init__" else inside)


def imported(tree: ast.Module, *, for_types: bool = True) -> Iterator[str]:
    """Dotted names of all that a module imports, inside functions as well.

    Args:
        tree: The module.
        for_types: Also what only type checkers see.
    """
    for node in _without_types(tree) if not for_types else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _without_types(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    below: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and is_for_types:
        below = node.orelse
    for child in below:
        yield from _without_types(child)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function, methods and nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def docstrings(tree: ast.AST) -> set[ast.Constant]:
    """The string constants that are documentation: each an expression of its own."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
