"""Where results go: what the configuration says of each destination, checked before anything runs.

Closed by default: a destination off this machine is reached over TLS only, unless
``allow_unencrypted`` says otherwise; credentials stand in a file of their own.
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from headclip_med.errors import HeadClipError, InvalidSettings, reason_of
from headclip_med.settings import Count, Positive, Settings, Words, checked, require

Port = Annotated[int, Field(ge=1, le=65_535)]
AeTitle = Annotated[
    str,
    Field(
        pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$",
        description="an AE title of 1 to 16 characters",
    ),
]
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="a name of at most 64 letters, digits, dots, dashes and underscores",
    ),
]
Delivered = Literal["seg", "sr", "sc"]


class DestinationFailed(HeadClipError):
    """A destination that cannot be reached, refuses, or does not say that it has what was sent.

    Attributes:
        is_down: Whether all that waits for it would meet the same.
    """

    default_code = "destination-failed"

    def __init__(self, reason: str, advice: str = "", *, code: str, is_down: bool = False) -> None:
        super().__init__(reason, advice, code=code)
        self.is_down = is_down


@checked
class Destination(Settings):
    """One ``[[destination]]`` of the configuration: an archive that results are sent to."""

    name: Name = "pacs"
    """What rules call it; each has its own."""
    kind: Literal["dicom", "dicomweb"] = "dicom"
    """How objects are sent: ``dicom`` by C-STORE, ``dicomweb`` by STOW-RS."""
    host: Words | None = None
    """Of the DICOM service."""
    port: Port | None = None
    """Of the DICOM service."""
    ae_title: AeTitle = "HEADCLIP"
    """Of this program, as the archive knows it."""
    called_ae_title: AeTitle | None = None
    """Of the archive."""
    url: Words | None = None
    """Root of the DICOMweb service, for STOW-RS and QIDO-RS."""
    outputs: Annotated[tuple[Delivered, ...], Field(min_length=1)] = ("seg", "sr", "sc")
    """What is sent of a result, where it is there."""
    verify: Literal["commitment", "qido", "none"] = "qido"
    """How the archive is asked whether it has what was sent."""
    listen_host: Words = "127.0.0.1"
    """Where the archive reports storage commitment to."""
    listen_port: Port | None = None
    """Likewise; the archive must know ``ae_title`` at this port."""
    credentials_file: Words | None = None
    """For DICOMweb: a file that holds ``user:password``, or a bearer token."""
    tls_ca_file: Words | None = None
    """Certificates that the archive's must be signed by; makes DICOM run over TLS."""
    tls_certificate_file: Words | None = None
    """Our own certificate, where the archive asks for one."""
    tls_key_file: Words | None = None
    """Of our certificate."""
    allow_unencrypted: bool = False
    """Whether patients' data may cross a network in the clear."""
    timeout_s: Positive = 30.0
    """To wait for any one answer."""
    attempts: Count = 12
    """After so many it is given up, until someone asks for it to be sent again."""
    backoff_s: Positive = 30.0
    """From the first failed attempt to the next; doubled each time."""
    backoff_cap_s: Positive = 3600.0
    """The longest wait; with the defaults an archive may be away for six hours."""

    def __post_init__(self) -> None:
        """Check that all is there that the ways of sending and asking need."""
        self._check_addresses()
        self._check_encryption()
        require(
            (self.tls_certificate_file is None) == (self.tls_key_file is None),
            f"Of the destination {self.name}, a certificate and its key belong together.",
            "Give tls_certificate_file and tls_key_file, or neither.",
        )

    @property
    def is_dicom(self) -> bool:
        """Whether its DICOM service is used."""
        return self.kind == "dicom" or self.verify == "commitment"

    @property
    def is_web(self) -> bool:
        """Whether its DICOMweb service is used."""
        return self.kind == "dicomweb" or self.verify == "qido"

    def wait_s(self, attempts: int) -> float:
        """Tell how long to wait after so many failed attempts, at least one."""
        # The exponent is bounded since a large one overflows a float.
        return min(self.backoff_cap_s, self.backoff_s * 2.0 ** min(attempts - 1, 64))

    def client_tls(self) -> ssl.SSLContext | None:
        """Build what checks the archive's certificate and shows ours; None without TLS.

        Raises:
            InvalidSettings: A file is missing or no certificate.
        """
        return self._tls(ssl.Purpose.SERVER_AUTH)

    def server_tls(self) -> ssl.SSLContext | None:
        """Build the same for reports that come in: a client without a certificate is refused."""
        context = self._tls(ssl.Purpose.CLIENT_AUTH)
        if context is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> tuple[str, str] | str | None:
        """Read user and password, or a bearer token; None where none are needed.

        Raises:
            InvalidSettings: The file is missing, empty, or open to everyone.
        """
        if self.credentials_file is None:
            return None
        path = Path(self.credentials_file)
        try:
            mode, text = path.stat().st_mode, path.read_text("utf-8").strip()
        except (OSError, UnicodeError) as error:
            why = reason_of(error) if isinstance(error, OSError) else "it is no text"
            raise InvalidSettings(
                f"The credentials of the destination {self.name} cannot be read: {why}.",
                "Give the path of a text file that holds user:password or a token.",
            ) from None
        require(
            not mode & 0o007 and bool(text),
            f"The file of credentials of the destination {self.name} is "
            + ("open to everyone." if text else "empty."),
            "Write user:password or a token into it, and take its rights away: chmod 600.",
        )
        user, colon, password = text.partition(":")
        return (user, password) if colon else text

    def _check_addresses(self) -> None:
        require(
            not self.is_dicom or None not in (self.host, self.port, self.called_ae_title),
            f"The destination {self.name} is reached by DICOM, but does not say where.",
            "Give host, port and called_ae_title.",
        )
        require(
            not self.is_web or self.url is not None,
            f"The destination {self.name} is reached by DICOMweb, but does not say where.",
            "Give url; or, to send by DICOM without being able to ask by QIDO-RS, set verify to "
            "commitment or none.",
        )
        require(
            self.verify != "commitment" or self.listen_port is not None,
            f"The destination {self.name} does not say where it reports storage commitment to.",
            "Give listen_port, and tell the archive of it; or set verify to qido.",
        )
        parts = urlsplit(self.url or "http://127.0.0.1")
        require(
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None,
            f"The url of the destination {self.name} must begin with https:// or http://, name a "
            "host, and hold no password.",
            "Put user:password into a file, and name it as credentials_file.",
        )

    def _check_encryption(self) -> None:
        web, plain = urlsplit(self.url or ""), self.tls_ca_file is None
        open_ways = {
            "url": self.is_web and web.scheme == "http" and not is_loopback(web.hostname),
            "host": self.is_dicom and plain and not is_loopback(self.host),
            "listen_host": self.verify == "commitment"
            and plain
            and not is_loopback(self.listen_host),
        }
        names = [name for name, is_open in open_ways.items() if is_open]
        require(
            self.allow_unencrypted or not names,
            f"The destination {self.name} would send patients' data over a network in the clear "
            f"({', '.join(names)}).",
            "Use an https:// url and give tls_ca_file; on a network that you trust, set "
            "allow_unencrypted to true.",
        )

    def _tls(self, purpose: ssl.Purpose) -> ssl.SSLContext | None:
        if self.tls_ca_file is None:
            return None
        try:
            context = ssl.create_default_context(purpose, cafile=self.tls_ca_file)
            if self.tls_certificate_file is not None:
                context.load_cert_chain(self.tls_certificate_file, self.tls_key_file)
        except OSError as error:  # of the ssl library too
            raise InvalidSettings(
                f"The certificates of the destination {self.name} cannot be used: "
                f"{reason_of(error)}.",
                "Give PEM files; the key must belong to the certificate and have no passphrase.",
            ) from None
        return context


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, without asking a name server."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
