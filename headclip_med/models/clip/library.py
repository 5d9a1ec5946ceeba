"""Single modules of open_clip, without the package, which imports torchvision and timm first."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_VIEW = "open_clip_parts"
"""A package over open_clip's folder that runs no ``__init__``."""


def folder() -> Path:
    """Give the folder that open_clip is installed in."""
    found = find_spec("open_clip")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("open_clip is not installed", name="open_clip")
    return Path(found.submodule_search_locations[0])


@cache
def part(name: str) -> Any:
    """Import one module: ``tokenizer`` needs torch, ``pretrained`` nothing of weight."""
    if _VIEW not in sys.modules:
        view = ModuleType(_VIEW)
        view.__path__ = [str(folder())]
        sys.modules[_VIEW] = view
    if name != "pretrained":
        return import_module(f"{_VIEW}.{name}")
    with _left_out("safetensors.torch", "huggingface_hub"):  # for downloads, which go by open_clip
        return import_module(f"{_VIEW}.{name}")


@contextmanager
def _left_out(*names: str) -> Iterator[None]:
    """Let imports of libraries fail that are not loaded yet, for code that can do without."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@cache
def configs() -> dict[str, dict[str, Any]]:
    """Read the configurations that open_clip brings, in the order in which it lists them."""
    found = {}
    for path in (folder() / "model_configs").glob("*.json"):
        config = json.loads(path.read_text("utf-8"))
        if {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
            found[path.stem] = config
    return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def _natural(name: str) -> list[str | int]:
    parts = re.split(r"(\d+)", name.lower())
    return [int(one) if one.isdigit() else one for one in parts]


def stated_config(name: str) -> dict[str, Any] | None:
    """Look a configuration up, also one that was added to open_clip; nothing is fetched."""
    if "open_clip" in sys.modules and ":" not in name:
        import open_clip

        known: dict[str, Any] | None = open_clip.get_model_config(name)
        return known
    return deepcopy(configs().get(name))


def tables() -> Any:
    """Give what knows the pretrained weights: open_clip where it is loaded, else its tables."""
    return sys.modules.get("open_clip") or part("pretrained")
