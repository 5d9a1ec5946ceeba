"""OHIF, a viewer that hospitals look at segmentations with: fetched once, served beside a PACS.

python -m tests.service.ohif        # or: make viewer
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import requests

PACKAGE = "@ohif/app@3.13.2"
SHA256 = "b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1"
FOLDER = Path(__file__).resolve().parents[2] / "build" / "ohif"

CONFIG = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "showLoadingIndicator": True,
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "wadoUriRoot": "/wado",
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "singlepart": "bulkdata,video",
                "bulkDataURI": {"enabled": True},
                "omitQuotationForMultipartRequest": True,
            },
        }
    ],
}


def fetch() -> None:
    """Put the built viewer into ``build/ohif``, as the package registry has it."""
    if (FOLDER / "dist" / "index.html").exists():
        return
    npm = shutil.which("npm") or sys.exit("npm is missing: apt-get install npm")
    with TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", PACKAGE, "--silent"], cwd=folder, check=True)
        archive = next(Path(folder).glob("*.tgz"))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != SHA256:
            sys.exit(f"{PACKAGE} is another package than the tests know: {digest}")
        FOLDER.parent.mkdir(exist_ok=True)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (Path(folder) / "package").rename(FOLDER)


class _Handler(SimpleHTTPRequestHandler):
    """Serves the viewer, and passes on what it asks the archive, from one origin."""

    def __init__(self, *arguments: object, archive: str, credentials: tuple[str, str]) -> None:
        self._archive = archive
        self._credentials = b64encode(":".join(credentials).encode()).decode()
        super().__init__(*arguments, directory=str(FOLDER / "dist"))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/dicom-web/"):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", f"window.config = {json.dumps(CONFIG)};".encode())
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"  # a route of the viewer's own
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        wanted = {"Authorization": f"Basic {self._credentials}"}
        wanted |= {name: self.headers[name] for name in ("Accept",) if name in self.headers}
        answer = requests.get(self._archive + self.path, headers=wanted, timeout=60)
        # Its answers name its own address in places.
        here = f"http://{self.headers['Host']}".encode()
        content = answer.content.replace(self._archive.encode(), here)
        self._answer(answer.status_code, answer.headers.get("Content-Type", ""), content)

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def viewer(archive: str, credentials: tuple[str, str], port: int = 0) -> Iterator[str]:
    """Serve the viewer on loopback, by default at a free port, and give its address."""
    handler = partial(_Handler, archive=archive, credentials=credentials)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    fetch()
    if len(sys.argv) == 2:
        with viewer(sys.argv[1], ("", ""), 3000) as address:
            sys.stdout.write(f"{address}\n")
            sys.stdout.flush()
            signal.pause()
