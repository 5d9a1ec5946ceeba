"""What every test shares: no network, repeatable examples, and the data that may lie beside us."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import hypothesis
import pytest
from jaxtyping import _import_hook

if TYPE_CHECKING:
    from headclip_med.models.clip.hub import FoundModel
    from headclip_med.models.clip.towers import Backbone

# Tests that run side by side share the cores; set before torch looks, and for child processes too.
_SIDE_BY_SIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _SIDE_BY_SIDE > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _SIDE_BY_SIDE)))

# The same examples on every machine; a slow first call (an import, a kernel) is not a failure.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


class _LoaderOfOurs(_import_hook._JaxtypingLoader):
    """Checks shapes and types in our modules, and leaves alone what they import.

    jaxtyping's own loader looks for bytecode under another name for as long as a module of ours is
    executed, and so for all that it imports first: MONAI and torch were compiled anew in every run.
    """

    def get_code(self, fullname: str) -> Any:
        marked = partial(_import_hook._optimized_cache_from_source, self._typechecker.get_hash())
        with patch("importlib._bootstrap_external.cache_from_source", marked):
            return super().get_code(fullname)

    def exec_module(self, module: ModuleType) -> None:
        SourceFileLoader.exec_module(self, module)


_import_hook._JaxtypingLoader = _LoaderOfOurs


@pytest.fixture(scope="session", autouse=True)
def _this_machine_only() -> Iterator[None]:
    """Let a socket reach this machine and nothing else: tests are offline."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", _guarded_lookup(socket.getaddrinfo))
        yield


@pytest.fixture(scope="session", autouse=True)
def _leaves_no_runs() -> Iterator[None]:
    """See to it that no test records runs where tests are started, as commands do by default."""
    tracks = [Path.cwd() / name for name in ("mlflow.db", "mlruns") if not Path(name).exists()]
    yield
    assert [path.name for path in tracks if path.exists()] == []


@pytest.fixture(scope="session", autouse=True)
def _headclip_mini_is_built_once() -> Iterator[None]:
    """Give copies of the embedded towers after the first time: half of the tests load them."""
    if "torch" not in sys.modules:  # nothing here needs towers
        yield
        return
    from headclip_med.models.clip import loading

    built: dict[str, Backbone] = {}
    fill, assemble = loading._completed, loading.assemble

    def is_embedded(found: FoundModel) -> bool:  # by its name: by its path it is a file's
        return (found.path, found.source) == (loading.EMBEDDED_PATH, "embedded")

    def fill_unless_built(state: Any, found: FoundModel) -> Any:
        return state if is_embedded(found) and built else fill(state, found)

    def assemble_or_copy(found: FoundModel, state: Any = None, *, seed: int = 0) -> Backbone:
        if not is_embedded(found):
            return assemble(found, state, seed=seed)
        if not built:
            built["mini"] = assemble(found, state, seed=seed)
            assert built["mini"].digest  # copies have it as well
        words = built["mini"].text.tokenizer  # of tens of thousands of entries that never change
        return deepcopy(built["mini"], {id(words): words})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_completed", fill_unless_built)
        patch.setattr(loading, "assemble", assemble_or_copy)
        yield


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Reference values computed with the methods' original code."""
    return _folder_named_by("HEADCLIP_ORACLES")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, DICOM and NIfTI files that may not be committed."""
    return _folder_named_by("HEADCLIP_DATA")


@pytest.fixture
def quick_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run bfloat16 where it was asked for, whatever this machine's hardware is made for."""
    monkeypatch.setattr("headclip_med.models.engine.run.has_bf16", lambda kind: True)


@pytest.fixture
def dciodvfy() -> str:
    """The independent DICOM validator; CI must have it, other machines may do without."""
    path = shutil.which("dciodvfy")
    if path is None:
        reason = "dciodvfy is missing: apt-get install dicom3tools"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def _folder_named_by(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set; it names a folder that cannot be committed")
    return Path(folder)


def _guarded(method: Any) -> Any:
    def reach(self: socket.socket, *arguments: Any) -> Any:
        if self.family != socket.AF_UNIX:
            _refuse_elsewhere(arguments[-1][0])  # the address comes last
        return method(self, *arguments)

    return reach


def _guarded_lookup(lookup: Any) -> Any:
    def resolve(host: Any, *arguments: Any, **named: Any) -> Any:
        _refuse_elsewhere(host)
        return lookup(host, *arguments, **named)

    return resolve


def _refuse_elsewhere(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return
    try:
        here = ipaddress.ip_address(name).is_loopback
    except ValueError:
        here = False
    if not here:
        raise RuntimeError(f"Tests run offline, but this one wanted to reach {name}.")
