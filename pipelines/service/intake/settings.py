"""Where things come in: what the configuration says of each way, checked before anything runs."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from headclip_med.errors import InvalidSettings, reason_of
from headclip_med.pipelines.service.delivery.destinations import (
    AeTitle,
    Destination,
    Name,
    Port,
    is_loopback,
)
from headclip_med.settings import Positive, Settings, Words, checked, require

OPEN = (
    "The receiver would be open to a network without encryption.",
    "Name tls_ca_file, tls_certificate_file and tls_key_file, or leave host at 127.0.0.1.",
)


@checked
class ReceiverSettings(Settings):
    """``[receiver]``: the DICOM service that takes C-STORE."""

    ae_title: AeTitle = "HEADCLIP"
    """Ours; who calls another is refused."""
    host: Words = "127.0.0.1"
    """The address that it listens at. Off this machine it needs TLS."""
    port: Port = 11112
    """Likewise."""
    allow: tuple[AeTitle, ...] = ()
    """AE titles that may send; all others are refused."""
    tls_ca_file: Words | None = None
    """Certificates that a sender's must be signed by."""
    tls_certificate_file: Words | None = None
    """Ours."""
    tls_key_file: Words | None = None
    """Of our certificate."""
    processes: Annotated[int, Field(ge=1, le=32)] = 2
    """That take instances; one uses one core."""
    associations: Annotated[int, Field(ge=1, le=256)] = 16
    """Of one process at the same time; more are refused, and come again."""
    timeout_s: Positive = 30.0
    """After so long a silence an association is ended; one that says nothing at all, after 5 s."""
    maximum_pdu_bytes: Annotated[int, Field(ge=4_096, le=1_048_576)] = 131_072
    """That senders are told to keep to."""
    memory_limit_gb: Annotated[float, Field(ge=0.5, le=256)] = 2.0
    """That a receiving process may have; one that has more is ended and started anew."""

    def __post_init__(self) -> None:
        """Refuse what would be open, and half a certificate."""
        files = self.tls_ca_file, self.tls_certificate_file, self.tls_key_file
        require(
            all(files) or not any(files),
            "TLS of the receiver needs three files.",
            "Name tls_ca_file, tls_certificate_file and tls_key_file, or none.",
        )
        require(is_loopback(self.host) or all(files), *OPEN)

    def tls(self) -> ssl.SSLContext | None:
        """Build what shows our certificate and asks for the sender's; None without TLS.

        Raises:
            InvalidSettings: A file is missing or no certificate.
        """
        if self.tls_ca_file is None:
            return None
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.tls_ca_file)
            context.load_cert_chain(str(self.tls_certificate_file), self.tls_key_file)
        except OSError as error:  # of the ssl library too
            raise InvalidSettings(
                f"The certificates of the receiver cannot be used: {reason_of(error)}.",
                "Give PEM files; the key must belong to the certificate and have no passphrase.",
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@checked
class WatchSettings(Settings):
    """One ``[[watch]]``: a folder whose DICOM files are taken in; they stay where they are."""

    name: Name = "folder"
    """What rules call it, as ``ae_title``."""
    folder: Words = "incoming"
    """It is walked to the bottom."""
    every_s: Positive = 10.0
    """Between two looks; a file is taken when two looks find it the same."""


@checked
class PullSettings(Settings):
    """One ``[[pull]]``: an archive that is asked by QIDO-RS, and gives by WADO-RS."""

    name: Name = "archive"
    """What rules call it, as ``ae_title``."""
    url: Words = "http://127.0.0.1:8042/dicom-web"
    """Root of the DICOMweb service."""
    every_s: Positive = 60.0
    """Between two looks; each compares the archive's series with what is here."""
    filters: Mapping[str, Any] = Field(default_factory=dict)
    """QIDO-RS attributes of a series, such as ``{Modality = "CT"}``."""
    credentials_file: Words | None = None
    """A file that holds ``user:password``, or a bearer token."""
    tls_ca_file: Words | None = None
    """Certificates that the archive's must be signed by."""
    allow_unencrypted: bool = False
    """Whether patients' data may cross a network in the clear."""
    timeout_s: Positive = 30.0
    """To wait for any one answer."""

    def __post_init__(self) -> None:
        """Check the address as one of a destination is."""
        self.as_destination()

    def as_destination(self) -> Destination:
        """Give the same archive as one that is asked by QIDO-RS."""
        names = ("name", "url", "credentials_file", "tls_ca_file", "allow_unencrypted", "timeout_s")
        known: dict[str, Any] = {name: getattr(self, name) for name in names}
        return Destination(kind="dicomweb", **known)
