"""What a reader must hold in mind at once has a limit: files, parameters, options."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from headclip_med.cli.main import COMMANDS, main
from tests.source import LIBRARY, Module, files, functions, modules, parsed

MOST_FILES = 12
MOST_PARAMETERS = 8
MOST_OPTIONS = 20
MARKS = ("__init__.py", "__main__.py", "py.typed")
"""What makes a folder a package; they do not count."""


def crowded(paths: list[Path]) -> dict[str, int]:
    """Folders with more files than allowed."""
    count = Counter(str(path.parent) for path in paths if path.name not in MARKS)
    return {folder: number for folder, number in count.items() if number > MOST_FILES}


def long_signatures(module: Module) -> list[str]:
    """Functions with more parameters than allowed; ``self`` and ``cls`` do not count."""
    return [
        f"{module.path}:{node.lineno}: {node.name} has {len(_parameters(node))}"
        for node in functions(module.tree)
        if len(_parameters(node)) > MOST_PARAMETERS
    ]


def options(help_text: str) -> set[str]:
    """The options that a help page explains, each on a line that it begins."""
    return set(re.findall(r"^\W*(?:-h, )?(--[a-z][a-z-]+)", help_text, re.MULTILINE))


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [one.arg for one in every if one.arg not in ("self", "cls")]


@pytest.mark.parametrize("top", [*LIBRARY, "research", "benchmarks", "bundles", "tests"])
def test_no_folder_holds_more_files_than_allowed(top: str) -> None:
    assert crowded(list(files(top))) == {}


@pytest.mark.parametrize("top", [*LIBRARY, "research", "benchmarks", "tests"])
def test_no_function_takes_more_parameters_than_allowed(top: str) -> None:
    assert [line for one in modules(top) for line in long_signatures(one)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_no_commands_own_help_has_more_options_than_allowed(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert 0 < len(options(capsys.readouterr().out)) <= MOST_OPTIONS


def test_what_is_planted_is_found() -> None:
    many = [Path("package", f"part_{number}.py") for number in range(MOST_FILES)]
    assert crowded([*many, Path("package/__init__.py")]) == {}
    assert crowded([*many, Path("package/one_more.json")]) == {"package": MOST_FILES + 1}
    names = ", ".join("abcdefgh")
    assert long_signatures(parsed("m", f"class A:\n    def f(self, {names}): ...")) == []
    assert len(long_signatures(parsed("m", f"def f({names}, *, late): ..."))) == 1
    assert options("| -h, --help  show this\n| --out PATH  see --help\n") == {"--help", "--out"}
