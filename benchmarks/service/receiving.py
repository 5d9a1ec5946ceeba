"""How fast instances are taken in, as ratios of what the disk and the library could do.

    python -m benchmarks.service.receiving [--instances 200]

One association is held against the slower of the disk (a file of that size written and synced, one
after the other) and the library (pynetdicom that discards what it gets). Eight associations are
held against the way that syncs three times for each instance.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.events import Event

from headclip_med.pipelines.service.intake.receiver import Receiver, ReceiverPlan
from headclip_med.pipelines.service.intake.settings import ReceiverSettings

SIDE = 256  # of 16 bits: 128 KB
AT_ONCE = 8
SYNCS_OF_ONE = 3


def instance() -> Dataset:
    """Build an instance of 128 KB that differs from all others."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = CTImageStorage, generate_uid()
    found.StudyInstanceUID, found.SeriesInstanceUID = "1.2.3", "1.2.4"
    found.Rows = found.Columns = SIDE
    found.SamplesPerPixel, found.BitsAllocated, found.BitsStored, found.HighBit = 1, 16, 16, 15
    found.PixelRepresentation, found.PhotometricInterpretation = 0, "MONOCHROME2"
    found.PixelData = os.urandom(2 * SIDE * SIDE)
    return found


def at_once(event: Event) -> None:
    """Send small packets without waiting."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def send(port: int, datasets: Sequence[Dataset]) -> None:
    """Send over one association."""
    entity = AE("BENCH")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate(
        "127.0.0.1", port, ae_title="HEADCLIP", evt_handlers=[(evt.EVT_CONN_OPEN, at_once)]
    )
    for one in datasets:
        if association.send_c_store(one).Status:
            raise SystemExit("An instance was not taken.")
    association.release()


def rate(count: int, work: Callable[[], object]) -> float:
    """Tell how many a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def write_synced(folder: Path, contents: Sequence[bytes], syncs: int) -> None:
    """Write files one after the other, each synced so often."""
    for number, content in enumerate(contents):
        with (folder / f"{syncs}-{number}").open("wb") as file:
            file.write(content)
            file.flush()
            for _ in range(syncs):
                os.fsync(file.fileno())


def _discard(port: int) -> None:
    entity = AE("HEADCLIP")
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_CONN_OPEN, at_once), (evt.EVT_C_STORE, lambda _event: 0)]
    entity.start_server(("127.0.0.1", port), evt_handlers=handlers)


@contextmanager
def discarding(port: int) -> Iterator[None]:
    """Run a receiver of the library that keeps nothing, in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=_discard, args=(port,))
    process.start()
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.join()


def free_port() -> int:
    """Find a port that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def together(port: int, datasets: Sequence[Dataset]) -> None:
    """Send over eight associations at once."""
    threads = [
        threading.Thread(target=send, args=(port, datasets[number::AT_ONCE]))
        for number in range(AT_ONCE)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=200)
    count = parser.parse_args().instances
    datasets = [instance() for _ in range(count)]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder, port, other = Path(name), free_port(), free_port()
        contents = [one.PixelData for one in datasets]
        one_sync = rate(count, lambda: write_synced(folder, contents, 1))
        three_syncs = rate(count, lambda: write_synced(folder, contents, SYNCS_OF_ONE))
        with discarding(other):
            thrown_away = rate(count, lambda: send(other, datasets))
        settings = ReceiverSettings(port=port, allow=("BENCH",))
        with Receiver(ReceiverPlan(settings, folder / "spool", folder, 0)):
            alone = rate(count, lambda: send(port, datasets))
            more = [instance() for _ in range(count)]
            eight = rate(count, lambda: together(port, more))
    bound = min(one_sync, thrown_away)
    sys.stdout.write(
        f"one association / min(one sync, discarding): {alone / bound:.2f} (wanted 0.8)\n"
        f"eight associations / three syncs one by one: {eight / three_syncs:.2f} (wanted 2)\n"
        f"a second: one sync {one_sync:.0f}, three {three_syncs:.0f}, discarding "
        f"{thrown_away:.0f}, one association {alone:.0f}, eight {eight:.0f}\n"
    )


if __name__ == "__main__":
    main()
