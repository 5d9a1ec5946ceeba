"""The bundle's folder, as it travels with the package, and copies of it to work with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import torch

from headclip_med.atomic import write_folder
from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.loading import EMBEDDED_PATH
from headclip_med.pipelines.bundle.network import ScreeningNetwork

BUNDLE = EMBEDDED_PATH.parents[1]
"""The folder with ``configs``, ``models`` and ``docs``."""

CONFIGS = BUNDLE / "configs"

WEIGHTS_FILE = "models/model.pt"
"""Where MONAI's commands, Label and Deploy look for weights."""

LEFT_OUT = ("*.pt", "*.ts", "*.onnx", "*.pyc")
"""What is made from the rest, or was left by a run."""

PARTS = ("LICENSE", "large_files.yml", "configs", "deploy", "docs", "models")


def write_bundle(target: Path) -> Path:
    """Write a working copy of the bundle, whole or not at all.

    Args:
        target: The bundle's new folder; it may exist if it is empty.

    Returns:
        The folder. ``models/model.pt`` holds the weights of ``network_def``, tensors only.

    Raises:
        InvalidSettings: The folder holds something already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidSettings(
            "The bundle's folder is there already, and not empty.",
            "Name a new one.",
            code="out-exists",
        )
    with write_folder(target) as unfinished:
        for source in _files():
            copy = unfinished / source.relative_to(BUNDLE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(source, copy)
        torch.save(ScreeningNetwork().state_dict(), unfinished / WEIGHTS_FILE)
    return target


def _files() -> Iterator[Path]:
    for part in PARTS:
        top = BUNDLE / part
        for path in [top] if top.is_file() else sorted(top.glob("*")):
            if path.is_file() and not any(path.match(pattern) for pattern in LEFT_OUT):
                yield path
