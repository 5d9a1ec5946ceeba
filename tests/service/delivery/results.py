"""Results to deliver: a tilted CT with a bright lesion, screened by a model without weights."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from sqlalchemy import select

from headclip_med.geometry import Grid
from headclip_med.pipelines.screen import screen
from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.database.tables import (
    DeliveryEntry,
    JobEntry,
    ResultEntry,
    SeriesEntry,
)
from headclip_med.read import read_volume
from headclip_med.settings import ScreenSettings
from headclip_med.write import write_screening
from headclip_med.write.dicom.series import write_ct_series
from tests.bright import BrightModel
from tests.phantoms import PATIENT_NAME, make_grid

SHAPE = (5, 24, 28)
LESION = slice(1, 3), slice(4, 10), slice(16, 25)
SETTINGS = ScreenSettings(window="brain", crop="none", symmetry="off", minimum_size=0.0)


def tilted(shape: tuple[int, int, int] = SHAPE) -> Grid:
    return make_grid(shape=shape, step_lps_mm=(0, 1.2, 3))


def write_study(folder: Path, seed: str = "phantom", *, lesion: bool = True) -> tuple[Path, ...]:
    voxels = np.full(SHAPE, 10.0, dtype=np.float32)
    if lesion:
        voxels[LESION] = 80
    return write_ct_series(
        folder, voxels, tilted(), study_seed=seed, patient_name=PATIENT_NAME, body_part="HEAD"
    )


def write_result(folder: Path, out: Path, seed: str = "phantom", *, lesion: bool = True) -> str:
    """Screen one study, and give the folder of its result, relative to ``out``."""
    write_study(folder, seed, lesion=lesion)
    found = screen(read_volume(folder), BrightModel(), settings=SETTINGS)
    return write_screening(found, out).folder.relative_to(out).as_posix()


def enter(
    database: Database,
    folder: str,
    destinations: tuple[str, ...],
    *,
    key: str = "series",
    priority: int = 0,
) -> int:
    """Enter a result that is to be delivered, and give its number."""
    now = time.time()
    with database.write() as session:
        revision = len(session.scalars(select(SeriesEntry).where(SeriesEntry.key == key)).all()) + 1
        series = SeriesEntry(
            key=key,
            revision=revision,
            files=[],
            files_digest=f"{key}-{revision}",
            source="files",
            received_at=now,
        )
        job = JobEntry(
            series=series,
            run_key="run",
            request={"destinations": list(destinations)},
            state="screened",
            priority=priority,
            created_at=now,
        )
        result = ResultEntry(job=job, folder=folder, score=0.5, row={}, version="0", created_at=now)
        session.add(result)
        session.flush()
        for name in destinations:
            session.add(DeliveryEntry(result_id=result.id, destination=name))
        return result.id


def states(database: Database) -> list[tuple[str, str, int, str | None]]:
    """Destination, state, attempts and code of all deliveries, in order."""
    with database.read() as session:
        rows = session.scalars(select(DeliveryEntry).order_by(DeliveryEntry.id)).all()
        return [(one.destination, one.state, one.attempts, one.code) for one in rows]
