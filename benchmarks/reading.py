"""CPU seconds of reading a CT series, beside SimpleITK's: uncompressed, and as lossless JPEG.

The slices of one series are repeated at new places until there are as many as asked for, and a copy
of them is compressed by dcmtk's ``dcmcjpeg``. Each reader then runs in a program of its own, twice:
what the first time takes includes everything that is imported or started, processes that read
among them; the second time is what any further series takes. Readers take turns several times, and
the least of each counts, as whatever else a machine does only adds to it.

    python benchmarks/reading.py --series FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

BY_ITK = """
import SimpleITK as sitk
def read(folder):
    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(folder)
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder, series))
    return sitk.GetArrayFromImage(reader.Execute()).astype("float32").shape
"""
BY_US = """
from headclip_med.read import DEFAULT_LIMITS, find_inputs
from dataclasses import replace
from pathlib import Path
LIMITS = replace(DEFAULT_LIMITS, isolated={isolated})
def read(folder):
    (one,) = find_inputs([Path(folder)], limits=LIMITS).readable
    return one.read().voxels.shape
"""
MEASURED = """
import glob, json, os, sys, time
def spent():
    total = 0.0
    for place in (f"/proc/{os.getpid()}/stat", *(f"/proc/{one}/stat" for one in children())):
        fields = open(place).read().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total
def children():
    found = []
    for place in glob.glob(f"/proc/{os.getpid()}/task/*/children"):
        found += open(place).read().split()
    return found
shape = read(sys.argv[1])
first = spent()
for _ in range(5):
    read(sys.argv[1])
print(json.dumps({"slices": shape[0], "first": first, "further": (spent() - first) / 5}))
"""
READERS = {
    "SimpleITK": BY_ITK,
    "headclip_med": BY_US.format(isolated=True),
    "headclip_med in one process": BY_US.format(isolated=False),
}


def repeat(series: Path, folder: Path, count: int) -> None:
    """Write a series of more slices, one millimetre apart."""
    slices = [pydicom.dcmread(path) for path in sorted(series.iterdir()) if path.is_file()]
    folder.mkdir()
    for number in range(count):
        one = slices[number % len(slices)]
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.InstanceNumber = number + 1
        one.ImagePositionPatient = [*one.ImagePositionPatient[:2], number]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.save_as(folder / f"{number:04}.dcm")


def compress(plain: Path, folder: Path, count: int) -> None:
    """Code a series as lossless JPEG of the first order."""
    folder.mkdir()
    for path in sorted(plain.iterdir())[:count]:
        command = ["dcmcjpeg", "+e1", path, folder / path.name]
        subprocess.run(command, check=True)  # noqa: S603 - a program of dcmtk


def measure(reader: str, folder: Path) -> dict[str, float]:
    """Run one reader in a program of its own."""
    done = subprocess.run(  # noqa: S603 - this Python
        [sys.executable, "-W", "ignore", "-c", READERS[reader] + MEASURED, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=Path, required=True, help="folder of one CT series")
    parser.add_argument("--turns", type=int, default=5, help="of each reader; the best counts")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as scratch:
        plain, coded = Path(scratch, "plain"), Path(scratch, "coded")
        repeat(arguments.series, plain, 240)
        compress(plain, coded, 238)
        sys.stdout.write("| series | reader | first, CPU s | further, CPU s |\n|---|---|---|---|\n")
        for name, folder in (("uncompressed", plain), ("lossless JPEG", coded)):
            turns = [
                {reader: measure(reader, folder) for reader in READERS}
                for _ in range(arguments.turns)
            ]
            for reader in READERS:
                slices, first, further = (
                    min(turn[reader][what] for turn in turns)
                    for what in ("slices", "first", "further")
                )
                sys.stdout.write(f"| {slices} {name} | {reader} | {first:.2f} | {further:.2f} |\n")


if __name__ == "__main__":
    main()
