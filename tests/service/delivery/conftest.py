"""A folder of results with its database."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from headclip_med.pipelines.service.database.opening import Database, open_database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Open that of ``tmp_path / "out"``."""
    (tmp_path / "out").mkdir()
    return open_database(tmp_path / "out")


@pytest.fixture(autouse=True)
def _sockets_end_with_their_test() -> Iterator[None]:
    """Collect what pynetdicom leaves to the garbage collector: sockets that were refused."""
    yield
    gc.collect()
