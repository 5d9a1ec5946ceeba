"""The repository's folders, the import names and the wheel's lists agree."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml

import headclip_med
from headclip_med.errors import EXTRAS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
LINKED = ("transforms", "pipelines")
LINKED_DATA = ("bundles",)
HOSTED = "/label/main.py"
"""Runs inside MONAI Label, with its libraries and without ours."""


def folders_with_code(top: str) -> set[str]:
    """Dotted names of the packages below a folder; links are not followed."""
    return {
        ".".join(Path(folder).relative_to(ROOT).parts)
        for folder, _, files in os.walk(ROOT / top)
        if "__init__.py" in files
    }


def files_of(*tops: str) -> list[Path]:
    """Files below folders, from the repository's root; links are not followed."""
    return [
        (Path(folder) / name).relative_to(ROOT)
        for top in tops
        for folder, _, names in os.walk(ROOT / top)
        for name in names
        if "__pycache__" not in folder
    ]


def test_every_package_is_listed_for_the_wheel() -> None:
    linked = {f"headclip_med.{name}" for top in LINKED for name in folders_with_code(top)}
    data = {f"headclip_med.{name}" for name in LINKED_DATA}
    assert set(SETUPTOOLS["packages"]) == folders_with_code("headclip_med") | linked | data


def test_every_data_file_is_listed_for_the_wheel() -> None:
    listed = SETUPTOOLS["package-data"]
    left_out = []
    for path in files_of("headclip_med", *LINKED, *LINKED_DATA):
        if path.suffix == ".py":
            continue
        parts = path.parts if path.parts[0] == "headclip_med" else ("headclip_med", *path.parts)
        owners = [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]
        package = next(name for name in owners if name in SETUPTOOLS["packages"])
        inside = "/".join(parts[package.count(".") + 1 :])
        if not any(fnmatch(inside, pattern) for pattern in listed.get(package, [])):
            left_out.append(str(path))
    assert left_out == []


def test_links_show_the_same_code_to_editors() -> None:
    for top in LINKED:
        assert (ROOT / "headclip_med" / top / "__init__.py").samefile(ROOT / top / "__init__.py")


def test_no_module_is_imported_under_its_folder_name() -> None:
    names = "import headclip_med.cli, sys; print([m for m in sys.modules if m.split('.')[0] in %r])"
    done = subprocess.run(
        [sys.executable, "-c", names % (LINKED,)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_library_that_is_imported_is_declared() -> None:
    declared = {_plain(requirement) for requirement in _requirements()}
    owners = packages_distributions()
    undeclared = set()
    for path in files_of("headclip_med", *LINKED, *LINKED_DATA):
        if path.suffix != ".py" or str(path).endswith(HOSTED):
            continue
        for name in _imported(ROOT / path) - sys.stdlib_module_names - {"headclip_med"}:
            if not {_plain(owner) for owner in owners.get(name, [name])} & declared:
                undeclared.add(f"{path}: {name}")
    assert undeclared == set()


def test_every_declared_library_has_a_pinned_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {_plain(line) for line in lines if "==" in line}
    assert {_plain(requirement) for requirement in _requirements()} - pinned == set()


def _requirements() -> list[str]:
    extras = PROJECT["project"].get("optional-dependencies", {})
    every = [
        *PROJECT["project"]["dependencies"],
        *(one for many in extras.values() for one in many),
    ]
    # An extra may take in another of the project's own.
    return [one for one in every if _plain(one) != PROJECT["project"]["name"]]


def _plain(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement.strip())[0].lower().replace("_", "-")


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_core_screens_without_the_extras_and_names_the_one_that_is_missing(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests/core_only.py", tmp_path], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_library_of_an_extra_is_known_by_its_module() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    owners = packages_distributions()
    for library, extra in EXTRAS.items():
        names = {_plain(owner) for owner in owners[library]}
        assert names & {_plain(requirement) for requirement in extras[extra]}


def test_the_package_takes_its_version_from_the_module() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "headclip_med.__version__"}


def test_what_repeats_the_version_says_the_same() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    bundle = "bundles/headclip_lesion_segmentation/configs/metadata.json"
    needed = json.loads((ROOT / bundle).read_text())["required_packages_version"]
    newest = next(
        line.split("]")[0].removeprefix("## [")
        for line in (ROOT / "CHANGELOG.md").read_text().splitlines()
        if line.startswith("## [")
    )
    said = {citation["version"], needed["headclip-med"], newest}
    assert said == {headclip_med.__version__}
