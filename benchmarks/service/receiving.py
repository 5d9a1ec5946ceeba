"""How fast instances are taken in, as ratios of what the disk and the library could do.

    python -m benchmarks.service.receiving [--instances 400] [--rounds 5] [--side 256]

One association is held against the slower of the disk (a file of that size written and synced, one
after the other) and the library (pynetdicom that discards what it gets). Eight associations are
held against a receiver that syncs three times for each instance (its file, its folder, a row in a
database), one association after the other. All take turns, and the best turn of each counts, so
that what else the machine does disturbs them alike; so many instances that eight senders' starts
weigh little. ``storescu`` of dcmtk sends.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.events import Event

from headclip_med.pipelines.service.intake.journal import sync_folder
from headclip_med.pipelines.service.intake.receiver import Receiver, ReceiverPlan
from headclip_med.pipelines.service.intake.settings import ReceiverSettings
from tests.service.programs import free_port, program

SIDE = 256
"""Rows and columns of an instance by default; of 16 bits these are 128 KB."""

AT_ONCE = 8
STORESCU = (
    program("storescu", "dcmtk"), "--max-send-pdu", "131072", "-aet", "BENCH", "-aec", "HEADCLIP",
)  # fmt: skip
Answer = Callable[[Event], int]


def instance(side: int = SIDE) -> Dataset:
    """Build an instance that differs from all others."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = CTImageStorage, generate_uid()
    found.StudyInstanceUID, found.SeriesInstanceUID = "1.2.3", "1.2.4"
    found.Rows = found.Columns = side
    found.SamplesPerPixel, found.BitsAllocated, found.BitsStored, found.HighBit = 1, 16, 16, 15
    found.PixelRepresentation, found.PhotometricInterpretation = 0, "MONOCHROME2"
    found.PixelData = os.urandom(2 * side * side)
    return found


def at_once(event: Event) -> None:
    """Send small packets without waiting."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def rate(port: int, folder: Path, count: int, side: int, associations: int = 1) -> float:
    """Tell how many instances a second are taken of so many, over so many associations at once."""
    files = []
    for number in range(count):
        files.append(folder / f"{number}.dcm")
        instance(side).save_as(files[-1], enforce_file_format=True)
    began = time.perf_counter()
    senders = [
        subprocess.Popen(  # noqa: S603
            [*STORESCU, "127.0.0.1", str(port), *map(str, files[own::associations])],
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        for own in range(associations)
    ]
    if any(one.wait() for one in senders):
        raise SystemExit("Not all was taken.")
    return count / (time.perf_counter() - began)


def written_rate(folder: Path, count: int, side: int) -> float:
    """Tell how many files a second are written one after the other, each synced."""
    content = os.urandom(2 * side * side)
    began = time.perf_counter()
    for number in range(count):
        with (folder / f"synced-{number}").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    return count / (time.perf_counter() - began)


def discard(_event: Event) -> int:
    """Keep nothing."""
    return 0


class ThreeSyncs:
    """Keeps each instance by itself, as receivers do that commit one after the other."""

    def __init__(self, folder: Path) -> None:
        """Open a database in the folder."""
        self._folder = folder
        self._database = sqlite3.connect(
            folder / "rows.sqlite", check_same_thread=False, isolation_level=None
        )
        for statement in (
            "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE kept (name TEXT)",
        ):  # fmt: skip
            self._database.execute(statement)

    def __call__(self, event: Event) -> int:
        """Write a file, sync it and its folder, and commit a row."""
        path = self._folder / str(event.request.AffectedSOPInstanceUID)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync_folder(self._folder)
        self._database.execute("INSERT INTO kept VALUES (?)", (path.name,))
        return 0


def _answer(port: int, three_syncs: Path | None) -> None:
    entity = AE("HEADCLIP")
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    answer: Answer = discard if three_syncs is None else ThreeSyncs(three_syncs)
    handlers = [(evt.EVT_CONN_OPEN, at_once), (evt.EVT_C_STORE, answer)]
    entity.start_server(("127.0.0.1", port), evt_handlers=handlers)


@contextmanager
def answering(three_syncs: Path | None = None) -> Iterator[int]:
    """Run another receiver in a process of its own, and give its port."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_answer, args=(port, three_syncs))
    process.start()
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.join()


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=SIDE)
    options = parser.parse_args()
    count, side = options.instances, options.side
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder, sent, port = Path(name), Path(name) / "sent", free_port()
        for one in ("three", "sent"):
            (folder / one).mkdir()
        settings = ReceiverSettings(port=port, allow=("BENCH",))
        plan = ReceiverPlan(settings, folder / "spool", folder, 0)
        with answering() as nowhere, answering(folder / "three") as three, Receiver(plan):
            turns = {
                "one sync": lambda: written_rate(folder, count, side),
                "discarding": lambda: rate(nowhere, sent, count, side),
                "three syncs": lambda: rate(three, sent, count, side),
                "one association": lambda: rate(port, sent, count, side),
                "eight associations": lambda: rate(port, sent, count, side, AT_ONCE),
            }
            best = dict.fromkeys(turns, 0.0)
            for _ in range(options.rounds):
                best = {what: max(best[what], turn()) for what, turn in turns.items()}
    bound = min(best["one sync"], best["discarding"])
    sys.stdout.write(
        f"one association / min(one sync, discarding): {best['one association'] / bound:.2f} "
        "(wanted 0.8)\neight associations / three syncs one by one: "
        f"{best['eight associations'] / best['three syncs']:.2f} (wanted 2)\n"
        f"a second: {', '.join(f'{what} {found:.0f}' for what, found in best.items())}\n"
    )


if __name__ == "__main__":
    main()
