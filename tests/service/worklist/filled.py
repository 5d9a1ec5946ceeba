"""A database of a folder of results with something of everything in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from headclip_med.calibration import NOT_CALIBRATED, CalibrationUsed, Stratum
from headclip_med.findings import Lesion
from headclip_med.pipelines.service.database.opening import Database, open_database
from headclip_med.pipelines.service.database.tables import (
    DeliveryEntry,
    DriftEntry,
    JobEntry,
    PauseEntry,
    ResultEntry,
    SeriesEntry,
)
from headclip_med.write import SummaryRow
from headclip_med.write.pages import study
from tests.write.pages.studies import axial_grid, page_of, screening_of

NOW = 1_800_000_000.0
HEAD = Stratum("CT", "HEAD", "brain")


def judged(p_value: float, *, studies: int = 199) -> CalibrationUsed:
    higher = round(p_value * (studies + 1)) - 1
    return CalibrationUsed(
        code=None, stratum=HEAD, digest="d" * 64, p_value=p_value, higher=higher, studies=studies,
        alpha=0.05, rate=(0.024, 0.084), flagged=p_value <= 0.05,
    )  # fmt: skip


def row_of(folder: str, score: float, used: CalibrationUsed | None = None) -> SummaryRow:
    lesion = Lesion(1, 640.0, "mm3", (1.0, -2.0, 3.0), "lps_mm", score, (0, 2), peak_slice=1)
    return SummaryRow(
        folder=folder, score=score, calibrated=used is not None, threshold=0.4,
        slice_scores=(0.1, score, 0.2, 0.3, 0.1, 0.1), lesions=(lesion,) if score > 0.4 else (),
        modality="CT", window="brain", name=None, study_instance_uid=folder.split("/")[0],
        series_instance_uid=folder.split("/")[1], part=1, has_patient_geometry=True,
        model="headclip-mini / headclip", picture="slices/0002.png", notes=("A note.",),
        outputs={"overlay": "overlay.png", "result": "result.json", "seg": "seg.dcm"},
        calibration=used or NOT_CALIBRATED,
    )  # fmt: skip


class Filling:
    """Puts series, jobs and results into a database, and pictures into the folder."""

    def __init__(self, out: Path) -> None:
        out.mkdir(exist_ok=True)
        self.out = out
        self.database: Database = open_database(out)
        self.count = 0

    def job(self, state: str, **facts: Any) -> int:
        """Add a series and its job, and give the job's number."""
        self.count += 1
        of_series = {"modality": "CT", "body_part": "HEAD", "slices": 6, "source": "receiver",
                     "peer": "SCANNER", "study_instance_uid": f"1.2.{self.count}", "name": None,
                     "series_instance_uid": f"1.3.{self.count}"}  # fmt: skip
        of_series |= {name: facts.pop(name) for name in list(facts) if name in of_series}
        with self.database.write() as session:
            series = SeriesEntry(
                key=f"key-{self.count}", files=[], files_digest=f"{self.count:064d}",
                received_at=NOW - 1000 + self.count, **of_series,
            )  # fmt: skip
            job = JobEntry(
                series=series, run_key="r" * 64, request={}, state=state,
                **{"created_at": NOW - 900, "started_at": NOW - 800, "ended_at": NOW - 700,
                   "attempts": 1, **facts},
            )  # fmt: skip
            session.add(job)
            session.flush()
            return job.id

    def result(
        self, score: float, used: CalibrationUsed | None = None, *, with_files: bool = False,
        **facts: Any,
    ) -> int:  # fmt: skip
        """Add a finished series, and give the number of its result."""
        number = self.job("screened", **facts)
        folder = f"1.2.{self.count}/1.3.{self.count}"
        row = row_of(folder, score, used)
        if with_files:
            _draw(self.out / folder, score)
        row = replace(row, modality=facts.get("modality", "CT"))
        with self.database.write() as session:
            result = ResultEntry(
                job_id=number, folder=folder, score=score, p_value=row.calibration.p_value,
                calibration=row.calibration.code or "calibrated",
                stratum=HEAD.words() if used else None, row=row.to_plain(), version="1",
                created_at=NOW - 700,
            )  # fmt: skip
            session.add(result)
            session.flush()
            return result.id

    def add(self, *entries: DeliveryEntry | DriftEntry | PauseEntry) -> None:
        """Add other rows."""
        with self.database.write() as session:
            session.add_all(entries)


def fill(out: Path, *, with_files: bool = True) -> Filling:
    """Put something of everything into a folder of results."""
    filling = Filling(out)
    first = filling.result(0.91, judged(0.005), with_files=with_files)
    filling.result(0.95, with_files=with_files)
    filling.result(0.30, judged(0.60), with_files=with_files)
    third = filling.result(0.20, judged(0.80), with_files=with_files)
    filling.job("running", lease_until=NOW + 30)
    filling.job("queued", attempts=0)
    filling.job("queued", not_before=NOW + 240, failure="worker", code="worker-killed",
                reason="Its worker was killed.", advice="It is tried again alone.")  # fmt: skip
    filling.job("quarantined", attempts=3, failure="study", code="uneven-spacing", modality="MR",
                reason="Its slices form no stack.", advice="Send all slices again.")  # fmt: skip
    filling.job("superseded")
    filling.add(
        DeliveryEntry(result_id=first, destination="pacs", state="verified", attempts=1,
                      sent_at=NOW - 600, verified_at=NOW - 500),
        DeliveryEntry(result_id=third, destination="pacs", state="dead", attempts=12,
                      code="unreachable", reason="It does not answer.", advice="Start it."),
        DriftEntry(calibration_digest="d" * 64, stratum="MR, HEAD, window full", is_stale=True,
                   alarm={}, since=NOW - 60),
        PauseEntry(cause="disk", code="no-space", reason="The disk is full.",
                   advice="Free some space.", since=NOW - 120),
    )  # fmt: skip
    return filling


def add_view(filling: Filling, number: int, *, is_embedded: bool) -> Path:
    """Give a result the page of a study, and the path of that."""
    shape = (8, 30, 40)
    found = screening_of(np.full(shape, 90.0), axial_grid(shape))
    most = study.MOST_EMBEDDED_BYTES if is_embedded else 1000
    with mock.patch.object(study, "MOST_EMBEDDED_BYTES", most):
        page = page_of(found, filling.out / "made").path
    folder = filling.out / f"1.2.{number}/1.3.{number}"
    for one in page.parent.glob("view*"):
        one.rename(folder / one.name)
    with filling.database.write() as session:
        result = session.get(ResultEntry, number)
        assert result is not None
        outputs = {**result.row["outputs"], "view": "view.html", "slices": "slices"}
        beside = {} if is_embedded else {"view-pictures": "view"}
        result.row = {**result.row, "outputs": {**outputs, **beside}}
    return folder / page.name


def _draw(folder: Path, score: float) -> None:
    (folder / "slices").mkdir(parents=True)
    picture = Image.linear_gradient("L").resize((512, 448)).point(lambda one: int(one * score))
    for name in ("slices/0002.png", "overlay.png"):
        picture.save(folder / name)
    (folder / "result.json").write_text("{}\n")
    (folder / "seg.dcm").write_bytes(b"\0" * 128 + b"DICM")
