"""Single modules of open_clip, without the package, which imports torchvision and timm first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
