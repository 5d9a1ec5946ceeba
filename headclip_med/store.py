"""Where answers are kept, so that no image is shown to the same model twice.

A folder for each set at each size holds ``truth`` and a folder for each model. Every one of these
has its arrays as ``.npy`` files, which are mapped and not read into memory, and an ``about.json``:
what it belongs to, and the SHA-256 of each file. It appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import nn

from headclip_med.atomic import write_folder
from headclip_med.errors import HeadClipError
from headclip_med.models.model import AnomalyModel

_log = logging.getLogger(__name__)

FORM = 1
"""Of what is kept; another number where logits or files come to mean something else."""

HELD_BYTES = 64_000_000
"""Of an array that is not kept; a larger one is held in a file and not in memory."""

_ABOUT = "about.json"

_OF_NO_EFFECT = ("scores", "name", "calibrated")
"""What a model says of itself that its logits do not follow from."""

Identity = Mapping[str, object]
"""Plain JSON values that tell what arrays belong to."""


@dataclass(frozen=True)
class Entry:
    """A folder of arrays.

    Attributes:
        folder: Where it stands, or will.
        identity: What its arrays belong to.
    """

    folder: Path
    identity: Identity

    def read(self) -> dict[str, Shaped[np.ndarray, "..."]] | None:
        """Map its arrays; None where it is not there, damaged or about something else."""
        if not self.folder.is_dir():
            return None
        try:
            about = json.loads((self.folder / _ABOUT).read_text("utf-8"))
            is_own = about["identity"] == self.identity
            arrays = {name: self._mapped(name, told) for name, told in about["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            is_own, arrays = True, None
        if is_own and arrays is not None:
            return arrays
        state = "damaged" if is_own else "about other images or another model"
        _log.warning("%s of the store is %s; it is computed anew.", self.folder.name, state)
        return None

    @contextmanager
    def write(self) -> Iterator[NewArrays]:
        """Fill it; nothing of it is seen before the end of the block.

        Raises:
            HeadClipError: The folder cannot be made.
        """
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(write_folder(self.folder))
            except OSError as error:
                raise HeadClipError(
                    "The store's folder cannot be written.",
                    "Choose another, or its permissions.",
                    code="store-not-writable",
                ) from error
            arrays = NewArrays(folder)
            yield arrays
            arrays.close()
            files = {path.stem: _digest(path) for path in sorted(folder.glob("*.npy"))}
            about = {"identity": dict(self.identity), "files": files}
            (folder / _ABOUT).write_text(json.dumps(about, indent=1), "utf-8")

    def _mapped(self, name: str, digest: str) -> Shaped[np.ndarray, "..."]:
        path = self.folder / f"{name}.npy"
        if _digest(path) != digest:
            raise ValueError("the file has changed")
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))


class NewArrays:
    """Gives room for arrays in a folder's files; see ``truth.MakeArray``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[np.memmap[Any, Any]] = []

    def __call__(self, name: str, shape: tuple[int, ...], kind: type) -> Shaped[np.ndarray, "..."]:
        """Make a file and map it.

        Raises:
            HeadClipError: There is no room for it; without this check, writing to a mapped file on
                a full disk would end the process.
        """
        path = self._folder / f"{name}.npy"
        try:
            array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, "w+", kind, shape)
            with path.open("r+b") as file:
                _make_room(file.fileno(), path.stat().st_size)
        except OSError as error:
            raise HeadClipError(
                "There is no room on the store's disk for "
                f"{_bytes_of(shape, kind) / 1000000000.0:.1f} GB of answers.",
                "Make room, or choose another store.",
                code="no-room-for-answers",
            ) from error
        self._open.append(array)
        return array

    def close(self) -> None:
        """Write everything down."""
        for array in self._open:
            array.flush()


def for_now(name: str, shape: tuple[int, ...], kind: type) -> Shaped[np.ndarray, "..."]:
    """Give room for an array that is not kept; see ``truth.MakeArray``.

    A large one is mapped from a temporary file without a name, which is gone with the array, or
    with the process, however that ends.

    Raises:
        HeadClipError: There is no room for it.
    """
    size = _bytes_of(shape, kind)
    if size <= HELD_BYTES:
        return np.zeros(shape, kind)
    try:
        with tempfile.TemporaryFile(prefix="headclip-answers-") as file:
            _make_room(file.fileno(), size)
            return np.memmap(file, kind, "r+", shape=shape)
    except OSError as error:
        raise HeadClipError(
            f"There is no room for {size / 1000000000.0:.1f} GB of answers where the system keeps "
            "temporary files.",
            "Make room, choose another place with the variable TMPDIR, or name a store.",
            code="no-room-for-answers",
        ) from error


class PredictionStore:
    """The entries about one set at one size.

    Args:
        root: Of the store.
        dataset: Name of the set.
        identity: What tells it apart: its digest, the images' size, how many were chosen.
    """

    def __init__(self, root: Path, dataset: str, identity: Identity) -> None:
        self._identity = {"form": FORM, "dataset": dataset, **identity}
        self._folder = root / f"{_slug(dataset)}-{_short(self._identity)}"

    def truth(self) -> Entry:
        """Name the entry of what the set says."""
        return Entry(self._folder / "truth", self._identity)

    def answers(self, model: AnomalyModel) -> Entry:
        """Name the entry of what a model says."""
        identity = {**self._identity, "model_digest": model_digest(model)}
        method = str(model.describe().get("method", "model"))
        return Entry(self._folder / f"{_slug(method)}-{_short(identity)}", identity)


def model_digest(model: AnomalyModel) -> str:
    """Tell models apart by what their logits follow from: not by how maps become scores.

    A network is told by its weights as well as by what it says of itself, so that one whose weights
    were changed after loading is another; anything else only by what it says of itself.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    described = {name: one for name, one in model.describe().items() if name not in _OF_NO_EFFECT}
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    digest = hashlib.sha256(json.dumps([kind, described], sort_keys=True).encode())
    if isinstance(model, nn.Module):
        for name, tensor in model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # As bytes, since numpy knows no bfloat16.
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _make_room(file: int, size: int) -> None:
    """Take a file's place on the disk: a mapped one that found none would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def _bytes_of(shape: tuple[int, ...], kind: type) -> int:
    return np.dtype(kind).itemsize * math.prod(shape)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(identity: Identity) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9+-]+", "_", name)[:60]
