"""The version is written once; whatever repeats it for others says the same."""

from __future__ import annotations

import json
import tomllib

import yaml

import headclip_med
from tests.source import ROOT


def test_the_package_takes_its_version_from_the_module() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "headclip_med.__version__"
    }


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
