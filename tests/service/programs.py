"""Programs that the service meets; CI must have them, other machines may do without."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def program(name: str, package: str) -> str:
    """Find a program, or skip the test; in CI, fail it."""
    # Not a script of that name that a Python package brings (pynetdicom has a storescp).
    own = Path(sys.executable).parent
    places = [one for one in os.get_exec_path() if Path(one) != own]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        reason = f"{name} is missing: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_until(holds: Callable[[], bool], what: str, most_s: float = 30.0) -> None:
    end = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {most_s:.0f} s"
        time.sleep(0.05)


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that listens, until the end of the block."""
    with log.open("ab") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT)
    try:
        wait_until(
            lambda: listens(port) or process.poll() is not None, f"{command[0]} does not answer"
        )
        assert process.poll() is None, log.read_text()[-2000:]
        yield process
    finally:
        process.kill()  # some take seconds to go by themselves
        process.wait(20)


def write_certificates(folder: Path) -> Path:
    """Write two of one authority, ``server`` and ``client``, and a ``stranger``'s own."""
    openssl = program("openssl", "openssl")
    usual = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    usual += ["-addext", "subjectAltName=IP:127.0.0.1"]
    names = {"ca": ["-x509"], "stranger": ["-x509"]}
    signed = ["-x509", "-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key"]
    for name, how in {**names, "server": signed, "client": signed}.items():
        files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
        command = [openssl, "req", *how, *usual, "-subj", f"/CN={name}", *files]
        subprocess.run(command, check=True, capture_output=True)
    return folder
