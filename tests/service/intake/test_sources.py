"""What is found in a folder, and what is pulled from an archive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlalchemy import select

from headclip_med.pipelines.service.database import Database, open_database
from headclip_med.pipelines.service.database.tables import AuditEntry
from headclip_med.pipelines.service.delivery.destinations import DestinationFailed
from headclip_med.pipelines.service.intake.dicomweb import Pull
from headclip_med.pipelines.service.intake.folder import Watch
from headclip_med.pipelines.service.intake.settings import PullSettings, WatchSettings
from headclip_med.pipelines.service.intake.spool import Spool
from tests.phantoms import edit, write_phantom
from tests.service.orthanc import PASSWORD, USER, Orthanc
from tests.service.programs import free_port, wait_until


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(tmp_path)
    yield found
    found.close()


@pytest.fixture
def spool(tmp_path: Path, database: Database) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", "pull", database) as found:
        yield found


def has(spool: Spool, count: int) -> bool:
    def is_there() -> bool:
        return len(list(spool.data.rglob("*.dcm"))) == count

    wait_until(is_there, "they have their files")
    return is_there()


def events(database: Database) -> list[tuple[str, str | None]]:
    with database.read() as session:
        return [(one.event, one.peer) for one in session.scalars(select(AuditEntry))]


def test_a_file_is_taken_when_two_looks_find_it_the_same(
    tmp_path: Path, database: Database, spool: Spool
) -> None:
    folder = tmp_path / "in"
    watch = Watch(WatchSettings(name="scans", folder=str(folder)), spool, database)
    assert watch.look() == 0  # it is not there yet
    paths = write_phantom(folder)
    (folder / "notes.txt").write_text("no DICOM")
    assert watch.look() == 0
    paths[0].touch()  # it is still written to
    assert watch.look() == len(paths) - 1
    assert watch.look() == 1
    assert watch.look() == 0
    assert has(spool, len(paths))
    assert all(path.exists() for path in paths)
    assert events(database) == [("refused", "scans")]
    copy = shutil.copy(paths[1], folder / "copy.dcm")
    edit([Path(copy)], lambda one, _: setattr(one, "RescaleSlope", "2"))
    watch.look()
    assert watch.look() == 1
    assert has(spool, len(paths))
    assert events(database)[1:] == [("conflict", "scans")]


def test_an_archive_is_compared_with_what_is_here(tmp_path: Path, spool: Spool) -> None:
    paths = write_phantom(tmp_path / "in")
    secret = tmp_path / "secret"
    secret.write_text(f"{USER}:{PASSWORD}")
    secret.chmod(0o600)
    (tmp_path / "orthanc").mkdir()
    archive = Orthanc(tmp_path / "orthanc", {})
    archive.start()
    try:
        settings = PullSettings(
            name="archive", url=f"{archive.url}/dicom-web", credentials_file=str(secret),
            filters={"Modality": "CT"},
        )  # fmt: skip
        pull = Pull(settings, spool)
        assert pull.look() == 0
        for part, count in ((paths[:3], 3), (paths[3:], len(paths))):
            for path in part:
                _upload(archive, path)
            assert pull.look() == 1
            assert has(spool, count)
            assert pull.look() == 0
        # A start knows nothing of earlier looks, and still fetches nothing twice.
        assert Pull(settings, spool).look() == 0
        other = Pull(settings.changed(filters={"Modality": "MR"}), spool)
        assert other.look() == 0
    finally:
        archive.stop()
    with pytest.raises(DestinationFailed):
        pull.look()


def _upload(archive: Orthanc, path: Path) -> None:
    answer = requests.post(
        f"{archive.url}/instances", path.read_bytes(), auth=(USER, PASSWORD), timeout=30
    )
    answer.raise_for_status()


def test_an_archive_that_is_not_there_is_said(spool: Spool) -> None:
    settings = PullSettings(name="none", url=f"http://127.0.0.1:{free_port()}/dicom-web")
    with pytest.raises(DestinationFailed):
        Pull(settings, spool).look()
