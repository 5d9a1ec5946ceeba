"""What a study costs on its way through the service beside its screening; as JSON.

    python -m benchmarks.service.passing [--studies 5] [--slices 40] [--model ViT-L-14-336]

A service takes studies by C-STORE, screens them with headclip-mini, shows them on its page and
sends them to a real Orthanc by STOW-RS, verified by QIDO-RS. Each study is sent when the one
before is verified. In turn with it the same study is screened by a warm screener in this process,
as ``headclip screen`` does. Of both the best turn counts. ``beside`` is the CPU time of the
service's own process, which does everything but receiving and screening: queue, hand-over, page
and delivery; what it uses while nothing comes is taken off. With ``--model`` it is held against
the CPU time that this one, with random weights, takes for as many slices. All screen with one
thread: set ``OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from pydicom import dcmread
from pydicom.uid import generate_uid

from benchmarks.writing import predicted, write_study
from headclip_med import load_model
from headclip_med.models.request import ModelRequest
from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.work.building import ScreenerPlan
from headclip_med.read import find_inputs
from headclip_med.settings import ScreenSettings
from headclip_med.write import USUAL_OUTPUTS
from tests.service.orthanc import PASSWORD, USER, Orthanc, orthanc
from tests.service.programs import free_port, listens, program, wait_until

QUIET_S = 2.0
LONGEST_S = 600.0
IDLE_S = 10.0
CONFIG = """
[service]
out = "{out}"
quiet_s = {quiet}
workers = {cores}
room_gb = 0.0
[receiver]
port = {port}
allow = ["BENCH"]
[page]
port = {page}
[[destination]]
name = "pacs"
kind = "dicomweb"
url = "{url}/dicom-web"
credentials_file = "{secret}"
verify = "qido"
"""


@dataclass(frozen=True)
class Service:
    """A service that runs.

    Attributes:
        pid: Of its own process.
        out: Its folder of results.
        port: Where it receives.
        page: Address of its page.
    """

    pid: int
    out: Path
    port: int
    page: str

    def cpu_s(self) -> float:
        """CPU seconds of its own process so far; those that receive and screen are others."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def shows(self, uid: str) -> bool:
        """Whether its page has the result of a study; it is not asked before it can have it."""
        found = self._count(
            "result join job on job.id = result.job_id join series on series.id = series_id "
            f"where study_instance_uid = '{uid}'"
        )
        return found > 0 and uid in requests.get(f"{self.page}/?state=screened", timeout=30).text

    def steps(self, uid: str, sent_at: float) -> dict[str, float]:
        """Seconds from the last instance until a job is there, then taken, then recorded."""
        with closing(sqlite3.connect(self.out / "worklist.sqlite", timeout=60)) as database:
            (row,) = database.execute(
                "select job.created_at, started_at, ended_at from job join series "
                "on series.id = series_id where study_instance_uid = ?",
                (uid,),
            )
        offered, taken, ended = row
        return {"offered_s": offered - sent_at, "taken_s": taken - offered, "work_s": ended - taken}

    def verified(self) -> int:
        """How many results the archive is known to have."""
        return self._count("delivery where state = 'verified'")

    def _count(self, what: str) -> int:
        with closing(sqlite3.connect(self.out / "worklist.sqlite", timeout=60)) as database:
            (row,) = database.execute(f"select count(*) from {what}")  # noqa: S608 - ours
            return int(row[0])


@contextmanager
def serving(folder: Path, archive: Orthanc) -> Iterator[Service]:
    """Run a service until the end of the block."""
    secret, config = folder / "secret", folder / "service.toml"
    secret.write_text(f"{USER}:{PASSWORD}")
    secret.chmod(0o600)
    port, page, out = free_port(), free_port(), folder / "service"
    config.write_text(
        CONFIG.format(
            out=out,
            quiet=QUIET_S,
            port=port,
            page=page,
            url=archive.url,
            secret=secret,
            cores=os.cpu_count(),
        )
    )
    command = [sys.executable, "-m", "headclip_med", "serve", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        wait_until(lambda: listens(port) and listens(page), "the service runs", LONGEST_S)
        yield Service(process.pid, out, port, f"http://127.0.0.1:{page}")
    finally:
        process.terminate()
        process.wait(60)


def renamed(study: Path, folder: Path) -> tuple[Path, str]:
    """Give a copy of a study other UIDs, and its own."""
    shutil.copytree(study, folder)
    uid, series, frame = (generate_uid() for _ in range(3))
    for path in folder.iterdir():
        one = dcmread(path)
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = uid, series, frame
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.save_as(path)
    return folder, uid


def passed(service: Service, study: Path, uid: str) -> dict[str, float]:
    """Send a study; seconds from its last instance until the page has it, and the archive.

    Beside them the steps on the way to the page; see ``Service.steps``.
    """
    before = service.verified()
    where = ["-aet", "BENCH", "-aec", "HEADCLIP", "127.0.0.1", str(service.port)]
    command = [program("storescu", "dcmtk"), "+sd", *where, str(study)]
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})  # noqa: S603
    began, sent_at = time.perf_counter(), time.time()
    wait_until(lambda: service.shows(uid), "the page has it", LONGEST_S)
    shown_s = time.perf_counter() - began
    wait_until(lambda: service.verified() > before, "the archive has it", LONGEST_S)
    archive_s = time.perf_counter() - began
    return {"page_s": shown_s, "archive_s": archive_s, **service.steps(uid, sent_at)}


def seconds(work: Callable[[], object]) -> float:
    """Time something."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(folder: Path, slices: int, studies: int) -> dict[str, float]:
    """Let studies pass, each after the other, and screen each in this process, too."""
    write_study(folder / "study", slices)
    plan = ScreenerPlan(
        request=ModelRequest(), out=folder / "own", settings=ScreenSettings(),
        outputs=USUAL_OUTPUTS,
    )  # fmt: skip
    screener = plan(lambda _slices: None)
    found: list[dict[str, float]] = []
    with orthanc(folder / "orthanc", {}) as archive, serving(folder, archive) as service:
        for number in range(studies + 1):
            study, uid = renamed(folder / "study", folder / str(number))
            if number == 1:  # the first warms everything up
                began_s = service.cpu_s()
                time.sleep(IDLE_S)
                idle = (service.cpu_s() - began_s) / IDLE_S
                began_s, began = service.cpu_s(), time.perf_counter()
            times = passed(service, study, uid)
            spent_s = seconds(
                lambda: screen_inputs(find_inputs([study]), screener)  # noqa: B023
            )
            if number:
                found.append({"screen_s": spent_s, **times})
        waited = time.perf_counter() - began
        beside = (service.cpu_s() - began_s - idle * waited) / studies
    best = {name: min(one[name] for one in found) for name in found[0]}
    wanted = QUIET_S + 1.3 * best["screen_s"] + 1.0
    return {**best, "page_wanted_s": wanted, "beside_cpu_s": beside, "idle_cpu_share": idle}


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = measured(folder, given.slices, given.studies)
        if given.model is not None:
            model = load_model(given.model, weights="random", device="cpu")
            voxels = write_study(folder / "again", given.slices)
            spent = predicted(model, voxels, 2)
            found["model_cpu_s"] = spent["cpu"]
            found["beside_by_model"] = found["beside_cpu_s"] / spent["cpu"]
    rounded = {what: round(value, 4) for what, value in found.items()}
    sys.stdout.write(json.dumps({**vars(given), **rounded}, indent=2) + "\n")


if __name__ == "__main__":
    main()
