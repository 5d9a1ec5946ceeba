"""A folder of results with its database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headclip_med.pipelines.service.database.opening import Database, open_database
from tests.service.delivery.results import write_result


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Open that of ``tmp_path / "out"``."""
    (tmp_path / "out").mkdir()
    return open_database(tmp_path / "out")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of one study, made once."""
    folder = tmp_path_factory.mktemp("result")
    return folder / "out" / write_result(folder / "ct", folder / "out")


@pytest.fixture
def result(tmp_path: Path, made: Path) -> str:
    """A copy of it in ``tmp_path / "out"``, by its folder there."""
    shutil.copytree(made, tmp_path / "out" / "result", dirs_exist_ok=True)
    return "result"
