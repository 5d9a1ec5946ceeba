"""What the configurations are made of: MONAI's own parts, and few of this project's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headclip_med.pipelines import bundle
from headclip_med.pipelines.bundle.folder import CONFIGS

MOST_OF_OUR_OWN = 8
OWN = re.compile(r"headclip_med\.[\w.]+|(?<![\w.])headclip\.\w+")


def texts(content: Any) -> Iterator[str]:
    """Every text of a configuration but the imports, which name no part."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from texts(value) if key != "imports" else ()
    elif isinstance(content, list):
        for value in content:
            yield from texts(value)
    elif isinstance(content, str):
        yield content


def own_parts(file: Path) -> list[str]:
    """Every mention of a part of ours, as a target or in an expression."""
    named = [text for text in texts(json.loads(file.read_text())) if text.startswith("$")]
    targets = re.findall(r'"_target_": "(.*?)"', file.read_text())
    return [found for text in (*named, *targets) for found in OWN.findall(text)]


@pytest.mark.parametrize("name", ["inference", "train"])
def test_few_parts_are_our_own(name: str) -> None:
    found = own_parts(CONFIGS / f"{name}.json")
    assert 0 < len(found) <= MOST_OF_OUR_OWN, found


def test_every_public_part_is_named_by_a_configuration_or_the_documentation() -> None:
    files = [*CONFIGS.glob("*.json"), *CONFIGS.parent.glob("docs/*.md")]
    files += [*CONFIGS.parent.glob("deploy/*.py"), *CONFIGS.parent.glob("label/*.py")]
    said = "".join(file.read_text() for file in files)
    assert [name for name in bundle.__all__ if not re.search(rf"\b{name}\b", said)] == []
