"""The bundle's folder, as it travels with the package, and copies of it to work with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from shutil import copyfile
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import torch

from headclip_med.atomic import write_file, write_folder
from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.loading import EMBEDDED_PATH
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.settings import require

BUNDLE = EMBEDDED_PATH.parents[1]
"""The folder with ``configs``, ``models`` and ``docs``."""

CONFIGS = BUNDLE / "configs"

WEIGHTS_FILE = "models/model.pt"
"""Where MONAI's commands, Label and Deploy look for weights."""

LEFT_OUT = ("*.pt", "*.ts", "*.onnx", "*.pyc")
"""What is made from the rest, or was left by a run."""

PARTS = ("LICENSE", "large_files.yml", "configs", "deploy", "docs", "label", "models")


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
        for source in _files(BUNDLE, left_out=LEFT_OUT):
            copy = unfinished / source.relative_to(BUNDLE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(source, copy)
        torch.save(ScreeningNetwork().state_dict(), unfinished / WEIGHTS_FILE)
    return target


def zip_bundle(folder: Path) -> Path:
    """Pack a bundle as MONAI's model zoo hands it out, beside its folder.

    Args:
        folder: A working copy. What runs left beside the bundle's own parts is not packed.

    Returns:
        ``<folder>_v<version>.zip``, with the folder on top; equal bundles give equal bytes.

    Raises:
        InvalidSettings: The folder is no bundle, or the archive is there already.
    """
    folder = folder.resolve()
    metadata = folder / "configs/metadata.json"
    require(
        metadata.is_file(),
        "There is no configs/metadata.json in it, so this is no bundle.",
        "Name a bundle's folder, or write one with 'headclip bundle init'.",
    )
    version = json.loads(metadata.read_text("utf-8"))["version"]
    target = folder.with_name(f"{folder.name}_v{version}.zip")
    require(
        not target.exists(),
        f"{target.name} is there already.",
        "Remove it, or give the bundle a new version in configs/metadata.json.",
    )
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for path in _files(folder, left_out=("*.pyc",)):
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            archive.writestr(ZipInfo(name), path.read_bytes(), ZIP_DEFLATED)
    write_file(target, packed.getvalue())
    return target


def _files(bundle: Path, *, left_out: Iterable[str]) -> Iterator[Path]:
    for part in PARTS:
        top = bundle / part
        for path in [top] if top.is_file() else sorted(top.glob("*")):
            if path.is_file() and not any(path.match(pattern) for pattern in left_out):
                yield path
