"""What the delivery of results costs beside sending them bare; prints a table.

python -m benchmarks.delivery --series 200

A real Orthanc on loopback takes the DICOM-SEG of so many studies. ``bare`` sends them one after the
other without a database, and asks nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom

from headclip_med.pipelines.service.database.opening import open_database
from headclip_med.pipelines.service.delivery import Destination, deliver_due, store_scu, stow
from headclip_med.pipelines.service.delivery.objects import objects_of
from tests.service.delivery.results import enter, states, write_result
from tests.service.orthanc import PASSWORD, USER, Orthanc, orthanc
from tests.service.programs import free_port


def copies(out: Path, folder: str, count: int, prefix: str) -> list[str]:
    """The same result under other UIDs, as if of other studies."""
    made = []
    seg = pydicom.dcmread(out / folder / "seg.dcm")
    for number in range(count):
        place = out / f"{prefix}-{number}"
        place.mkdir()
        (place / "result.json").write_bytes((out / folder / "result.json").read_bytes())
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(seg, keyword, pydicom.uid.generate_uid())
        seg.file_meta.MediaStorageSOPInstanceUID = seg.SOPInstanceUID
        seg.save_as(place / "seg.dcm")
        made.append(place.name)
    return made


def destination(folder: Path, archive: Orthanc, report_port: int, **how: object) -> Destination:
    secret = folder / "credentials"
    secret.write_text(f"{USER}:{PASSWORD}")
    secret.chmod(0o600)
    return Destination.from_json(
        {
            "name": "pacs",
            "host": "127.0.0.1",
            "port": archive.dicom_port,
            "called_ae_title": archive.ae_title,
            "url": f"{archive.url}/dicom-web",
            "credentials_file": str(secret),
            "listen_port": report_port,
            **how,
        }
    )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--series", type=int, default=200)
    count = parser.parse_args().series
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        first = write_result(folder / "ct", folder / "first")
        with orthanc(folder / "orthanc", {"headclip": ("HEADCLIP", port)}) as archive:
            say(f"{'way':<22}{'ms a series':>12}{'beside bare':>12}  states")
            for kind, module in (("dicom", store_scu), ("dicomweb", stow)):
                bare_s = 0.0
                for verify in ("bare", "none", "qido", "commitment"):
                    out = folder / f"{kind}-{verify}"
                    (out / first).parent.mkdir(parents=True)
                    (folder / "first" / first).rename(out / first)
                    places = copies(out, first, count, "copy")
                    (out / first).rename(folder / "first" / first)
                    checked = "none" if verify == "bare" else verify
                    way = destination(folder, archive, port, kind=kind, verify=checked)
                    if verify == "bare":
                        bare_s = spent_s = timed(
                            lambda: [
                                module.send(way, objects_of(out / one, ["seg"]))  # noqa: B023
                                for one in places  # noqa: B023
                            ]
                        )
                        found = ""
                    else:
                        database = open_database(out)
                        for one in places:
                            enter(database, one, ("pacs",), key=one)
                        spent_s = timed(lambda: deliver_due(database, [way], out))  # noqa: B023
                        found = str(dict(Counter(state for _, state, _, _ in states(database))))
                    ms = spent_s / count * 1000
                    say(f"{kind + ' ' + verify:<22}{ms:>12.1f}{spent_s / bare_s:>12.2f}  {found}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
