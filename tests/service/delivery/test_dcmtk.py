"""Other archives: dcmtk's, in the clear on this machine and over TLS that both sides prove."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydicom import dcmread

from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.delivery import Destination, deliver_due
from tests.service.delivery.results import enter, states
from tests.service.programs import free_port, program, running, write_certificates

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

QUERY_SERVER = """
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
headclip = (HEADCLIP, localhost, 1)
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMTK {folder} RW (200, 1024mb) headclip
AETable END
"""


def destination(port: int, **changes: object) -> Destination:
    usual = {
        "name": "dcmtk",
        "host": "127.0.0.1",
        "port": port,
        "called_ae_title": "DCMTK",
        "verify": "none",
        "timeout_s": 5.0,
    }
    return Destination.from_json({**usual, **changes})


def received(folder: Path) -> list[str]:
    paths = [path for path in folder.iterdir() if path.name != "index.dat"]
    return [str(dcmread(path).SOPInstanceUID) for path in paths]


def test_dcmqrscp_takes_a_result(tmp_path: Path, database: Database, result: str) -> None:
    (store := tmp_path / "store").mkdir()
    port, out = free_port(), tmp_path / "out"
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(QUERY_SERVER.format(port=port, folder=store))
    enter(database, result, ("dcmtk",))
    command = [program("dcmqrscp", "dcmtk"), "-c", str(config)]
    with running(command, port, tmp_path / "log"):
        deliver_due(database, [destination(port)], out)
    assert states(database) == [("dcmtk", "sent", 1, None)]
    assert received(store) == [str(dcmread(out / result / "seg.dcm").SOPInstanceUID)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(
    "case",
    [
        ("ca", "client", "sent", None),
        ("stranger", "client", "queued", "destination-unreachable"),  # the server is no friend
        ("ca", "stranger", "queued", "destination-unreachable"),  # we are none
        ("ca", None, "queued", "destination-unreachable"),
    ],
)
def test_tls_that_both_sides_prove(
    case: tuple[str, str | None, str, str | None],
    tmp_path: Path,
    database: Database,
    certificates: Path,
    result: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "pynetdicom")  # its records would keep sockets alive
    (store := tmp_path / "store").mkdir()
    (authority, client, state, code), port, out = case, free_port(), tmp_path / "out"
    enter(database, result, ("dcmtk",))
    key, certificate = (str(certificates / f"server.{kind}") for kind in ("key", "pem"))
    trusted = ["--add-cert-file", str(certificates / "ca.pem"), "--require-peer-cert"]
    command = [program("storescp", "dcmtk"), "+tls", key, certificate, *trusted]
    own = {
        f"tls_{kind}_file": str(certificates / f"{client}.{ending}")
        for kind, ending in (("certificate", "pem"), ("key", "key"))
        if client
    }
    to = destination(port, tls_ca_file=str(certificates / f"{authority}.pem"), **own)
    with running([*command, "-od", str(store), str(port)], port, tmp_path / "log"):
        deliver_due(database, [to], out)
    assert states(database) == [("dcmtk", state, 1, code)]
    assert len(received(store)) == (state == "sent")
