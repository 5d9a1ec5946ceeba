"""What the queue costs: claims a second, taking up what is finished, two workers, memory; as JSON.

python -m benchmarks.queue claims
python -m benchmarks.queue claims --database postgresql+psycopg://USER@HOST/NAME
python -m benchmarks.queue finished --studies 1000
python -m benchmarks.queue workers --studies 8
python -m benchmarks.queue memory --studies 500

Studies are small pictures for ``finished`` and ``memory`` (this by headclip-mini); for ``workers``
they are head CTs, and the workers of a side share the machine's threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.writing import KnownAnswers, write_study
from headclip_med.pipelines.service.batch import BatchRequest, run_batch
from headclip_med.pipelines.service.database import open_database
from headclip_med.pipelines.service.execution.local import InlineExecutor, resident_bytes
from headclip_med.pipelines.service.queue import SeriesOffer, WorkQueue
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs

LEASE_S = 60.0
SLICES = 40
TURNS = 2
BATCH = (sys.executable, "-m", "headclip_med", "batch")


def write_pictures(folder: Path, count: int) -> Path:
    """Write small pictures of noise, no two alike."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        noise = random.integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number:05}.png")
    return folder


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def batch(place: Path, out: Path, *more: str) -> None:
    command = [*BATCH, str(place), "--out", str(out), *more]
    env = {**os.environ, **ONE_THREAD}
    subprocess.run(command, check=True, capture_output=True, env=env)  # noqa: S603


OUTPUTS = ("overlay",)
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def claims(folder: Path, studies: int, database: str | None) -> dict[str, float]:
    """Offer, take and give back; each is a transaction that is on the disk when it ends."""
    opened = open_database(database or folder)
    queue = WorkQueue(opened)

    def offer() -> None:
        for number in range(studies):
            files = ((f"{number}.dcm", number, 1),)
            queue.offer(SeriesOffer(key=f"bench {number}", files=files, source="files"), {}, "r")

    def take() -> None:
        while (claim := queue.claim("benchmark", LEASE_S)) is not None:
            held.append(claim)

    held: list[Any] = []
    offered_s, taken_s = seconds(offer), seconds(take)
    given_s = seconds(lambda: [queue.release(one) for one in held])
    opened.close()
    return {
        "offers_per_s": studies / offered_s,
        "claims_per_s": len(held) / taken_s,
        "releases_per_s": len(held) / given_s,
    }


def finished(folder: Path, studies: int) -> dict[str, float]:
    """Screen pictures by a model that knows its answers, then give the batch again.

    Both in this process, so that the start of Python is in neither.
    """
    place, out = write_pictures(folder / "in", studies), folder / "out"

    def screen() -> None:
        screener = partial(Screener, model=KnownAnswers(image_size=32), out=out, outputs=OUTPUTS)
        executor = InlineExecutor(lambda report: screener(report=report))
        report = run_batch(find_inputs([place]), out, executor, BatchRequest(run_key="benchmark"))
        left_alone.append(report.left_alone)

    left_alone: list[int] = []
    first_s = seconds(screen)
    began_s = time.process_time()
    again_s = min(seconds(screen) for _ in range(3))
    return {
        "screened_s": first_s,
        "taken_up_s": again_s,
        "taken_up_cpu_s": (time.process_time() - began_s) / 3,
        "left_alone": left_alone[-1],
    }


def workers(folder: Path, studies: int) -> dict[str, float]:
    """Screen head CTs with one worker and with two, in turn; the best turn of each counts.

    A study's time is counted from the second result to the last, when each worker has its model.
    """
    if studies < 3:
        raise SystemExit("Time of a study is counted from the second: give --studies of 3 or more.")
    place = folder / "in"
    for number in range(studies):
        write_study(place / str(number), SLICES, number)
    found: dict[str, list[tuple[float, float]]] = {"1": [], "2": []}
    for turn in range(TURNS):
        for count, spent in found.items():
            out = folder / f"out-{count}-{turn}"
            in_all_s = seconds(lambda: batch(place, out, "--workers", count))  # noqa: B023
            ended_s = sorted(one.stat().st_mtime for one in out.rglob("result.json"))
            if len(ended_s) != studies:
                raise SystemExit(f"{len(ended_s)} of {studies} studies have a result.")
            spent.append((in_all_s, (ended_s[-1] - ended_s[1]) / (studies - 2)))
    (one_s, one_warm_s), (two_s, two_warm_s) = (
        tuple(map(min, zip(*spent, strict=True))) for spent in found.values()
    )
    return {
        "one_s": one_s, "two_s": two_s, "ratio": one_s / two_s,
        "one_s_a_study": one_warm_s, "two_s_a_study": two_warm_s,
        "ratio_warm": one_warm_s / two_warm_s,
    }  # fmt: skip


def memory(folder: Path, studies: int) -> dict[str, float]:
    """Look at what a batch and its worker have in memory after each tenth of the studies."""
    place, out = write_pictures(folder / "in", studies), folder / "out"
    command = [*BATCH, str(place), "--out", str(out)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]  # noqa: S603
    found: dict[int, int] = {}
    while process.poll() is None:
        time.sleep(0.5)
        done = sum(1 for _ in out.glob("*/*/result.json"))
        found[done] = sum(map(resident_bytes, _family(process.pid)))
    early = next(size for done, size in found.items() if done >= studies // 10)
    late = next(size for done, size in found.items() if done >= studies * 9 // 10)
    return {"early_mb": early / 1e6, "late_mb": late / 1e6, "growth": late / early - 1}


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in _family(int(child)))]


def main() -> None:
    """Measure one of these, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["claims", "finished", "workers", "memory"])
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.what == "claims":
            found = claims(folder, options.studies, options.database)
        else:
            measured = {"finished": finished, "workers": workers, "memory": memory}[options.what]
            found = measured(folder, options.studies)
    sys.stdout.write(json.dumps({"studies": options.studies, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
