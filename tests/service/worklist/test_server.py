"""The page as it is served off this machine: by TLS, to those who have a password."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from headclip_med.pipelines.service.worklist.page import worklist_app
from headclip_med.pipelines.service.worklist.server import page_server
from headclip_med.pipelines.service.worklist.settings import PageSettings
from tests.service.programs import free_port, program, wait_until
from tests.service.worklist.filled import fill

SECRET = "sixteen-letters-or-more"  # noqa: S105 - of nobody


@contextmanager
def served(out: Path, settings: PageSettings) -> Iterator[None]:
    app = worklist_app(fill(out, with_files=False).database, out, settings)
    server = page_server(app, settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the page does not answer")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def test_it_speaks_tls_and_asks_for_a_password_wherever_it_listens(tmp_path: Path) -> None:
    openssl = program("openssl", "openssl")
    certificate, key, file = (tmp_path / name for name in ("c.pem", "k.pem", "passwords"))
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out",
         certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(f"anna:{SECRET}\n")
    file.chmod(0o600)
    settings = PageSettings(
        host="0.0.0.0", port=free_port(), password_file=str(file),  # noqa: S104 - that is the test
        tls_certificate_file=str(certificate), tls_key_file=str(key),
    )  # fmt: skip
    trusted = ssl.create_default_context(cafile=certificate)
    with served(tmp_path / "out", settings):
        with httpx.Client(verify=trusted, base_url=f"https://localhost:{settings.port}") as client:
            assert client.get("/").status_code == 401
            assert client.get("/", auth=("anna", "wrong")).status_code == 401
            assert client.get("/", auth=("anna", SECRET)).status_code == 200
            assert client.get("/health").json() == {"status": "paused"}
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{settings.port}/", auth=("anna", SECRET))


def test_requests_leave_no_line_in_a_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = PageSettings(port=free_port())
    with served(tmp_path / "out", settings):
        httpx.get(f"http://127.0.0.1:{settings.port}/", params={"text": "Doe^John"})
    told = capfd.readouterr()
    assert "Doe" not in told.out + told.err
    ours = [one for one in caplog.records if not one.name.startswith("httpx")]
    assert not any("Doe" in one.getMessage() for one in ours)
