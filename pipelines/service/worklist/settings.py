"""Where the page is served, and who may see it."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field

from headclip_med.settings import Settings, Words, checked, require

HALVES = (
    "The page's TLS needs a certificate and a key.",
    "Name both, tls_certificate_file and tls_key_file.",
)
NO_PASSWORDS = (
    "The page would be open to other machines without a password.",
    "Name a password_file, or leave host at 127.0.0.1.",
)
NO_TLS = (
    "The page would send passwords over the network unencrypted.",
    "Name tls_certificate_file and tls_key_file; or, behind a proxy that does TLS, say "
    "behind_tls_proxy = true.",
)


@checked
class PageSettings(Settings):
    """How the page is served. Off this machine it needs passwords and TLS."""

    host: Words = "127.0.0.1"
    """The address that it listens at."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """0 takes a free one."""
    names: tuple[Words, ...] = ()
    """Host names under which browsers may ask for it, besides the address and localhost."""
    password_file: Words | None = None
    """Lines of ``name:secret``; nobody but its owner may read it."""
    tls_certificate_file: Words | None = None
    """PEM."""
    tls_key_file: Words | None = None
    """PEM."""
    behind_tls_proxy: bool = False
    """Whether a proxy before it does TLS, so that it need not."""

    def __post_init__(self) -> None:
        """Refuse what would be open, or readable on the way."""
        require((self.tls_certificate_file is None) == (self.tls_key_file is None), *HALVES)
        if not self.is_local:
            require(self.password_file is not None, *NO_PASSWORDS)
            require(self.has_tls or self.behind_tls_proxy, *NO_TLS)

    @property
    def has_tls(self) -> bool:
        """Whether it speaks TLS itself."""
        return self.tls_certificate_file is not None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, which may mean any address
            return False
