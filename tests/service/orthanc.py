"""Orthanc with its DICOMweb plugin: on loopback, at free ports, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import requests

from tests.service.programs import free_port, program, running, wait_until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "tester", "secret"  # of a server that lives for one test


@dataclass
class Orthanc:
    """A PACS that tests may kill and start again: what it stored stays.

    Attributes:
        peers: AE title and port, by name, of those it knows.
    """

    folder: Path
    peers: dict[str, tuple[str, int]]
    ae_title: str = "ORTHANC"
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    _running: ExitStack = field(default_factory=ExitStack)
    _process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        executable = program("Orthanc", "orthanc")
        assert PLUGIN.exists(), "apt-get install orthanc-dicomweb"
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(self._config()))
        command = [executable, str(config)]
        log = self.folder / "log"
        self._process = self._running.enter_context(running(command, self.http_port, log))
        wait_until(self._answers, "Orthanc does not answer")

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        self._running.close()

    def get(self, path: str) -> Any:
        answer = requests.get(self.url + path, auth=(USER, PASSWORD), timeout=10)
        answer.raise_for_status()
        return answer.json()

    def instances(self, modality: str) -> list[str]:
        """SOP instance UIDs of a modality, sorted."""
        query = {"Level": "Instance", "Expand": True, "Query": {"Modality": modality}}
        answer = requests.post(
            self.url + "/tools/find", json=query, auth=(USER, PASSWORD), timeout=30
        )
        answer.raise_for_status()
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in answer.json())

    def _answers(self) -> bool:
        try:
            return bool(self.get("/system"))
        except requests.RequestException:
            return False

    def _config(self) -> dict[str, object]:
        store = str(self.folder / "store")
        return {
            "Name": "test",
            "StorageDirectory": store,
            "IndexDirectory": store,
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.ae_title,
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {
                name: [title, "127.0.0.1", port] for name, (title, port) in self.peers.items()
            },
            "StableAge": 1,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            "WebDavEnabled": False,
            "OverwriteInstances": False,
            "UnknownSopClassAccepted": True,
        }


@contextmanager
def orthanc(folder: Path, peers: dict[str, tuple[str, int]]) -> Iterator[Orthanc]:
    """Start one, and stop it afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Orthanc(folder, peers)
    try:
        server.start()
        yield server
    finally:
        server.stop()
