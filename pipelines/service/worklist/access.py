"""Who may see the page and press its buttons."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from headclip_med.errors import InvalidSettings, reason_of

SHORTEST_SECRET = 16
"""Characters: what cannot be guessed at the rate a network allows."""

LOCAL_NAMES = "localhost", "127.0.0.1", "::1"
OPEN_PATHS = ("/health",)
"""Told without a password: a single word."""


def read_passwords(path: Path) -> dict[str, bytes]:
    """Read a file of passwords.

    Args:
        path: Of lines ``name:secret``; empty lines and those behind ``#`` are passed over.

    Returns:
        The SHA-256 of each secret, by name.

    Raises:
        InvalidSettings: It cannot be read, others may read it, or a line is wrong; which, the error
            says by its number.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = reason_of(error) if isinstance(error, OSError) else "it is no text"
        raise InvalidSettings(
            f"The password file cannot be read: {why}.", "Name one in the service's configuration."
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidSettings(
            "Others than its owner may use the password file.", "Change that with: chmod 600 FILE."
        )
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, secret = line.partition(":")
        if not (name and colon) or name in found or len(secret) < SHORTEST_SECRET:
            raise InvalidSettings(
                f"Line {number} of the password file is no 'name:secret' with a name of its own "
                f"and a secret of at least {SHORTEST_SECRET} characters.",
                "Make one with: openssl rand -base64 24.",
            )
        found[name] = _digest(secret)
    if not found:
        raise InvalidSettings("The password file is empty.", "Write a line 'name:secret'.")
    return found


class Access:
    """Decides who somebody is.

    Args:
        passwords: As ``read_passwords`` gives them; None lets everybody in, as on this machine.
        hosts: Names under which the page may be asked for.
    """

    def __init__(self, passwords: Mapping[str, bytes] | None, hosts: tuple[str, ...]) -> None:
        self._passwords = passwords
        self._hosts = {host.lower() for host in (*LOCAL_NAMES, *hosts)}
        self._key = secrets.token_bytes(32)

    def user(self, authorization: str | None) -> str | None:
        """Say who sent a header ``Authorization``, Basic or Bearer; None where it proves nothing.

        Every secret is compared, in constant time, whatever was sent.
        """
        if self._passwords is None:
            return "local"
        name, secret = _sent(authorization or "")
        given, found = _digest(secret), None
        for known, digest in self._passwords.items():
            is_same = hmac.compare_digest(digest, given)
            if is_same and name in (None, known):
                found = known
        return found

    def knows_host(self, host: str | None) -> bool:
        """Whether the page may be asked for under this name: another site's name is refused."""
        try:
            return (urlsplit(f"//{host or ''}").hostname or "") in self._hosts
        except ValueError:
            return False

    def token(self, user: str) -> str:
        """Give what a form of this page carries, and a form of another site cannot know."""
        return hmac.new(self._key, user.encode(), hashlib.sha256).hexdigest()

    def is_token(self, user: str, given: str) -> bool:
        """Whether a form came from this page."""
        return hmac.compare_digest(self.token(user).encode(), given.encode())


def _sent(authorization: str) -> tuple[str | None, str]:
    """Take a header apart: a name, or None for a token, and the secret."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return None, rest.strip()
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _digest(secret: str) -> bytes:
    # Digests are of one length, whatever the secrets' lengths.
    return hashlib.sha256(secret.encode()).digest()
